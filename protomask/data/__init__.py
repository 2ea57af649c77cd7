"""Data sets with annotations. ``load_data`` opens one by name; third parties add theirs by an entry point."""

from protomask.data.images import AnnotatedImages, Splits, collate

__all__ = ["AnnotatedImages", "Splits", "collate"]
