"""A share of images with several findings each, so that findings, and how many an image has, are shared out alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.labels import positives


def hold_out_findings(labels: Tensor, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Hold out round(len * share) images, with the share of every finding and of every number of findings.

    Known: iterative stratification (Sechidis et al. 2011): the images of the rarest finding first, each to the side
    that lacks more of it. How many findings an image has counts as one more; otherwise images with many would land
    where they bring several that lack. Of each finding with n images about round(n * share) are held out, at least one
    where n > 1 if that can be, never all; where many findings are rare that takes more images than the share.

    Args:
        labels: (len, C) findings.
        share: in [0, 1).

    Returns:
        Two sorted, disjoint long tensors that cover 0..len-1.
    """
    findings = positives(labels, labels.shape[1])
    if not len(findings) or share == 0:
        return torch.arange(len(findings)), torch.empty(0, dtype=torch.long)
    kinds = torch.cat([findings, F.one_hot(findings.sum(1)).bool()], dim=1)
    total = kinds.sum(0)
    wanted = total * share
    each = findings.shape[1]
    # At least one and never all: a finding must be there to be learned, and to be measured.
    wanted[:each] = wanted[:each].round().clamp_min(1).minimum(total[:each] - 1).clamp_min(0)
    held = _shared_out(kinds, wanted, len(kinds) * share, seed)
    _even_out(held, kinds, wanted, each, min(max(round(len(kinds) * share), 1), len(kinds) - 1))
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _shared_out(kinds: Tensor, wanted: Tensor, count: float, seed: int) -> Tensor:
    """Decide image by image, (len,) bool: which are held out; ``count`` of all, ``wanted`` (K,) of each kind."""
    order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed))
    # By how much more the held-out side lacks of each kind than the other one.
    lacks, more = (2 * wanted - kinds.sum(0)).tolist(), 2 * count - len(kinds)
    members = [order[column].tolist() for column in kinds[order].unbind(1)]
    own: list[list[int]] = [[] for _ in range(len(kinds))]
    for image, kind in kinds.nonzero().tolist():
        own[image].append(kind)
    left = kinds.sum(0).tolist()
    held = [False] * len(kinds)
    open_ = [True] * len(kinds)
    while any(left):
        rarest = min((kind for kind, number in enumerate(left) if number), key=left.__getitem__)
        for image in members[rarest]:
            if not open_[image]:
                continue
            lack = lacks[rarest] if abs(lacks[rarest]) > 1e-6 else more
            open_[image], held[image] = False, lack > 0
            step = 2 if held[image] else 0
            more += 1 - step
            for kind in own[image]:
                lacks[kind] += 1 - step
                left[kind] -= 1
    return torch.tensor(held)


def _even_out(held: Tensor, kinds: Tensor, wanted: Tensor, findings: int, count: int) -> None:
    """Move images, in place, until each finding is on both sides where it can be, and ``count`` are held out.

    Of those that may be moved it is the one that leaves every kind nearest to what is wanted.
    """
    some, total = kinds[:, :findings], kinds[:, :findings].sum(0)
    least, weighed, now = (wanted[:findings] > 0).long(), kinds.double(), kinds[held].sum(0)

    def move(out: bool, having: int | None = None, *, barred: bool = True) -> bool:
        """Hold one more image out, or one less, that has the finding ``having``; True where there was one."""
        full = now[:findings] >= total - 1 if out else now[:findings] <= least
        movable = held != out
        if barred:
            movable &= ~some[:, full].any(1)
        if having is not None:
            movable &= some[:, having]
        off, step = now - wanted, 1 if out else -1
        price = weighed @ ((off + step).abs() - off.abs()).double()
        if movable.any():
            image = price.masked_fill(~movable, torch.inf).argmin()
            held[image] = out
            now.add_(kinds[image], alpha=step)
        return bool(movable.any())

    for finding in range(findings):
        if total[finding] and some[held, finding].sum() == total[finding]:
            move(False, finding, barred=False)  # without it nothing could be learned
    for finding in range(findings):
        if least[finding] and not some[held, finding].any():
            move(True, finding)
    while int(held.sum()) != count and move(int(held.sum()) < count):
        pass
