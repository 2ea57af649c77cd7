"""The device that computes, by its name."""

from __future__ import annotations

import torch

from protomask.errors import InputError


def choose_device(name: str) -> torch.device:
    """Choose the device; ``auto`` is CUDA where there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # the meta device has no numbers
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError: each backend has its own
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"device {name[:80]!r} cannot be used here ({reason}); use cpu") from error
    return device
