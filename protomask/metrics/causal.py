"""Does the map show what the score rests on? Agreement with the true importance of an object's parts.

Where a scene can be rendered again without one of its parts, everything else equal, the fall of the score is that
part's importance: a cause, not a guess. A good map puts its mass on the parts in that order. (Causal part agreement is
this project's metric; FunnyBirds, Hesse et al., ICCV 2023, did the like for class scores.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from protomask.metrics.faithfulness import auc
from protomask.metrics.given import as_maps, as_mask, as_values
from protomask.metrics.scoring import Score, at_rest, scoring
from protomask.places import as_index

RESOLUTION = 1e-4
"""Falls are counted in steps of this share of |s(x)|: what is smaller is the noise of float32, not an importance."""


@torch.no_grad()
def part_importance(
    score: Score,
    whole: Tensor,
    without: Tensor,
    index: Tensor,
    visible: Tensor,
    *,
    batch_size: int = 16,
    resolution: float = RESOLUTION,
) -> Tensor:
    """Compute importance_k = s(x) - s(x without part k), rounded to multiples of ``resolution * |s(x)|``.

    Args:
        score: ``score(images, index) -> (N,)``.
        whole: (B,) scores of the images with all parts.
        without: (B, K, 3, H, W) each image rendered without each part; not looked at where the part is not visible.
        index: (B,) long.
        visible: (B, K) bool.
        batch_size: images per call of ``score``.
        resolution: 0 does not round.

    Returns:
        (B, K); negative where the score rises without the part; NaN where the part is not visible.
    """
    whole = as_values(whole, ("B",), "whole")
    without = as_values(without, (len(whole), "K", "C", "H", "W"), "without")
    index, visible = as_index(index, whole), as_mask(visible, without.shape[:2], "visible")
    image, part = visible.nonzero(as_tuple=True)
    importance = torch.full(visible.shape, torch.nan, dtype=whole.dtype, device=whole.device)
    with scoring(score) as ask:
        for some in torch.arange(len(image), device=image.device).split(batch_size):
            i, k = image[some], part[some]
            importance[i, k] = whole[i] - ask(without[i, k], index[i]).to(whole.dtype)
    step = resolution * whole.abs()[:, None]
    return torch.where(step > 0, (importance / step).round() * step, importance)


def part_mass(saliency: Tensor, parts: Tensor) -> Tensor:
    """Sum the saliency (B, H, W) on each part's visible pixels (B, K, H, W) bool: (B, K).

    NaN on every part where the map is not finite.
    """
    saliency = as_maps(saliency)
    parts = as_mask(parts, (len(saliency), "K", *saliency.shape[1:]), "parts")
    return (saliency[:, None] * parts).sum((2, 3))


def rank_correlation(importance: Tensor, mass: Tensor, visible: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of the parts' importance and saliency; higher is better.

    Over each image's visible parts.

    Ties share the mean of their ranks.

    Args:
        importance, mass: (B, K).
        visible: (B, K) bool; the others are not looked at.

    Returns:
        (B,) in [-1, 1]. NaN, to be left out and counted, where fewer than two parts are visible or all are equally
        important: there is no order to find; and where a visible part's number is. 0 where the mass is the same on all
        parts (a zero map): the map ranks nothing.
    """
    importance, mass, visible = _of_parts(importance, mass, visible)
    x, y = (_centred(_ranks(values, visible), visible) for values in (importance, mass))
    spread_x, spread_y = (x * x).sum(1), (y * y).sum(1)
    correlation = (x * y).sum(1) / (spread_x * spread_y).sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    defined = (visible.sum(1) >= 2) & (spread_x > 0) & _known(importance, mass, visible)
    return torch.where(defined, correlation.clamp(-1, 1), torch.nan)


def top_part_hit(importance: Tensor, mass: Tensor, visible: Tensor) -> Tensor:
    """Tell whether the most important visible part is the most salient one: 1 or 0; higher is better.

    Arguments as of :func:`rank_correlation`.

    Of several equally important parts each is right; several equally salient ones are a miss, so a zero map never hits.

    Returns:
        (B,) 0 or 1; NaN where fewer than two parts are visible, where all are equally important, and where no part's
        removal lowers the score: then no part is the most important one; and where a visible part's number is.
    """
    importance, mass, visible = _of_parts(importance, mass, visible)
    known = _known(importance, mass, visible)
    importance = torch.where(visible, importance, -torch.inf)
    mass = torch.where(visible, mass, -torch.inf)
    best, worst = importance.amax(1), torch.where(visible, importance, torch.inf).amin(1)
    salient = mass == mass.amax(1, keepdim=True)
    hit = (salient.sum(1) == 1) & (salient & (importance == best[:, None])).any(1)
    defined = (visible.sum(1) >= 2) & (best > worst) & (best > 0) & known
    return torch.where(defined, hit.to(mass.dtype), torch.nan)


def causal_overlap(importance: Tensor, mass: Tensor, total: Tensor, visible: Tensor) -> Tensor:
    """Compute how much of the map lies on the causes, in due proportion; higher is better.

    The sum over parts of min(saliency share, importance share).

    The overlap of two distributions over the parts, the saliency's being a share of the whole map, so that what lies
    beside the parts is lost. Unlike the rank correlation it rewards neither large parts nor any order of unimportant
    ones, and maps made without the network score low. Ours. Importances below zero count as none.

    Args:
        importance, mass: (B, K).
        total: (B,) sum of the whole map.
        visible: (B, K) bool.

    Returns:
        (B,) in [0, 1], 1 for the causes themselves; 0 for a zero map; NaN where no part's removal lowers the score.
    """
    importance, mass, visible = _of_parts(importance, mass, visible)
    total = as_values(total, mass.shape[:1], "total")
    cause = torch.where(visible, importance, 0.0).clamp(min=0)
    shares = torch.where(visible, mass, 0.0) / total.clamp(min=torch.finfo(mass.dtype).tiny)[:, None]
    sum_ = cause.sum(1)
    overlap = torch.minimum(shares, cause / sum_.clamp(min=torch.finfo(cause.dtype).tiny)[:, None]).sum(1)
    return torch.where(sum_ > 0, overlap, torch.nan)


def causal_insertion(
    shown: Callable[[int, frozenset[int]], float], mass: Tensor, visible: Tensor, whole: Tensor
) -> Tensor:
    """Compute the area under the score while an object's parts are drawn, most salient first; higher is better.

    Insertion (:func:`protomask.metrics.insertion`) without images that no camera ever saw: every step is a proper
    rendering. The curve runs from the scene in which no visible part is drawn to the whole scene. Equally salient parts
    are drawn together, so that a map which ranks nothing gains nothing before the end.

    Args:
        shown: ``shown(b, parts)``: score of image b with these of its visible parts drawn, and no others.
        mass: (B, K) saliency on each part, :func:`part_mass`.
        visible: (B, K) bool.
        whole: (B,) scores of the images with all parts.

    Returns:
        (B,) in units of the score; NaN where fewer than two parts are visible. Divide a similarity's by
        :func:`protomask.metrics.relative_to_whole`.
    """
    mass = as_values(mass, ("B", "K"), "mass")
    visible, whole = as_mask(visible, mass.shape, "visible"), as_values(whole, mass.shape[:1], "whole")
    areas = []
    with at_rest(shown):
        for b, parts in enumerate(visible):
            present = parts.nonzero().flatten().tolist()
            if len(present) < 2 or mass[b, present].isnan().any():
                areas.append(torch.nan)
                continue
            # A part is drawn at step j if at most j parts are at least as salient.
            last = {k: sum(mass[b, other] >= mass[b, k] for other in present) for k in present}
            steps = [frozenset(k for k in present if last[k] <= step) for step in range(len(present))]
            scores = [shown(b, drawn) for drawn in steps] + [float(whole[b])]
            areas.append(float(auc(torch.tensor(scores, dtype=torch.float64))))
    return torch.tensor(areas, dtype=whole.dtype, device=whole.device)


def _of_parts(importance: Tensor, mass: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Check what is known of the parts: numbers (B, K), and whether they are visible, as bool."""
    mass = as_values(mass, ("B", "K"), "mass")
    return as_values(importance, mass.shape, "importance"), mass, as_mask(visible, mass.shape, "visible")


def _known(importance: Tensor, mass: Tensor, visible: Tensor) -> Tensor:
    return ~((importance + mass).isnan() & visible).any(1)


def _ranks(values: Tensor, valid: Tensor) -> Tensor:
    """Ranks 1... of each row's valid values, ties averaged; (B, K)."""
    others = valid[:, None, :]
    below = ((values[:, None, :] < values[:, :, None]) & others).sum(2)
    equal = ((values[:, None, :] == values[:, :, None]) & others).sum(2)
    return below.double() + (equal.double() + 1) / 2


def _centred(ranks: Tensor, valid: Tensor) -> Tensor:
    mean = (ranks * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return (ranks - mean) * valid
