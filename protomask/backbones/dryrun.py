"""Trial runs of a network on an empty image: the shapes of its maps, and which of its parts have a share in them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from protomask.meanwhile import meanwhile

Shape = tuple[int, int, int]

_SHAPES_ALONE: ContextVar[bool] = ContextVar("whether backbones are built without numbers", default=False)


def trial(function: Callable[[Tensor], Any], size: tuple[int, int], device: torch.device | str = "cpu") -> Any:
    """Call `function` on one black image of (H, W) pixels, without gradients; the caller sees to eval mode."""
    with torch.no_grad():
        return function(torch.zeros(1, 3, *size, device=device, dtype=torch.float32))


def unused_modules(module: nn.Module, size: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Show `module` an image: what it makes of it, and the outermost submodules of which it takes no parameter or
    buffer for that.

    Calls are not what counts: some modules are asked for their parameters only (relative positions, attention).
    """
    # A shared tensor has several names, all of them used when one is.
    tensors = (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    )
    with _Recorder({id(tensor) for _, tensor in tensors}) as recorder:
        output = trial(module, size, next(module.parameters()).device)
    used: set[str] = set()
    for name, tensor in tensors:
        while name and id(tensor) in recorder.used:
            used.add(name)
            name = name.rpartition(".")[0]
    unused = list(_outermost(module, used))
    return output, unused


def meta_copy(module: nn.Module) -> nn.Module:
    """Give a copy whose parameters and buffers are on the meta device, where nothing is stored or computed."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo)


def shapes_alone() -> AbstractContextManager[None]:
    """Build backbones on the meta device meanwhile, where weights have shapes alone: no memory, no random numbers."""
    return meanwhile(_SHAPES_ALONE, True)


def building_device() -> AbstractContextManager:
    """Give the device to build a backbone on; see :func:`shapes_alone`."""
    return torch.device("meta") if _SHAPES_ALONE.get() else nullcontext()


def channels_of(model: object) -> int | None:
    """Give the channels of the images that a model takes: those of its first convolution, where there is one."""
    if isinstance(model, nn.Module):
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                return module.in_channels
    return None


def refusal(model: nn.Module, size: tuple[int, int], reason: str, mend: str) -> str:
    """Say why a model refused an image of (H, W) pixels: its channels where it says so itself, else its size.

    Args:
        reason: what the model itself said.
        mend: where it is the size.
    """
    # A first convolution behind a stem that folds pixels into channels takes others than the image has.
    if "channel" in reason and channels_of(model) not in (None, 3):
        return (
            f"takes images of {channels_of(model)} channels, but images have three here, grey ones the same three "
            "times; give a model of three"
        )
    return f"cannot take images of {size[0]} x {size[1]} pixels ({reason}); {mend}"


def nominal_stride(size: int, height: int, known: Iterable[int]) -> int:
    """Name the stride of a map of `height` rows of an image of `size` rows: of those known for the network, the
    nearest.

    The quotient itself will not do: without padding SqueezeNet has 13 rows for 224, and a stride of 16. Without known
    strides, it is the nearest power of two.
    """
    candidates = set(known) or {2**power for power in range(8)}
    return min(sorted(candidates), key=lambda stride: abs(math.log(size / height / stride)))


def _outermost(module: nn.Module, used: set[str], prefix: str = "") -> Iterator[str]:
    """Unused submodules with tensors. Of a list or sequence, the members: its length and names must stay."""
    for name, child in module.named_children():
        name = prefix + name
        if name in used or isinstance(child, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            yield from _outermost(child, used, name + ".")
        elif child.state_dict():
            yield name


class _Recorder(TorchFunctionMode):
    """Notes which of some tensors are arguments of torch functions."""

    def __init__(self, wanted: set[int]) -> None:
        super().__init__()
        self.wanted = wanted
        self.used: set[int] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self._note((args, kwargs))
        return func(*args, **kwargs)

    def _note(self, value: object) -> None:
        if isinstance(value, Tensor):
            if id(value) in self.wanted:
                self.used.add(id(value))
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._note(item)
        elif isinstance(value, dict):
            self._note(tuple(value.values()))
