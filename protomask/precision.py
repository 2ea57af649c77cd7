"""Float32: in full for what bfloat16 and TF32 would drown, and where torch's default is another."""

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
def float32_by_default(but: torch.dtype = torch.float32) -> Iterator[None]:
    """Let others' functions make float32 tensors where they name no type, whatever ``torch.set_default_dtype`` says.

    Args:
        but: a default that stays, as that of somebody who explains a model of that type.
    """
    before = torch.get_default_dtype()
    if before in (torch.float32, but):
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_float(values: Tensor) -> Tensor:
    """Cast to float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def as_weights(images: Tensor, weights: Tensor) -> Tensor:
    """Cast images to the type of a network's weights where these are half and autocast does not do so itself."""
    half = weights.dtype in (torch.float16, torch.bfloat16)
    return images.to(weights.dtype) if half and not torch.is_autocast_enabled(images.device.type) else images
