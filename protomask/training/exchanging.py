"""Show training images with what is forbidden exchanged between them, while their labels stay (ours).

In a share of each batch, images are paired by chance, and within the area that is forbidden in one or the other each of
the two shows what the other has there. So a forbidden thing is taken off one image and put onto another one, of any
class: it tells nothing of the class any more, and what is put in its place is what pictures are made of. A network that
learns from such images must answer by something else.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from protomask.training.forgetting import Forbidden, covered_cells, forbidden_cells

SHARE = 0.5
"""of the images of a batch that are exchanged"""
BESIDE = 0
"""cells beside a forbidden one that are exchanged with it: on a coarse map even one takes half of the object along"""


@torch.no_grad()
def exchange(forbidden: Forbidden, images: Tensor, share: float = SHARE) -> Tensor:
    """Exchange what is forbidden within pairs of ``images`` (B, 3, H, W), drawn from torch's generator.

    Args:
        forbidden: as the network before saw it.
        images: of a batch, normalised.
        share: of them that are paired.

    Returns:
        The batch; images without a partner are as they were.
    """
    pairs = int(len(images) * share) // 2
    if not pairs or not len(forbidden.patches):
        return images
    drawn = torch.randperm(len(images))[: 2 * pairs].to(images.device)
    one, other = drawn[:pairs], drawn[pairs:]
    cells = covered_cells(forbidden.probe, forbidden_cells(forbidden, images[drawn], BESIDE))
    area = F.interpolate(cells[:, None].float(), size=images.shape[-2:])
    either = torch.maximum(area[:pairs], area[pairs:]) > 0
    changed = images.clone()
    changed[one] = torch.where(either, images[other], images[one])
    changed[other] = torch.where(either, images[one], images[other])
    return changed
