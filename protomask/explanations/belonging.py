"""Whether a run's pictures are those of its network: a network may be saved in the folder, or changed, after they were
made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from protomask.errors import InputError
from protomask.explanations.records import PrototypeRecord
from protomask.fingerprints import bytes_of
from protomask.prototype_network import PrototypeNetwork
from protomask.run_folder import RunFolder
from protomask.suggested import command

PROTOTYPES = "prototypes"
"""key of :func:`prototypes_digest` among the checksums of the pictures' files"""


def prototypes_digest(network: PrototypeNetwork) -> str | None:
    """Digest the prototypes, their classes and their source patches; None for those in half precision.

    Not the last layer: fitted anew, it leaves pictures as they are. Not the backbone: all its weights would be read
    each time, and prototypes hardly stay where they are while it learns.
    """
    vectors = network.prototypes.detach()
    if vectors.dtype not in (torch.float32, torch.float64):
        return None
    digest = hashlib.blake2b(digest_size=8)
    whole = (network.prototype_classes, network.source_positions, network.source_locations)
    for part in bytes_of([vectors.float(), *(each.long() for each in whole)]):
        digest.update(part)
    return digest.hexdigest()


def check_belonging(
    run: RunFolder, records: Sequence[PrototypeRecord], known: str | None, network: PrototypeNetwork
) -> None:
    """Raise InputError where pictures are of other prototypes than the network's.

    Args:
        records: of the pictures.
        known: :func:`prototypes_digest` of when they were made; None of older ones.
        network: that they shall explain.
    """
    difference = _difference(records, network)
    now = None if known is None or difference else prototypes_digest(network)
    if difference is None and now is not None and now != known:
        difference = "the prototypes have moved"
    if difference is not None:
        raise InputError(
            f"the pictures in {run.folder} are of other prototypes than its network has now ({difference}): it was "
            f"changed after they were made; make them again with: {command('project', run.folder)}, or open the run "
            "again where its network was changed in memory alone"
        )


def _difference(records: Sequence[PrototypeRecord], network: PrototypeNetwork) -> str | None:
    if len(records) != network.prototype_count:
        return f"{len(records)} pictures, {network.prototype_count} prototypes"
    owners, places = network.prototype_classes.tolist(), network.source_locations.tolist()
    for record, owner, place in zip(records, owners, places):
        if record.class_name != network.classes[owner]:
            return (
                f"picture {record.prototype} is of class {record.class_name}, the prototype of {network.classes[owner]}"
            )
        if list(record.location) != place:
            return (
                f"picture {record.prototype} shows the patch at {list(record.location)}, the prototype lies at {place}"
            )
    return None
