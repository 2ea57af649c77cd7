"""Pictures of prototypes, explanations of predictions by them, and what can be said against a prototype."""

__all__ = ["files", "inspection", "predictions", "records"]
