"""The feature map that Grad-CAM and Score-CAM look at: found by itself, or named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from protomask.backbones.tokens import as_map
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen, held_modules, in_this_thread, require_plain, require_uncompiled
from protomask.given import short
from protomask.localizers.last_map import last_map
from protomask.prototype_network import PrototypeNetwork


@dataclass
class Layer:
    """Hold one module of a model, and its last output as a map.

    A module may be called several times in a pass, as a ReLU that a network has only one of: what counts is the last
    call whose output is ``meant``.
    """

    name: str
    module: nn.Module
    root: nn.Module
    """the model that knows its own layout of maps and tokens"""
    meant: Callable[[Tensor], bool] = lambda output: True
    output: Tensor | None = None
    """of the last pass"""

    def forget(self) -> None:
        """Drop the output, so that after the next pass it is not an older one's."""
        self.output = None

    def as_map(self, values: Tensor | None, image_size: Sequence[int]) -> Tensor:
        """Bring the output, or the gradient at it, to (B, C, h, w); it may be a map of either layout, or tokens.

        Raises:
            InputError: the layer did not run, or its output is no map.
        """
        if values is None:
            raise InputError(f"layer {self.name!r} takes no part in the score; name another")
        found = as_map(values, self.root, image_size)
        if found is None:
            raise InputError(
                f"layer {self.name!r} gives no feature map or tokens on a grid, but {tuple(values.shape)}; name another"
            )
        return found

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record the module's output of each pass of this thread; the hook goes, also after an exception."""

        def keep(module: nn.Module, inputs: tuple, output: object) -> object:
            if not isinstance(output, Tensor):
                raise InputError(f"layer {self.name!r} gives {type(output).__name__}, not one tensor; name another")
            if self.output is not None and not self.meant(output):
                return output
            self.output = output
            return output.clone()  # what follows may change it in place

        handle = self.module.register_forward_hook(in_this_thread(keep))
        try:
            yield
        finally:
            handle.remove()
            self.output = None


def find_layer(
    explained: Explainable, image: Tensor, index: Tensor, name: str | None, method: str, *, reaching: bool = True
) -> Layer:
    """Find the layer of that name, or else the last feature map.

    Of a prototype network that is the map of its backbone, before the prototypes; of a classifier the output with more
    than one row and column that is computed last of those that reach the score.

    Args:
        explained: a model, or something that holds one.
        image, index: (1, 3, H, W) and (1,): tried once when no name is given.
        name: as in ``model.named_modules()``.
        method: named in errors.
        reaching: False spares the search its gradients: the feature map that is computed last is it.

    Raises:
        InputError: no model is held, it has no such layer, no feature map, or ends in tokens.
    """
    roots = held_modules(explained)
    if not roots:
        raise InputError(
            f"{type(explained).__name__} holds no torch module, so {method} finds no feature map; "
            "those that need scores alone can explain it: mdm, rise, occlusion"
        )
    if name is not None:
        if not isinstance(name, str):
            raise InputError(f"{method}: layer is {short(name)}; give its name, as named_modules() has it")
        for root in roots:
            module = dict(root.named_modules()).get(name)
            if module is not None and name:
                parts = name.split(".")  # what lies beside it may be compiled
                above = (root.get_submodule(".".join(parts[:depth])) for depth in range(len(parts)))
                require_uncompiled(above, method)
                require_plain([module], method)
                size = tuple(image.shape[-2:])
                return Layer(name, module, root, lambda output: as_map(output, root, size) is not None)
        raise InputError(
            f"{type(roots[0]).__name__} has no layer {name!r}; the names are those of named_modules(), "
            f"among them {', '.join([child for child, _ in roots[0].named_children()][:12])}"
        )
    backbone = getattr(explained, "backbone", None)
    if isinstance(explained, PrototypeNetwork) and isinstance(backbone, nn.Module):
        require_uncompiled(explained.modules(), method)
        require_plain([backbone], method)
        return Layer("backbone", backbone, explained)
    require_plain(roots, method)
    found, module, root, shape = last_map(roots, explained, image, index, method, reaching)
    return Layer(found, module, root, lambda output: output.shape[1:] == shape[1:])


def check_reaches_score(explained: Explainable, layer: Layer, image: Tensor, index: Tensor) -> None:
    """Raise InputError where the places of a layer's map have no influence on the score, so that a map would mean
    nothing.

    Those of a Transformer's last block have none where a class token alone is read. Scores without a gradient are let
    through.

    Args:
        image, index: (1, 3, H, W) and (1,), tried once.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(explained), layer.record():
        score = explained.score(image.detach().clone().requires_grad_(), index.detach().clone())
        output = layer.output
        features = layer.as_map(output, tuple(image.shape[-2:]))
        if output is None or not score.requires_grad or not features.requires_grad:
            return
        (slope,) = torch.autograd.grad(score.sum(), output, allow_unused=True)
        if slope is None:
            raise InputError(f"layer {layer.name!r} does not reach the score; name another")
        # Zero everywhere may be a score that is flat here; zero on the map alone is not.
        if slope.any() and not layer.as_map(slope, tuple(image.shape[-2:])).any():
            raise InputError(
                f"the places of layer {layer.name!r} do not reach the score, only its class token does; name one "
                "before the last mixing of tokens, such as the last block's norm1"
            )
