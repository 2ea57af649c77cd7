"""The last feature map of a network that reaches a score, found by a pass in which every layer is watched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from protomask.backbones.tokens import is_channels_last
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen, in_this_thread

STRETCHED = math.log(2)
"""by how much, as a logarithm, a map's sides may differ from the image's where a network also computes with tokens"""
_PLACES = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.BatchNorm2d, nn.Upsample),
)
"""what calculates with places of an image, so that its output is a map wherever it stands"""


class _Output(NamedTuple):
    """Hold what a module gave in the pass."""

    name: str
    module: nn.Module
    root: nn.Module
    value: Tensor
    of_tokens: bool
    """by itself, or within a module, that was given tokens"""

    @property
    def is_tokens(self) -> bool:
        return _is_tokens(self.value)


@dataclass
class _Watch:
    """Note the outputs of all modules of a pass."""

    found: list[_Output] = field(default_factory=list)
    given_tokens: list[bool] = field(default_factory=list)
    """of the calls that are running, the outermost first"""

    def call(self, module: nn.Module, inputs: tuple) -> None:
        self.given_tokens.append(any(isinstance(each, Tensor) and _is_tokens(each) for each in inputs[:1]))

    def end(self, name: str, module: nn.Module, root: nn.Module, output: object) -> None:
        within = any(self.given_tokens)
        self.given_tokens.pop()
        if isinstance(output, Tensor) and output.ndim and len(output) == 1:
            self.found.append(_Output(name, module, root, output, within))


def last_map(
    roots: list[nn.Module], explained: Explainable, image: Tensor, index: Tensor, method: str, reaching: bool
) -> tuple[str, nn.Module, nn.Module, torch.Size]:
    """Find the module whose output is the last with more than one row and column, and reaches the score.

    Args:
        roots: held by ``explained``.
        image, index: (1, 3, H, W) and (1,): tried once.
        method: named in errors.
        reaching: make sure that it reaches the score, for which the pass needs a gradient; without, the last one is it.

    Returns:
        its name, itself, the root that it belongs to, and its output's shape.

    Raises:
        InputError: there is none, or the network ends in tokens.
    """
    try:
        with torch.inference_mode(False), torch.set_grad_enabled(reaching), frozen(explained):
            score, found = _pass(roots, explained, image.detach().clone().requires_grad_(), index.detach().clone())
    except RuntimeError:  # of a network that computes no gradients; any other comes again
        with torch.no_grad():
            score, found = _pass(roots, explained, image, index)
    size = tuple(image.shape[-2:])
    maps = [place for place in range(len(found)) if _is_map(found, place, size)]
    last = _reaching(score, [found[place] for place in maps])
    chosen = maps[last] if last is not None else maps[-1] if maps else 0
    # What is taken for a map may come from before the tokens: what comes after it decides.
    tokens = [each.name for each in found if each.is_tokens]
    if any(each.name in tokens for each in found[chosen:]):
        # Blocks of parallel branches have no first norm; what the last one is given is what the one before gives.
        blocks = [name for name in tokens if name.rpartition(".")[2].isdigit()]
        blocks = [name for name in blocks if name.count(".") == blocks[-1].count(".")][:-1]
        example = next((name for name in reversed(tokens) if name.endswith(("norm1", "ln_1"))), (blocks or tokens)[-1])
        raise InputError(
            f"{type(roots[0]).__name__} ends in tokens, not in a feature map, so {method} cannot choose a layer; "
            f"name one whose tokens still reach the score, for example layer={example!r}"
        )
    if not maps:
        raise InputError(
            f"{type(roots[0]).__name__} has no layer with a feature map (B, C, h, w), so {method} cannot explain it; "
            "those that need scores alone can: mdm, rise, occlusion"
        )
    name, module, root, output, _ = found[chosen]
    if last is None:
        raise InputError(f"layer {name!r} does not reach the score; name another")
    return name, module, root, output.shape


def _pass(roots: list[nn.Module], explained: Explainable, image: Tensor, index: Tensor) -> tuple[Tensor, list[_Output]]:
    """Score the image, and note what each module gave."""
    watch, handles = _Watch(), []
    try:
        for root in roots:
            for name, module in root.named_modules():

                def end(module, _, output, name=name, root=root):
                    watch.end(name, module, root, output)

                if name:
                    handles.append(module.register_forward_pre_hook(in_this_thread(watch.call)))
                    handles.append(module.register_forward_hook(in_this_thread(end)))
        return explained.score(image, index), watch.found
    finally:
        for handle in handles:
            handle.remove()


def _reaching(score: Tensor, maps: list[_Output]) -> int | None:
    """Find the last of the maps that the score depends on: the last one where the score has no gradient; else None."""
    if not score.requires_grad:
        return len(maps) - 1 if maps else None
    for place in reversed(range(len(maps))):
        value = maps[place].value
        if value.requires_grad:
            (slope,) = torch.autograd.grad(score, value, torch.ones_like(score), retain_graph=True, allow_unused=True)
            if slope is not None:
                return place
    return None


def _is_map(found: list[_Output], place: int, size: Sequence[int]) -> bool:
    """Tell whether an output is a map of places; attention has four dimensions, too: heads, tokens, their values."""
    output, shape = found[place], found[place].value.shape
    if len(shape) != 4:
        return False
    sides = tuple(shape[1:3] if is_channels_last(shape, output.root, size) else shape[2:])
    if min(sides) <= 1:
        return False
    if not output.of_tokens and not any(each.is_tokens for each in found[:place]):
        return True
    if abs(math.log(sides[0] / sides[1] * size[1] / size[0])) > STRETCHED or sides[0] > size[0] or sides[1] > size[1]:
        return False
    return not output.of_tokens or any(
        isinstance(each.module, _PLACES) and tuple(each.value.shape[2:]) == sides for each in found[: place + 1]
    )


def _is_tokens(value: Tensor) -> bool:
    return value.ndim == 3 and value.shape[1] > 2
