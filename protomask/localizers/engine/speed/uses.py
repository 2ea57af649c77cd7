"""Who uses what a convolution gives: the batch norm after it alone, or others beside it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from protomask.explainable import Explainable


def norms_after_convolutions(
    explained: Explainable, roots: Iterable[nn.Module], images: Tensor, index: Tensor
) -> list[tuple[nn.Module, nn.Module]]:
    """Find pairs (convolution, batch norm) where the norm takes exactly what the convolution has just given, and nobody
    else does.

    Found by watching one forward pass: of modules for who gives and takes, of every single operation for who else
    takes.
    """
    watch = _Watch()
    with watch.hooked(roots), watch:
        explained.score(images, index)
    return [
        (convolution, norm)
        for norm, convolution in watch.found.items()
        if watch.calls[norm] == watch.calls[convolution] == 1
        and convolution not in watch.shared
        and (type(norm) is nn.BatchNorm2d or (hasattr(norm, "act") and hasattr(norm, "drop")))
    ]


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[nn.Module, int] = {}
        self.found: dict[nn.Module, nn.Module] = {}
        """norm -> the convolution before it"""
        self.shared: set[nn.Module] = set()
        """convolutions whose output others than a norm take"""
        self._given: dict[int, tuple[weakref.ref[Tensor], nn.Module]] = {}
        self._last: tuple[nn.Module | None, Tensor | None, int] = None, None, 0
        self._taker: nn.Module | None = None

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> object:
        for each in _tensors((args, kwargs)):
            reference, convolution = self._given.get(id(each), (None, None))
            if convolution is None or reference is None or reference() is not each:
                continue
            if self._taker is None or self.found.get(self._taker) is not convolution:
                self.shared.add(convolution)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def hooked(self, roots: Iterable[nn.Module]) -> Iterator[None]:
        handles = []
        for root in roots:
            for module in root.modules():
                if isinstance(module, nn.Conv2d) and "weight" in module._parameters:
                    handles.append(module.register_forward_hook(self._convolved))
                elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                    handles.append(module.register_forward_pre_hook(self._enter))
                    handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _convolved(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.calls[module] = self.calls.get(module, 0) + 1
        self._given[id(output)] = weakref.ref(output), module
        self._last = module, output, output._version

    def _enter(self, module: nn.Module, inputs: tuple) -> None:
        self.calls[module] = self.calls.get(module, 0) + 1
        convolution, output, version = self._last
        if convolution is not None and output is not None and inputs[0] is output and output._version == version:
            self.found[module] = convolution
            self._taker = module

    def _leave(self, module: nn.Module, inputs: tuple, output: object) -> None:
        self._taker = None


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple | dict):
        for each in values.values() if isinstance(values, dict) else values:
            yield from _tensors(each)
