"""Where a plain classifier looks: one picture at a time (look), or folders of them (folder)."""

__all__ = ["compare", "folder", "jobs", "look", "preprocessing"]
