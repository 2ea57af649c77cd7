"""The local page: explain new pictures, hide a region, judge prototypes; thin HTTP over a run or a classifier."""

__all__ = [
    "answers",
    "app",
    "kept",
    "of_classifier",
    "of_run",
    "pictures",
    "received",
    "refining",
    "safety",
    "start",
    "subjects",
    "teaching",
    "versions",
    "worker",
]
