"""Pictures of prototypes that are read when something looks at them, so that ten thousand of them fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from protomask.explanations.records import Inspection, PrototypePicture, PrototypeRecord


class PictureOnDemand(PrototypePicture):
    """Be a prototype's picture whose image and maps are read each time they are asked for.

    Args:
        record: of the prototype.
        read_image: gives (H, W, 3) uint8.
        read_maps: gives localizer name to (h, w) float32 in [0, 1].
        inspection: of the prototype, where there is one.
    """

    _read_image: Callable[[], np.ndarray]
    _read_maps: Callable[[], dict[str, np.ndarray]]

    def __init__(
        self,
        record: PrototypeRecord,
        read_image: Callable[[], np.ndarray],
        read_maps: Callable[[], dict[str, np.ndarray]],
        inspection: Inspection | None = None,
    ) -> None:
        own = {"record": record, "inspection": inspection, "_read_image": read_image, "_read_maps": read_maps}
        for name, value in own.items():
            object.__setattr__(self, name, value)  # pictures are frozen

    @property
    def image(self) -> np.ndarray:
        return self._read_image()

    @property
    def maps(self) -> dict[str, np.ndarray]:
        return self._read_maps()

    def changed(self, **changes: Any) -> PictureOnDemand:
        """Give the same picture with another ``record`` or ``inspection``; reads nothing."""
        own = {"record": self.record, "inspection": self.inspection, **changes}
        return PictureOnDemand(own["record"], self._read_image, self._read_maps, own["inspection"])

    def __repr__(self) -> str:
        return f"PictureOnDemand({self.record!r})"
