"""What a model's `forward_features` returns, as a map (B, C, h, w)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def as_map(features: object, model: nn.Module, size: Sequence[int]) -> Tensor | None:
    """Give a map from maps of either layout or from a Transformer's tokens.

    Args:
        features: (B, C, h, w) or (B, h, w, C), see :func:`is_channels_last`; or tokens (B, N, C), of which the first
            `model.num_prefix_tokens` (class and register tokens) are no places in the image and are dropped.
        model: The timm model they come from.
        size: (H, W) of the images in pixels.

    Returns:
        (B, C, h, w), or None where the features are no map: several tensors, a vector, tokens that form no grid.
    """
    if not isinstance(features, Tensor):
        return None
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if is_channels_last(features.shape, model, size) else features
    if features.ndim != 3:
        return None
    known = getattr(model, "num_prefix_tokens", None)
    for prefix in (0, 1, 2) if known is None else (known,):
        grid = _grid(features.shape[1] - prefix, model, size)
        # Without a word from the model, one or two tokens are taken for class tokens, not for an image of one place.
        if grid and (known is not None or grid[0] * grid[1] > 2):
            return features[:, prefix:].transpose(1, 2).unflatten(2, grid)
    return None


def is_channels_last(shape: Sequence[int], model: nn.Module, size: Sequence[int]) -> bool:
    """Tell whether a map's four sizes are (B, h, w, C): those two whose ratio is nearer to the image's are its sides.

    Where both are as near, `model.output_fmt` decides. That alone is not enough: within one model blocks differ
    (ConvNeXt's hold their layers' outputs channels last, Swin's all but the patch embedding).

    Args:
        shape: (B, C, h, w) or (B, h, w, C).
        size: (H, W) of the images in pixels.
    """
    first, last = (_stretch(shape[at : at + 2], size) for at in (2, 1))
    if abs(first - last) < 1e-9:
        return getattr(model, "output_fmt", "NCHW") == "NHWC"
    return last < first


def _stretch(sides: Sequence[int], size: Sequence[int]) -> float:
    """By which factor a map is stretched against its image, as a logarithm; 0 where rounding up explains it."""
    height, width = max(sides[0], 1), max(sides[1], 1)
    stride = min(size[0] / height, size[1] / width)
    rounded = all(side - 1 < pixels / stride <= side + 1e-6 for side, pixels in zip((height, width), size))
    return 0.0 if rounded and stride >= 1 else abs(math.log(height / width * size[1] / size[0]))


def _grid(tokens: int, model: nn.Module, size: Sequence[int]) -> tuple[int, int] | None:
    """(h, w) of so many tokens: the patch embedding's, or, after stages that merge patches, of the image's shape."""
    patches: Any = getattr(model, "patch_embed", None)
    candidates = []
    if hasattr(patches, "dynamic_feat_size"):
        candidates.append(tuple(patches.dynamic_feat_size(size)))
    elif getattr(patches, "grid_size", None):
        candidates.append(tuple(patches.grid_size))
    height = round((max(tokens, 0) * size[0] / size[1]) ** 0.5)
    candidates.append((height, tokens // height if height else 0))
    return next((grid for grid in candidates if grid[0] * grid[1] == tokens and tokens > 0), None)
