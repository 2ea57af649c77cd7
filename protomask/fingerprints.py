"""Which weights a model has, in a few digits."""

from __future__ import annotations

import hashlib

import torch

from protomask.freezing import held_modules


def fingerprint(explained: object) -> str | None:
    """Digest to 16 hexadecimal digits the kind and every weight of the modules that ``explained`` is or holds; None
    without any."""
    digest, count = hashlib.blake2b(repr(type(explained)).encode(), digest_size=8), 0
    for module in held_modules(explained):
        digest.update(repr(module).encode())
        for key, tensor in module.state_dict().items():
            digest.update(key.encode() + str(tensor.dtype).encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            count += 1
    return digest.hexdigest() if count else None
