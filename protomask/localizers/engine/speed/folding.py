"""The same scores in less time: batch norms folded into convolutions on a private copy, bfloat16, CUDA graphs."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from protomask.capabilities import HasSimilarityMaps, score_kind
from protomask.copying import hooked
from protomask.errors import InputError
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen, held_modules
from protomask.localizers.engine.speed.graphs import GraphedScores
from protomask.localizers.engine.speed.uses import norms_after_convolutions
from protomask.localizers.engine.widening import Narrowed
from protomask.precision import as_float
from protomask.prototype_network import PrototypeNetwork

PRECISIONS = ("fp32", "bf16")


def accelerate(explained: Explainable, images: Tensor, index: Tensor, precision: str = "fp32") -> Explainable:
    """Make something that gives the scores of ``explained`` sooner; the model itself is not touched.

    Folding is silently left out where it is impossible: the model cannot be copied, has hooks, or its scores would
    change.

    Args:
        images, index: some pairs to try it on, (B, 3, H, W) and (B,).
        precision: ``"fp32"``, or ``"bf16"``: the score under autocast (prototype layers stay in float32).

    Raises:
        InputError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    quick = fold_batch_norms(explained, images, index)
    quick = quick if precision == "fp32" else Autocast(quick)
    return GraphedScores(quick) if images.is_cuda and _only_computes(explained) else quick


def _only_computes(explained: Explainable) -> bool:
    """Tell whether scoring has no side effects, as far as can be known; False for classes of the user's own."""
    explained = explained.explained if isinstance(explained, Narrowed) else explained
    known = type(explained) is Classifier or isinstance(explained, PrototypeNetwork)
    return known and not hooked(held_modules(explained))


@dataclass(frozen=True, eq=False)
class Autocast:
    """Score under bfloat16 autocast; the scores are float32."""

    explained: Explainable

    @property
    def kind(self) -> str | None:
        """Of a Classifier's scores."""
        return score_kind(self.explained)

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            scores = self.explained.score(images, index)
        return as_float(scores)


def fold_batch_norms(explained: Explainable, images: Tensor, index: Tensor) -> Explainable:
    """Copy ``explained`` with each batch norm folded into the convolution before it; the same scores.

    Returns ``explained`` itself where that is impossible, see :func:`accelerate`.
    """
    roots = held_modules(explained)
    norms = any(isinstance(module, nn.BatchNorm2d) for root in roots for module in root.modules())
    if not norms or not len(images) or hooked(roots):
        return explained
    with torch.inference_mode(False), torch.no_grad(), frozen(explained):
        trial, of = _two_pictures(images, index)
        try:
            before = _answers(explained, trial, of)
            private = copy.deepcopy(explained)
            pairs = norms_after_convolutions(private, held_modules(private), trial[:1], of[:1])
            for convolution, norm in pairs:
                _fold(private, convolution, norm)
            same = bool(pairs) and _alike(before, _answers(private, trial, of))
        except (RuntimeError, TypeError, AttributeError, ValueError, NotImplementedError, copy.Error):
            return explained
        return private if same else explained


def answers_alike(explained: Explainable, private: Explainable, images: Tensor, index: Tensor) -> bool:
    """Tell whether a copy answers as what it was copied from, but for rounding; tried on two pictures.

    Args:
        images, index: some pairs to try it on, (B, 3, H, W) and (B,).
    """
    with torch.no_grad():
        trial, of = _two_pictures(images, index)
        return _alike(_answers(explained, trial, of), _answers(private, trial, of))


def _two_pictures(images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Give the first image, and one with less contrast the other way round."""
    image = images[:1].detach().clone(memory_format=torch.channels_last)
    return torch.cat([image, image.flip(3) * 0.5]), index[:1].long().repeat(2)


def _answers(explained: Explainable, images: Tensor, index: Tensor) -> Tensor:
    """Compute what a change of the network would show in, (B, n), one image at a time: there are models that take no
    more.

    Of a classifier all logits, since a probability may be too near to 0 or 1 to show anything, and of a prototype the
    whole map of its similarity.
    """
    plain = explained.explained if isinstance(explained, Narrowed) else explained
    images = images.to(explained.dtype) if isinstance(explained, Narrowed) else images

    def of_one(image: Tensor, number: Tensor) -> Tensor:
        if isinstance(plain, Classifier) and type(plain).score is Classifier.score:  # else it may have no logits
            return plain.logits(image)
        found = plain.score(image, number)[:, None]
        if isinstance(plain, HasSimilarityMaps):
            with suppress(NotImplementedError, TypeError):  # every PrototypeNetwork has the method
                found = torch.cat([found, plain.similarity_maps(image, number).flatten(1)], 1)
        return found

    return as_float(torch.cat([of_one(images[i : i + 1], index[i : i + 1]) for i in range(len(images))]))


def _alike(before: Tensor, after: Tensor) -> bool:
    """Tell whether answers differ by no more than rounding does.

    They are measured by what they differ among each other: several by their spread, a single one by itself.
    """
    spread = before.max() - before.min() if before.shape[1] > 1 else before.abs().max()
    return bool(((after - before).abs() <= 1e-3 * spread).all())


def _fold(explained: Explainable, convolution: Any, norm: Any) -> None:
    """Replace both in every module that holds them."""
    fused = fuse_conv_bn_eval(convolution, norm)
    # timm's BatchNormAct2d is a batch norm with an activation at its end.
    rest = nn.Identity() if type(norm) is nn.BatchNorm2d else nn.Sequential(norm.drop, norm.act).eval()
    for root in held_modules(explained):
        for module in list(root.modules()):
            for name, child in module._modules.items():
                if child is convolution or child is norm:
                    module._modules[name] = fused if child is convolution else rest
