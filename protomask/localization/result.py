"""Where a classifier looked in one photograph: what was found, as picture, numbers and words."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from protomask.errors import InputError
from protomask.files import write_atomically
from protomask.given import as_count, as_path

NO_EVIDENCE = " \N{EM DASH} no evidence"
"""added to an overlay's caption where the score is no higher than that of an empty image"""


@dataclass(frozen=True, eq=False)
class Look:
    """Where a classifier looked in one photograph."""

    name: str
    pixels: np.ndarray
    """(H, W, 3) uint8, the photograph as it was given"""
    class_index: int
    class_name: str
    probability: float
    saliency: np.ndarray
    """(h, w) float32 in [0, 1] at the model's input size"""
    localizer: str
    warning: str | None = None
    """what speaks against trusting the map"""

    def overlay(self, longest: int | None = None) -> np.ndarray:
        """Draw the map and its outline over the photograph, in its own proportions; no outline with a ``warning``.

        Args:
            longest: pixels of the photograph's longer side at most; None: as large as it is, or enlarged by a whole
                factor where its shorter side is below about 256 pixels.

        Returns:
            (h, w, 3) uint8; below the photograph stands the caption that would cover it.
        """
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self._png(longest)), formats=["PNG"]).convert("RGB"))

    def save(self, path: str | Path) -> Path:
        """Write the overlay (``.png``), or the map as numbers (``.npy``).

        Raises:
            InputError: another suffix, or the file cannot be written.
        """
        path = as_path(path, "path")
        if path.suffix.lower() == ".npy":
            content = io.BytesIO()
            np.save(content, self.saliency)
            data = content.getvalue()
        elif path.suffix.lower() == ".png":
            data = self._png(None)
        else:
            raise InputError(f"{path}: give a name that ends in .png (the overlay) or .npy (the map)")
        write_atomically(path, lambda partial: partial.write_bytes(data))
        return path

    def text(self) -> str:
        """Say in one line what was found."""
        from protomask.report.wording import chance

        found = f"{self.name}: {self.class_name}, probability {chance(self.probability)}, localised by {self.localizer}"
        return found if self.warning is None else f"{found} (careful: {self.warning})"

    def __repr__(self) -> str:
        return f"<Look {self.text()}>"

    def _repr_png_(self) -> bytes:
        return self._png(512)

    def _png(self, longest: int | None) -> bytes:
        from protomask.report.class_overlay import overlay_png
        from protomask.report.wording import certainty

        outlined = self.warning is None
        longest = None if longest is None else as_count(longest, "longest")
        caption = f"{self.class_name} {certainty(self.probability, 0)}" + ("" if outlined else NO_EVIDENCE)
        return overlay_png(
            self.pixels, self.saliency, self.localizer, longest=longest, caption=caption, outlined=outlined
        )
