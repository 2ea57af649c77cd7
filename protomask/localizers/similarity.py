"""The upsampled similarity map: what ProtoPNet shows, and the reference that learned masks must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.capabilities import HasOutlineLevel, HasSimilarityMaps
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.given import as_count
from protomask.localizers.base import check_pairs, min_max, require_finite_maps


@dataclass(frozen=True)
class Similarity:
    """Upsample the prototype's similarity map bicubically, scaled to [0, 1].

    Scaled by its least and greatest value; by its greatest alone where the network says that 0 means nothing
    (``outline_level``, as XProtoNet's occurrence maps), so that a share of the maximum keeps its meaning.

    Source: Chen et al., NeurIPS 2019, and their code (``cv2.INTER_CUBIC``; equal to torch's bicubic without aligned
    corners to 2e-6). It says where on the feature map the similarity is high, not which pixels caused it: a cell sees
    far beyond its own patch. Needs ``explained.similarity_maps(images, index) -> (B, h, w)``; plain classifiers have
    none.
    """

    batch_size: int = 64

    def __post_init__(self) -> None:
        as_count(self.batch_size, "Similarity: batch_size")

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; InputError if ``explained`` has no similarity maps."""
        index = check_pairs(images, index, explained)
        if not isinstance(explained, HasSimilarityMaps):
            raise InputError(
                f"{type(explained).__name__} has no similarity maps, so localizer 'similarity' cannot explain it; "
                "those that need scores alone can: mdm, random, center"
            )
        maps = []
        with torch.no_grad(), frozen(explained):
            for start in range(0, max(len(images), 1), self.batch_size):
                part, chosen = (each[start : start + self.batch_size] for each in (images, index.long()))
                found = _one_per_image(self.maps(explained, part, chosen), part)
                maps.append(_upsample(require_finite_maps(found, explained, range(start, len(images))), part))
        whole = torch.cat(maps)
        return min_max(whole) if self.outline_level(explained) is None else _scale_by_maximum(whole)

    def maps(self, explained: HasSimilarityMaps, images: Tensor, index: Tensor) -> Tensor:
        """Ask for the maps (B, h, w) as they are on the feature map."""
        return explained.similarity_maps(images, index)

    def outline_level(self, explained: Explainable) -> float | None:
        """Give the share of a map's maximum at which its picture is outlined; None where there is no such rule."""
        return explained.outline_level if isinstance(explained, HasOutlineLevel) else None


def _scale_by_maximum(maps: Tensor) -> Tensor:
    """Scale maps by their maximum; what lies below 0 is cut off, a map without a positive value becomes zero."""
    maps = maps.clamp_min(0)
    high = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(high > 0, high, torch.inf)


def _one_per_image(maps: Tensor, images: Tensor) -> Tensor:
    if maps.ndim != 3 or len(maps) != len(images):
        raise InputError(
            f"similarity_maps(images, index) gave the shape {tuple(maps.shape)}; it must give one map per image, "
            f"({len(images)}, h, w)"
        )
    return maps


def _upsample(maps: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(maps[:, None].float(), images.shape[-2:], mode="bicubic", align_corners=False)[:, 0]


def level_box(saliency: np.ndarray, level: float) -> tuple[int, int, int, int]:
    """Draw the tight box around all pixels of a map (H, W) that reach ``level`` times its maximum.

    >>> level_box(np.array([[0.0, 0.3], [0.2, 1.0]]), 0.3)
    (1, 0, 2, 2)
    """
    return _box_around(saliency >= level * saliency.max())


def percentile_box(saliency: Tensor | np.ndarray, percentile: float = 95) -> tuple[int, int, int, int]:
    """Draw the tight box around all pixels of a map at or above a percentile of its values.

    As in ProtoPNet's code: numpy's linear percentile, ``map >= threshold``, all components together.

    >>> percentile_box(torch.tensor([[0.0, 0.1], [0.2, 1.0]]), 95)
    (1, 1, 2, 2)

    Args:
        saliency: (H, W).
        percentile: in [0, 100].

    Returns:
        (x0, y0, x1, y1) in pixels, end-exclusive. The whole map if it is constant.

    Raises:
        InputError: not one finite map, or the percentile is out of range.
    """
    values = saliency.detach().cpu().numpy() if isinstance(saliency, Tensor) else np.asarray(saliency)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(f"percentile_box: got shape {values.shape}; give one map (H, W) of finite numbers")
    if not 0 <= percentile <= 100:
        raise InputError(f"percentile={percentile} is out of range; give 0 to 100")
    return _box_around(values >= np.percentile(values, percentile))


def _box_around(high: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(high.any(1)), np.flatnonzero(high.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
