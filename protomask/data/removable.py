"""Data whose images can be had again without some of their parts: small protocols, asked by type."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from torch import Tensor

from protomask.data.images import Sample


@runtime_checkable
class HasRemovableParts(Protocol):
    """Knows where each part is, and renders an image without one."""

    def part_masks(self, position: int) -> Tensor:
        """Give the visible pixels of each part, bool (K, H, W)."""
        ...

    def without_part(self, position: int, part: int) -> Sample:
        """Give the sample at ``position``, rendered without part number ``part``, everything else equal."""
        ...


@runtime_checkable
class HasRemovableSets(HasRemovableParts, Protocol):
    """Renders an image without several parts at once, too."""

    def without_parts(self, position: int, parts: Collection[int]) -> Sample:
        """Give the sample at ``position``, rendered without these parts, everything else equal."""
        ...
