"""What an explainer network looks at: feature maps of the explained model, and what the score asks of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from protomask.backbones.tokens import as_map
from protomask.capabilities import HasSimilarityMaps
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen, held_modules, in_this_thread, require_plain
from protomask.prototype_network import PrototypeNetwork

METHOD = "an explainer in one pass"
LEVELS = 4
"""feature maps that are looked at, of different sizes, at most"""
FINEST = 4
"""pixels of the image for a cell of the finest map, at least, but where there is no coarser one"""


class Seen(NamedTuple):
    """Hold what one forward pass of the explained model shows of B pairs."""

    features: list[Tensor]
    """(B, C, h, w) each, the coarsest first; detached"""
    condition: Tensor
    """(B, D): which class or prototype is asked for: the score's mean gradient at the coarsest map, of unit length, or
    the prototype itself"""
    evidence: Tensor
    """(B, 2, h, w) on the coarsest map: where the score comes from at first sight; about -1 to 1"""


def asks_prototypes(explained: object) -> TypeGuard[PrototypeNetwork]:
    """Tell whether the condition is a prototype, and the evidence its similarity map, rather than a gradient."""
    return isinstance(explained, PrototypeNetwork) and isinstance(explained, HasSimilarityMaps)


def find_taps(explained: Explainable, images: Tensor, index: Tensor) -> list[str]:
    """Name the layers to look at: of each size of map the last one that reaches the score, the coarsest first.

    Of a prototype network the coarsest is the map of its backbone, which every prototype sees.

    Args:
        images, index: (B, 3, H, W) and (B,), tried once; several, since a prototype that an image has nothing of has a
            similarity of 0 that nothing reaches.

    Raises:
        InputError: no torch module is held, or none of its layers gives a map that reaches the score.
    """
    roots = held_modules(explained)
    if not roots:
        raise InputError(f"{type(explained).__name__} holds no torch module whose features an explainer could look at")
    require_plain(roots, METHOD)
    size = (int(images.shape[-2]), int(images.shape[-1]))
    found: dict[tuple[int, int], str] = {}
    with frozen(explained), torch.inference_mode(False), torch.enable_grad(), ExitStack() as hooks:
        recorded: list[tuple[str, nn.Module, Tensor]] = []
        for root in roots:
            for name, module in root.named_modules():
                if name:
                    hooks.callback(module.register_forward_hook(in_this_thread(_recorder(recorded, name, root))).remove)
        score = explained.score(images.detach().clone().requires_grad_(), index.clone().long())
        outputs = [output for _, _, output in recorded]
        slopes = torch.autograd.grad(score.sum(), outputs, allow_unused=True) if outputs and score.requires_grad else ()
        last = "backbone" if asks_prototypes(explained) and hasattr(explained, "backbone") else None
        coarsest = None
        for (name, root, output), slope in zip(recorded, slopes):
            there = as_map(output, root, size)
            if there is None or slope is None or min(there.shape[-2:]) < 2:
                continue
            reached = as_map(slope, root, size)
            if reached is not None and reached.any():
                found[there.shape[-2], there.shape[-1]] = name
                coarsest = there.shape[-2:] if name == last else coarsest
    if coarsest is not None:
        found = {grid: name for grid, name in found.items() if grid[0] * grid[1] >= coarsest[0] * coarsest[1]}
        found[coarsest[0], coarsest[1]] = "backbone"
    if not found:
        raise InputError(
            f"{type(roots[0]).__name__} has no layer with a feature map that reaches its score, so no explainer can "
            "look at it; learn masks one by one, for example with mdm"
        )
    grids = sorted(found, key=lambda grid: grid[0] * grid[1])
    coarse = [grid for grid in grids if grid[1] * FINEST <= size[1]]
    return [found[grid] for grid in (coarse or grids[:1])[:LEVELS]]


def _recorder(recorded: list, name: str, root: nn.Module):
    def record(_, __, output):
        if not (isinstance(output, Tensor) and output.ndim in (3, 4) and output.requires_grad):
            return None
        recorded.append((name, root, output))
        return output.clone()  # what follows may change it in place

    return record


def look_at(explained: Explainable, taps: Sequence[str], images: Tensor, index: Tensor) -> Seen:
    """Run the model once, and give what an explainer looks at.

    Args:
        taps: from :func:`find_taps`.
        images, index: (B, 3, H, W) and (B,).

    Raises:
        InputError: the model has no such layers, or they give no maps any more.
    """
    size = (int(images.shape[-2]), int(images.shape[-1]))
    by_prototype = asks_prototypes(explained)
    score = maps = images.new_zeros(())
    with frozen(explained), torch.inference_mode(False), torch.set_grad_enabled(not by_prototype):
        # Clones, because tensors made under inference mode cannot take part in a backward pass.
        images, index = images.detach().clone(), index.clone().long()
        with _listening(explained, taps, size, leaf=not by_prototype) as heard:
            if asks_prototypes(explained):
                maps = explained.similarity_maps(images, index).float()
            else:
                score = explained.score(images, index)
        missing = [name for name in taps if name not in heard]
        if missing:
            raise InputError(
                f"layer {missing[0]!r} of {type(explained).__name__} gives no feature map; distill it again"
            )
        features = [heard[name][0] for name in taps]
        if asks_prototypes(explained):
            # (B, D, h, w) of patches, (B, D) of pooled features.
            prototypes = explained.prototypes.detach()[index].float()
            condition = prototypes.reshape(*prototypes.shape[:2], -1).mean(2)
            evidence = _similarity_evidence(maps, features[0].shape[-2:])
            return Seen([each.float() for each in features], condition, evidence)
        _, output, root = heard[taps[0]]
        (slope,) = torch.autograd.grad(score.sum(), output)
    slope = _require_map(as_map(slope, root, size)).float()
    mean = slope.mean((2, 3))
    mean = mean / mean.norm(dim=1, keepdim=True).clamp_min(1e-12)
    coarse = features[0].detach().float()
    evidence = torch.stack([(mean[:, :, None, None] * coarse).sum(1), (slope * coarse).sum(1)], 1)
    evidence = evidence / evidence.abs().amax((2, 3), keepdim=True).clamp_min(1e-12)
    return Seen([each.detach().float() for each in features], mean, evidence)


def _require_map(found: Tensor | None) -> Tensor:
    assert found is not None  # the output that it is the gradient at was a map
    return found


def _similarity_evidence(maps: Tensor, size: Sequence[int]) -> Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    found = torch.stack(
        [(maps - low) / (high - low).clamp_min(1e-6), maps / maps.abs().amax((1, 2), keepdim=True).clamp_min(1)], 1
    )
    # Patches of several cells have fewer places than the features; they are enlarged as in pictures.
    if found.shape[-2:] == tuple(size):
        return found
    return F.interpolate(found, (size[0], size[1]), mode="bilinear", align_corners=False)


@contextmanager
def _listening(
    explained: Explainable, taps: Sequence[str], size: tuple[int, int], *, leaf: bool
) -> Iterator[dict[str, tuple[Tensor, Tensor, nn.Module]]]:
    """Collect each tap's map, its output and the model it is of.

    Args:
        leaf: the coarsest tap's output becomes the leaf of the gradient's graph.
    """
    heard: dict[str, tuple[Tensor, Tensor, nn.Module]] = {}
    with ExitStack() as hooks:
        for root in held_modules(explained):
            for number, name in enumerate(taps):
                module = _module(root, name)
                if module is not None:
                    require_plain([module], METHOD, inside=False)

                    def listen(_, __, output, name=name, root=root, first=leaf and number == 0):
                        begun = output.detach().requires_grad_() if first else output
                        found = as_map(begun, root, size)
                        if found is not None:
                            heard[name] = found, begun, root
                        # What follows may change it in place.
                        return begun.clone()

                    hooks.callback(module.register_forward_hook(in_this_thread(listen)).remove)
        yield heard


def _module(root: nn.Module, name: str) -> nn.Module | None:
    try:
        return root.get_submodule(name)
    except AttributeError:
        return None
