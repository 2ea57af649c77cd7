"""Fill holes with a discrete membrane: every value in them is the weighted mean of its eight neighbours.

Conjugate gradients alone mend what is wrong over a long way hardly at all in a hundred steps, however small each
equation's error is by then. Here each step is prepared by a multigrid cycle, which mends short errors on the pixels and
long ones on coarser and coarser grids: every step leaves about a tenth of the error, at any size of image and hole.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

BESIDE, ACROSS = 1 / 6, 1 / 12
"""weights of the four direct and the four diagonal neighbours, as in the code of ROAD's authors"""
COARSEST = 256
"""points of a grid that is solved directly"""
DAMPING = 0.9
"""of the Jacobi steps on each grid"""

_PLACES = tuple(product(range(3), range(3)))
"""of a pixel's neighbours, row by row; the fifth is the pixel itself"""
_WEIGHTS = (ACROSS, BESIDE, ACROSS, BESIDE, 0.0, BESIDE, ACROSS, BESIDE, ACROSS)


def fill_holes(images: Tensor, holes: Tensor, *, iterations: int, tolerance: float) -> Tensor:
    """Solve for the values in the holes, all of an image's together; each image stops by itself.

    Args:
        images: (B, C, H, W) float32 or float64; what they hold in holes is not looked at.
        holes: (B, 1, H, W) bool.
        iterations: at most so many steps.
        tolerance: an image stops after a step that changed none of its values by more; about a tenth of it is left.

    Returns:
        (B, C, H, W), of use in the holes; zero where nothing but holes is there.
    """
    height, width = images.shape[-2:]
    halvings, (rows, columns) = _grid(height, width)
    padding = (0, columns - width, 0, rows - height)
    inside = F.pad(holes.to(images.dtype), padding)
    cycle = _Cycle(_equations(inside, F.pad(torch.ones_like(images[:1, :1]), padding)), halvings)
    residual = inside * _weighted(F.pad(images.masked_fill(holes, 0), padding))
    found, direction = torch.zeros_like(residual), torch.zeros_like(residual)
    size = residual.new_ones(len(residual), 1, 1, 1)
    going = torch.ones_like(size, dtype=torch.bool)
    for _ in range(iterations):
        mended = cycle(residual)
        before, size = size, _squares(residual, mended)
        direction = mended.add_(direction.mul_(size / before.clamp_min(1e-30)))
        moved = _apply(cycle.equations[0], direction)
        # An image that is done rests, so that it comes out the same beside any others.
        step = torch.where(going, size / _squares(direction, moved).clamp_min(1e-30), 0)
        found.addcmul_(step, direction)
        residual.addcmul_(-step, moved)
        going = going & ((step * direction).abs().amax((1, 2, 3), keepdim=True) > tolerance)
        if not going.any():
            break
    return found[..., :height, :width]


class _Cycle:
    """One multigrid cycle (V, one Jacobi step before and after): a symmetric approximation of the equations' inverse.

    Coarse equations are those of the fine grid for bilinear changes (Galerkin), so that they know the holes' shape.
    """

    def __init__(self, equations: Tensor, halvings: int) -> None:
        self.equations = [equations]
        for _ in range(halvings):
            self.equations.append(_coarser(self.equations[-1]))
        own = [each[:, 4:5] for each in self.equations]
        self.free = [(each > 1e-12).to(each.dtype) for each in own]  # points that are in a hole
        self.inverse = [DAMPING * free / each.clamp_min(1e-12) for free, each in zip(self.free, own)]
        self.direct = _inverse(self.equations[-1])

    def __call__(self, residual: Tensor, level: int = 0) -> Tensor:
        if level == len(self.equations) - 1:
            return (residual.flatten(2) @ self.direct).view(residual.shape)
        equations, inverse = self.equations[level], self.inverse[level]
        found = inverse * residual
        coarse = self(_restrict(residual - _apply(equations, found)), level + 1)
        found.addcmul_(self.free[level], _prolong(coarse))
        return found.addcmul_(inverse, residual - _apply(equations, found))


def _grid(height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Say how often the grid is halved, and the size (2^n k + 1) at which every other point is a coarse one."""
    halvings = 0
    while True:
        intervals = [-(-(side - 1) // 2**halvings) for side in (height, width)]
        if (intervals[0] + 1) * (intervals[1] + 1) <= COARSEST or max(intervals) <= 1:
            return halvings, (intervals[0] * 2**halvings + 1, intervals[1] * 2**halvings + 1)
        halvings += 1


def _equations(inside: Tensor, image: Tensor) -> Tensor:
    """Write the equations as (B, 9, H, W): how each point's depends on the nine points around it; zero out of holes.

    Args:
        inside: (B, 1, H, W) 1 in holes.
        image: (1, 1, H, W) 1 where there is an image.
    """
    found = torch.cat(_shifted(inside), 1).mul_(-inside).mul_(inside.new_tensor(_WEIGHTS)[:, None, None])
    found[:, 4:5] = inside * _weighted(image)
    return found


def _coarser(equations: Tensor) -> Tensor:
    """Write the equations of the grid of every other point: restriction * equations * prolongation.

    A change of one coarse point reaches its eight neighbours alone, so that every third can be changed in one go: nine
    combs of points tell all. A comb is one of three in rows times one of three in columns, and each takes its turn.
    """
    height, width = equations.shape[-2:]
    rows, columns = (_combs(side, equations) for side in (height, width))
    by_row = equations.unflatten(1, (3, 1, 3))  # (B, row of the neighbour, 1, its column, H, W)
    found = torch.stack([by_row[:, y] * rows[:, y, None, :, None] for y in range(3)]).sum(0)
    found = _restrict_last(found.transpose(-1, -2)).transpose(-1, -2)
    by_column = found.unsqueeze(3)  # (B, comb of rows, the neighbour's column, 1, h, W)
    found = torch.stack([by_column[:, :, x] * columns[:, x, None] for x in range(3)]).sum(0)
    found = _restrict_last(found).flatten(1, 2)
    row, column = (torch.arange((side + 1) // 2, device=equations.device) for side in (height, width))
    chosen = torch.stack([(row[:, None] + y - 1) % 3 * 3 + (column + x - 1) % 3 for y, x in _PLACES])
    found = found.gather(1, chosen.expand(len(found), -1, -1, -1))
    around = found.unflatten(1, (3, 3))  # there is nothing beyond the border
    around[:, 0, :, 0], around[:, 2, :, -1] = 0, 0
    around[:, :, 0, :, 0], around[:, :, 2, :, -1] = 0, 0
    return found


def _combs(side: int, like: Tensor) -> Tensor:
    """Give what three combs of every third coarse point change before, at and after each of a line's fine points."""
    coarse = torch.arange((side + 1) // 2, device=like.device) % 3 == torch.arange(3, device=like.device)[:, None]
    padded = F.pad(_prolong_last(coarse.to(like.dtype)), (1, 1))
    return torch.stack([padded[:, place : place + side] for place in range(3)], 1)


def _inverse(equations: Tensor) -> Tensor:
    """Invert small equations (B, 9, h, w) as matrices (B, h * w, h * w); points out of holes stay zero."""
    height, width = equations.shape[-2:]
    unit = torch.eye(height * width, dtype=equations.dtype, device=equations.device)
    matrix = _apply(equations, unit.view(1, -1, height, width)).flatten(2)
    own = matrix.diagonal(dim1=1, dim2=2)
    free = own > 1e-12
    own += torch.where(free, own * 1e-5, 1)  # an image that is nothing but a hole has no inverse else
    factor, _ = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_inverse(factor) * (free[:, :, None] & free[:, None])


def _apply(equations: Tensor, values: Tensor) -> Tensor:
    around = _shifted(values)
    total = equations[:, 4:5] * values
    for place in (0, 1, 2, 3, 5, 6, 7, 8):
        total.addcmul_(equations[:, place : place + 1], around[place])
    return total


def _weighted(values: Tensor) -> Tensor:
    """Sum the eight neighbours of each pixel with their weights; what lies outside counts as nothing."""
    around = _shifted(values)
    columns = around[1] + around[7]
    across = around[0] + around[2] + around[6] + around[8]
    return BESIDE * (columns + around[3] + around[5]) + ACROSS * across


def _shifted(values: Tensor) -> list[Tensor]:
    """Give the nine views of (B, C, H, W) in which each point's place is taken by a neighbour of it."""
    height, width = values.shape[-2:]
    padded = F.pad(values, (1, 1, 1, 1))
    return [padded[..., y : y + height, x : x + width] for y, x in _PLACES]


def _restrict(values: Tensor) -> Tensor:
    """Sum onto every other point with the weights of :func:`_prolong`, of which it is the transpose."""
    return _restrict_last(_restrict_last(values.transpose(-1, -2)).transpose(-1, -2))


def _restrict_last(values: Tensor) -> Tensor:
    found = values[..., ::2].clone()
    found[..., 1:].add_(values[..., 1::2], alpha=0.5)
    found[..., :-1].add_(values[..., 1::2], alpha=0.5)
    return found


def _prolong(values: Tensor) -> Tensor:
    """Put points between all points, each the mean of those beside it."""
    return _prolong_last(_prolong_last(values.transpose(-1, -2)).transpose(-1, -2))


def _prolong_last(values: Tensor) -> Tensor:
    between = torch.lerp(values[..., :-1], values[..., 1:], 0.5)
    return torch.cat([torch.stack([values[..., :-1], between], -1).flatten(-2), values[..., -1:]], -1)


def _squares(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2, 3), keepdim=True)
