"""What learns does so whatever the caller's mode is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def with_gradients(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function run with gradients, also where it is called under ``torch.no_grad`` or ``torch.inference_mode``.

    What it makes is not made under ``inference_mode`` then, so the weights of a network can learn later, too.
    """

    @functools.wraps(function)
    def within(*given: P.args, **named: P.kwargs) -> T:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*given, **named)

    return within
