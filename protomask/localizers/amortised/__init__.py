"""What gives a mask in one pass: a small network that looks at the features of the explained one."""

__all__ = ["explainer", "files", "taps"]
