"""Whether a prototype means one part: consistency, stability (Huang et al., ICCV 2023) and purity (PIP-Net).

A prototype is *at* a part in an image when the part's point lies in a window around the first maximum of its map. The
three metrics are one number per prototype, over images of its class; N pairs of an image and a prototype are given
together, ``prototypes`` (N,) says which pair is whose, and results follow ``prototypes.unique()``.

None of them asks whether the network used the part, and a map that ignores the image does well in them: a blob in the
middle is at the part in the middle, every time. Hold them against the ``center`` localizer, and read the causal metrics
beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protomask.errors import InputError
from protomask.given import as_flag, as_names
from protomask.metrics.given import as_finite_maps, as_mask, as_numbers, as_values, draw_noise

HALF = 36
"""Consistency and stability: the window reaches this far from the maximum, in pixels at 224 x 224 (Huang et al.'s
code)."""
PATCH = 32
"""Purity: side of the window at 224 x 224 (PIP-Net's code)."""
PRESENT = 0.8
"""Consistency: a part must be at the maximum in this share of the images that show it."""
TOP = 10
"""Purity: images that are most similar to the prototype."""
NOISE, CLIP = 0.2, 0.25
"""Stability: deviation and bound of the noise that is added to the normalised image."""


def parts_at_maximum(saliency: Tensor, points: Tensor, visible: Tensor, *, half: float | None = None) -> Tensor:
    """Find the visible parts within ``half`` pixels of the map's first maximum, both ways, ends included.

    Known, from Huang et al.'s code: points are cut off to whole pixels, the window is clipped at the border (it does
    not move).

    Args:
        saliency: (N, H, W).
        points: (N, K, 2) x, y in pixels of the map.
        visible: (N, K) bool.
        half: by default 36 pixels at 224, in proportion to the shorter side.

    Returns:
        (N, K) bool; all False for a constant map, which has no maximum (the published code takes its top left pixel).

    Raises:
        InputError: a map, or a visible part's point, that is not finite: it is neither at a part nor beside one.
    """
    saliency, points, visible = _given(saliency, points, visible)
    half = HALF * min(saliency.shape[1:]) / 224 if half is None else half
    column, row, pointed = _maximum(saliency)
    x, y = points.floor().unbind(-1)
    height, width = saliency.shape[1:]
    near = (x - column[:, None]).abs().le(half) & (y - row[:, None]).abs().le(half)
    framed = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return near & framed & visible & pointed[:, None]


def parts_in_patch(saliency: Tensor, points: Tensor, visible: Tensor, *, side: float | None = None) -> Tensor:
    """Find the visible parts in the square patch around the map's first maximum; ends included, (N, K) bool.

    PIP-Net takes the patch that its latent location stands for, always whole; so a patch at the border is moved inside.

    Args:
        saliency, points, visible: as in :func:`parts_at_maximum`.
        side: by default 32 pixels at 224, in proportion to the shorter side.
    """
    saliency, points, visible = _given(saliency, points, visible)
    height, width = saliency.shape[1:]
    side = PATCH * min(height, width) / 224 if side is None else side
    column, row, pointed = _maximum(saliency)
    left = (column.float() + 0.5 - side / 2).clamp(min=0).clamp(max=max(width - side, 0))[:, None]
    top = (row.float() + 0.5 - side / 2).clamp(min=0).clamp(max=max(height - side, 0))[:, None]
    x, y = points.unbind(-1)
    return (x >= left) & (x <= left + side) & (y >= top) & (y <= top + side) & visible & pointed[:, None]


def consistency(at: Tensor, visible: Tensor, prototypes: Tensor, *, present: float = PRESENT, least: int = 1) -> Tensor:
    """Tell whether each prototype is at some part in enough of the images that show it; higher is better.

    100 where it is in at least 80 % of them, else 0.

    Source: Huang et al. (ICCV 2023), equation and code; the score is the mean over prototypes.

    Args:
        at: (N, K) bool of :func:`parts_at_maximum`.
        visible: (N, K) bool.
        prototypes: (N,) long.
        present: the share.
        least: the published variant is 1: a part that is seen once, and hit once, makes a prototype consistent.
            Stricter: the part must be seen in at least so many of the prototype's images.

    Returns:
        (P,) for the P prototypes in ``prototypes``, ascending.
    """
    at, visible, prototypes = _pairs(at, visible, prototypes, "at", "visible")
    hits, shown = _per_prototype(at, prototypes), _per_prototype(visible, prototypes)
    share = hits / shown.clamp(min=1)
    return 100.0 * ((share >= present) & (shown >= max(least, 1))).any(1).float()


def stability(at: Tensor, perturbed: Tensor, prototypes: Tensor, *, strict: bool = False) -> Tensor:
    """Compute the percentage of a prototype's images in which noise leaves its parts unchanged; higher is better.

    Source: Huang et al. (ICCV 2023), equation and code. A prototype that is never at any part is perfectly stable
    there; ``strict`` counts only images in which it is at a part, before and after.

    Args:
        at: (N, K) bool on the images.
        perturbed: (N, K) bool on the images with :func:`add_noise` noise.
        prototypes: (N,) long.

    Returns:
        (P,) in percent.
    """
    at, perturbed, prototypes = _pairs(at, perturbed, prototypes, "at", "perturbed")
    same = (at == perturbed).all(1)
    if as_flag(strict, "strict"):
        same = same & at.any(1)
    return (
        100
        * _per_prototype(same[:, None], prototypes)[:, 0]
        / _per_prototype(torch.ones_like(same)[:, None], prototypes)[:, 0]
    )


def purity(
    inside: Tensor, visible: Tensor, prototypes: Tensor, similarity: Tensor, *, top: int = TOP, least: int = 1
) -> Tensor:
    """Compute how often the patch of a prototype holds its purest part; higher is better.

    Of a prototype's ten most similar images, the share of those that show its purest part in which the patch holds
    that part.

    Source: Nauta et al. (PIP-Net, CVPR 2023), code; higher is better; reported as mean and standard deviation over
    prototypes. Merge
    left and right parts first: :func:`merge_sides`. A part counts in the images that show it, so that one seen once can
    make a prototype pure; ``least`` is stricter: the part must be seen in so many of the images.

    Args:
        inside: (N, K) bool of :func:`parts_in_patch`.
        visible: (N, K) bool.
        prototypes: (N,) long.
        similarity: (N,) of each pair; of equal ones the first are taken.

    Returns:
        (P,) in [0, 1]; NaN where none of the images shows a part (often enough), and where a similarity is NaN, which
        leaves open what the most similar images are.
    """
    inside, visible, prototypes = _pairs(inside, visible, prototypes, "inside", "visible")
    similarity = as_values(similarity, inside.shape[:1], "similarity")
    order = similarity.argsort(descending=True, stable=True)
    order = order[prototypes[order].argsort(stable=True)]
    _, counts = prototypes.unique(return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    taken = order[torch.arange(len(order), device=order.device) - starts < top]
    hits, shown = (_per_prototype(each[taken], prototypes[taken]) for each in (inside, visible))
    share = torch.where(shown >= max(least, 1), hits / shown.clamp(min=1), -torch.inf)
    best = share.amax(1)
    unknown = _per_prototype(similarity.isnan()[:, None], prototypes)[:, 0] > 0
    return torch.where(best.isinf() | unknown, torch.nan, best)


def merge_sides(present: Tensor, names: Sequence[str]) -> Tensor:
    """Merge left and right parts (``left eye``, ``right eye``): (N, K) bool to (N, K'), present where either is.

    Parts without names stay as they are.
    """
    names = as_names(names, "names")
    present = as_mask(present, ("N", len(names) or "K"), "present")
    merged: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        merged.setdefault(" ".join(word for word in name.split() if word not in ("left", "right")), []).append(column)
    return torch.stack([present[:, columns].any(1) for columns in merged.values()], 1) if merged else present


def add_noise(images: Tensor, seeds: Sequence[int], *, deviation: float = NOISE, clip: float = CLIP) -> Tensor:
    """Add normal noise to normalised ``images`` (N, 3, H, W), clipped to +-0.25; one seed per image.

    As Huang et al.'s code.
    """
    noise = draw_noise(torch.randn, images, seeds)
    return images + (deviation * noise).clamp(-clip, clip).to(images)


def _given(saliency: Tensor, points: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check maps, the parts' points in them, and which of these are visible."""
    saliency = as_finite_maps(saliency)
    points = as_values(points, (len(saliency), "K", 2), "points")
    visible = as_mask(visible, points.shape[:2], "visible")
    if (visible & ~points.isfinite().all(2)).any():
        raise InputError("points are not finite where parts are visible; give such parts as not visible")
    return saliency, points, visible


def _pairs(one: Tensor, other: Tensor, prototypes: Tensor, name: str, other_name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Check what is told of the parts of N pairs, (N, K) bool each, and whose the pairs are."""
    one = as_mask(one, ("N", "K"), name)
    return one, as_mask(other, one.shape, other_name), as_numbers(prototypes, one, "prototypes")


def _maximum(saliency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find column and row (N,) of each map's first maximum, and whether it has one (is not constant)."""
    flat = saliency.flatten(1)
    place, width = flat.argmax(1), saliency.shape[2]
    return place % width, place // width, flat.amax(1) > flat.amin(1)


def _per_prototype(values: Tensor, prototypes: Tensor) -> Tensor:
    """Sum the rows (N, K) of each prototype: (P, K)."""
    present, home = prototypes.unique(return_inverse=True)
    return torch.zeros(len(present), values.shape[1], device=values.device, dtype=torch.float32).index_add_(
        0, home, values.float()
    )
