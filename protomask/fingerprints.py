"""Which weights a model has, and what else its scores depend on, in a few digits."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import torch

from protomask.explainable import Classifier
from protomask.freezing import held_modules
from protomask.prototype_network import PrototypeNetwork


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


def fingerprint_of_scores(explained: object) -> str | None:
    """Digest what is explained by its weights and by all that its scores depend on beside them; None without
    weights."""
    weights = fingerprint(explained)
    if weights is None:
        return None
    said = _settings(explained)
    # A repr with an address in it is another one in every process, and tells nothing.
    return weights if " at 0x" in said else f"{weights}-{_digest(said)}"


def _settings(explained: object) -> str:
    if isinstance(explained, Classifier | PrototypeNetwork):
        with suppress(NotImplementedError):  # of a network that cannot be saved
            return json.dumps(explained.settings(), sort_keys=True, default=repr)  # tuples as the lists of a saved one
    return repr(explained)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
