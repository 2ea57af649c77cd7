"""Attention rollout and Chefer's attribution, for timm's vision Transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from protomask.backbones.tokens import as_map
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen, in_this_thread, set_meanwhile
from protomask.localizers.base import check_pairs, min_max, require_finite
from protomask.localizers.gradcam import require_pairs_together
from protomask.localizers.transformer import attention_blocks, require_attention, weigh_tokens
from protomask.precision import as_float


@dataclass(frozen=True)
class AttentionRollout:
    """Multiply the attention of all blocks, with the residual path as half of each: prod_l (mean of heads + 1) / 2.

    Abnar and Zuidema, ACL 2020. Shown is what reaches the class token (the distillation token, too, where there is
    one); the mean of all tokens where the model averages them; for a prototype, the most similar patch's. It does not
    look at the score: all classes get the same map.

    Args:
        batch_size: pairs computed together.

    Cost: one forward pass per pair.
    """

    batch_size: int = 8

    def __post_init__(self) -> None:
        require_pairs_together("AttentionRollout", self.batch_size)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a vision Transformer of timm."""

        def step(kept: Tensor, attention: Tensor, slope: Tensor) -> Tensor:
            return (attention.mean(1) + _identity(attention)) / 2 @ kept

        return _combine(explained, images, index, step, False, self.batch_size, "attention-rollout", progress)


@dataclass(frozen=True)
class Chefer:
    """Add up attention where it raises the score: R <- R + E_h[relu(dA * A)] R from block to block.

    Chefer, Gur, Wolf, "Generic Attention-model Explainability", ICCV 2021: the authors' own simplification of their
    transformer attribution of CVPR 2021, without relevance propagation. A is a head's attention, dA the gradient of the
    score at it, R starts as the identity. Shown is the same row as of :class:`AttentionRollout`. Published for logits:
    ``Classifier(model, score="logit")``.

    Args:
        batch_size: pairs computed together.

    Cost: one forward-backward pass per pair.
    """

    batch_size: int = 8

    def __post_init__(self) -> None:
        require_pairs_together("Chefer", self.batch_size)

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`; needs a vision Transformer of timm and a score with gradient."""

        def step(added: Tensor, attention: Tensor, slope: Tensor) -> Tensor:
            # R without the identity: beside it rounding would swallow what a sure prediction's small slopes add.
            raised = (slope * attention).relu().mean(1)
            return added + raised + raised @ added

        return _combine(explained, images, index, step, True, self.batch_size, "chefer", progress)


def _combine(explained, images, index, step, gradient: bool, batch_size: int, name: str, progress: bool) -> Tensor:
    """Let ``step(matrix (N, N) or (B, N, N), attention (B, h, N, N), its gradient) -> (B, N, N)`` go over the blocks;
    read out a row.

    The matrix starts as the identity; with ``gradient`` as zero, and the identity is added in the end.
    """
    index = check_pairs(images, index, explained)
    if not len(images):
        raise InputError("there are no images to explain; give at least one")
    root, blocks = attention_blocks(explained, name)
    maps, size = [], tuple(images.shape[-2:])
    with torch.inference_mode(False), torch.set_grad_enabled(gradient), frozen(explained), _recorded(blocks) as seen:
        images, index = images.detach().clone(), index.detach().clone().long()
        for start in tqdm(range(0, len(images), batch_size), desc=name, unit="batch", disable=not progress):
            part, chosen = images[start : start + batch_size], index[start : start + batch_size]
            seen.clear()
            score = explained.score(part.requires_grad_(gradient), chosen)
            require_finite(score, explained, range(start, len(images)))
            require_attention(seen, root, blocks, name)
            slopes: Sequence[Tensor] = seen  # no gradient is asked for
            if gradient:
                if not score.requires_grad:
                    raise InputError(f"the score of {type(explained).__name__} has no gradient; {name!r} needs one")
                slopes = torch.autograd.grad(score.sum(), seen, materialize_grads=True, allow_unused=True)
            with torch.no_grad():
                kept = _identity(as_float(seen[0])) * (not gradient)
                for each, slope in zip(seen, slopes):
                    # A half model's attention is half; products over the blocks are not.
                    kept = step(kept, as_float(each.detach()), as_float(slope))
                row = weigh_tokens(explained, root, part.detach(), chosen, kept, name)
                relevance = row[:, None] @ kept
                if gradient:  # of the mean of all tokens it would be the same everywhere
                    relevance += torch.where(row == 1, row, 0)[:, None]
                found = as_map(relevance.transpose(1, 2), root, size)
                if found is None:
                    raise InputError(f"the tokens of {type(root).__name__} are on no grid, so {name!r} has no map")
                maps.append(F.interpolate(found.float(), size, mode="bilinear", align_corners=False)[:, 0])
    return min_max(torch.cat(maps))


def _identity(like: Tensor) -> Tensor:
    """(N, N), as the last dimension, type and device of ``like`` are"""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


@contextmanager
def _recorded(blocks: list[nn.Module]) -> Iterator[list[Tensor]]:
    """Record the attention of each pass; afterwards the layers are as before."""
    seen: list[Tensor] = []
    keep = in_this_thread(lambda _, __, output: seen.append(output))
    # The fused kernel never writes its attention down.
    with set_meanwhile(_set_fused, False, lambda: [(block, block.fused_attn) for block in blocks]):
        with ExitStack() as hooks:
            for block in blocks:
                hooks.callback(block.get_submodule("attn_drop").register_forward_hook(keep).remove)
            yield seen


def _set_fused(block: nn.Module, fused: bool) -> None:
    setattr(block, "fused_attn", fused)  # noqa: B010
