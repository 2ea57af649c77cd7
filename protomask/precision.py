"""Types of numbers: full float32 for what bfloat16 and TF32 would drown, and float32 where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast and TF32 off inside."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


@contextmanager
def default_type(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Make ``dtype`` what torch gives to tensors of no named type; also a decorator.

    What a user has set otherwise holds again afterwards. Torch has one such type for all threads.
    """
    usual = torch.get_default_dtype()
    if usual != dtype:
        torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        if usual != dtype:
            torch.set_default_dtype(usual)


def as_float(values: Tensor) -> Tensor:
    """Cast to float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def as_weights(images: Tensor, weights: Tensor) -> Tensor:
    """Cast images to the type of a network's weights where these are half and autocast does not do so itself."""
    half = weights.dtype in (torch.float16, torch.bfloat16)
    return images.to(weights.dtype) if half and not torch.is_autocast_enabled(images.device.type) else images
