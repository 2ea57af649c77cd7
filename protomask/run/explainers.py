"""A run's distilled explainer in the runs that are made of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from protomask.fingerprints import fingerprint
from protomask.localizers.amortised.files import open_explainer
from protomask.prototype_network import PrototypeNetwork

NOT_LOOKED_AT = (
    "prototypes",
    "prototype_classes",
    "source_positions",
    "source_locations",
    "last_layer.weight",
    "last_layer.bias",
)
"""of a network's tensors: an explainer is told the prototype's vector, and never sees the classes"""


def carry_explainer(folder: Path, before: PrototypeNetwork, after: PrototypeNetwork, new: Path) -> None:
    """Copy the explainer in ``folder`` to ``new``; it fits ``after`` where it fitted ``before`` and features are alike.

    Elsewhere it stays an explainer of other weights, and says so when it is asked.
    """
    opened = open_explainer(folder)
    if opened.model is not None and opened.fits(before) and same_features(before, after):
        opened.model = fingerprint(after)
    opened.save(new)


def same_features(before: PrototypeNetwork, after: PrototypeNetwork) -> bool:
    """Tell whether two networks differ in their prototypes and last layers alone.

    A tensor with one row for each prototype is the same where each row was there before.
    """
    old, new = (_looked_at(network) for network in (before, after))
    counts = before.prototype_count, after.prototype_count
    return old.keys() == new.keys() and all(_same(old[name], new[name], counts) for name in old)


def _looked_at(network: PrototypeNetwork) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in network.state_dict().items() if name not in NOT_LOOKED_AT}


def _same(old: Tensor, new: Tensor, counts: tuple[int, int]) -> bool:
    if old.shape == new.shape:
        return old.equal(new)
    if not old.dim() or (len(old), len(new)) != counts or old.dtype != new.dtype:
        return False
    return _rows(new) <= _rows(old)


def _rows(tensor: Tensor) -> set[bytes]:
    return {row.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for row in tensor}
