"""Prototypes localised in the training images that they were projected to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explanations.empty_image import empty_similarities
from protomask.explanations.maps import make_maps, pieces
from protomask.explanations.on_demand import PictureOnDemand
from protomask.explanations.photographs import photographs
from protomask.explanations.records import PrototypePicture, PrototypeRecord
from protomask.files import text_digest
from protomask.freezing import frozen
from protomask.localizers import Localizer
from protomask.localizers.base import ChoosesOutline
from protomask.localizers.identity import identity_of
from protomask.localizers.similarity import level_box, percentile_box
from protomask.prototype_network import PrototypeNetwork
from protomask.score_fingerprints import code_of_scores, fingerprint_of_scores
from protomask.tensor_files import load_tensors, save_tensors

OWN = "similarity to its own image"
"""tensor of a piece's file beside those of its localizers"""


def picture_prototypes(
    network: PrototypeNetwork,
    plain: AnnotatedImages,
    localizers: Mapping[str, Localizer],
    *,
    device: torch.device = torch.device("cpu"),
    batch_size: int = 32,
    progress: bool = False,
    index: Sequence[int] | None = None,
) -> list[PrototypePicture]:
    """Localise every prototype in its source image.

    Args:
        network: projected.
        plain: the training images that it was projected to, with the evaluation transform.
        localizers: by name.
        index: of the prototypes that are wanted; all by default.

    Raises:
        InputError: the network was never projected, or on other data.
    """
    sources = _Sources(network, plain, localizers, device, progress)
    pictures: list[PrototypePicture] = []
    wanted = range(network.prototype_count) if index is None else index
    for start in range(0, len(wanted), batch_size):
        prototypes = wanted[start : start + batch_size]
        found = sources.localize(prototypes)
        pictures += [
            PrototypePicture(record, sources.photograph(record.prototype), maps)
            for record, maps in zip(sources.records(prototypes, found), _rows(found))
        ]
    return pictures


def share_pictures(
    network: PrototypeNetwork,
    plain: AnnotatedImages,
    localizers: Mapping[str, Localizer],
    folder: Path,
    *,
    device: torch.device = torch.device("cpu"),
    batch_size: int = 32,
    progress: bool = False,
) -> list[PrototypePicture]:
    """Localise every prototype as :func:`picture_prototypes` does, each process its part.

    The maps are kept in ``folder``, where a call that was stopped finds those that were done, and where all processes
    read them when something looks at a picture.

    Raises:
        InputError: as there, or the folder is not the same for all processes.
    """
    sources = _Sources(network, plain, localizers, device, progress)
    stamp = _stamp(sources)
    parts = pieces(network.prototype_count, batch_size)
    paths = [folder / f"{text_digest(f'{stamp} {part}')}.safetensors" for part in parts]

    def make(number: int) -> list[PrototypeRecord]:
        found = _read(paths[number], len(parts[number]), localizers)
        if found is None:
            found = sources.localize(parts[number])
            save_tensors(paths[number], {name: torch.from_numpy(each) for name, each in found.items()})
        return sources.records(parts[number], found)

    records = [record for part in distributed.share_out(range(len(parts)), make) for record in part]

    @lru_cache(maxsize=2)
    def rows(number: int) -> list[dict[str, np.ndarray]]:
        mend = "all processes must see the same folder; make the pictures again"
        return _rows({name: each.numpy() for name, each in load_tensors(paths[number], mend).items()})

    def maps(number: int, row: int) -> dict[str, np.ndarray]:
        return {name: rows(number)[row][name] for name in localizers}

    places = [(number, row) for number, part in enumerate(parts) for row in range(len(part))]
    return [
        PictureOnDemand(record, partial(sources.photograph, record.prototype), partial(maps, *place))
        for record, place in zip(records, places)
    ]


class _Sources:
    """The source images of a network's prototypes, and who localises in them."""

    def __init__(
        self,
        network: PrototypeNetwork,
        plain: AnnotatedImages,
        localizers: Mapping[str, Localizer],
        device: torch.device,
        progress: bool,
    ) -> None:
        self.positions = network.source_positions.cpu().tolist()
        if min(self.positions) < 0:
            raise InputError(
                "the network was not projected yet, so its prototypes have no source image; project it first"
            )
        if max(self.positions) >= len(plain):
            raise InputError(
                "the network was projected on another data set: its sources lie outside this one; use the data it was "
                "trained on"
            )
        self.network, self.plain, self.localizers = network, plain, localizers
        self.device, self.progress = device, progress
        weights, count = network.last_layer.weight.detach().cpu(), network.prototype_count
        self.weights = weights[network.prototype_classes.cpu(), torch.arange(count)].tolist()
        self.levels: dict[str, float] = {
            name: level
            for name, localizer in localizers.items()
            if isinstance(localizer, ChoosesOutline) and (level := localizer.outline_level(network)) is not None
        }

    @cached_property
    def empty(self) -> list[float]:
        """The similarity of each prototype to an empty image."""
        return empty_similarities(self.network)

    def localize(self, prototypes: Sequence[int]) -> dict[str, np.ndarray]:
        """Make the maps (n, h, w) of each localizer, and beside them the similarities (n,) to the images."""
        network = self.network
        images = collate([self.plain[self.positions[each]] for each in prototypes])["images"].to(self.device)
        chosen = torch.tensor(list(prototypes), device=self.device)
        names = [self.plain.names[self.positions[each]] for each in prototypes]
        with frozen(network), torch.no_grad():
            similarities = network.score(images, chosen).float().cpu().numpy()
        return {OWN: similarities, **make_maps(network, self.localizers, images, chosen, self.progress, names)}

    def records(self, prototypes: Sequence[int], found: Mapping[str, np.ndarray]) -> list[PrototypeRecord]:
        """Give the record of each, from what :meth:`localize` found."""
        return [
            self._record(prototype, float(found[OWN][place]), maps)
            for place, (prototype, maps) in enumerate(zip(prototypes, _rows(found)))
        ]

    def _record(self, prototype: int, similarity: float, maps: Mapping[str, np.ndarray]) -> PrototypeRecord:
        network = self.network
        row, column = network.source_locations[prototype].tolist()
        return PrototypeRecord(
            prototype=prototype,
            class_name=network.classes[int(network.prototype_classes[prototype])],
            source=self.plain.names[self.positions[prototype]],
            location=(row, column),
            similarity=similarity,
            patch_box=network.patch_box((row, column)),
            weight=self.weights[prototype],
            boxes={name: _box(found, self.levels.get(name)) for name, found in maps.items()},
            levels=self.levels,
            empty_similarity=self.empty[prototype],
        )

    def photograph(self, prototype: int) -> np.ndarray:
        """Read the source image, (H, W, 3) uint8, in its own proportions."""
        return photographs(self.plain, [self.positions[prototype]])[0]


def _rows(found: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Give the maps of each prototype by localizer."""
    return [{name: each[place] for name, each in found.items() if name != OWN} for place in range(len(found[OWN]))]


def _box(saliency: np.ndarray, level: float | None) -> tuple[int, int, int, int]:
    return percentile_box(saliency) if level is None else level_box(saliency, level)


def _stamp(sources: _Sources) -> str:
    """Digest all that decides the maps, for all processes alike; what cannot be told from others is found by nobody
    else."""
    # Its own number or device in a layer's attribute would give each process another one.
    return distributed.from_first(distributed.only_first(lambda: _told(sources)) or "")


def _told(sources: _Sources) -> str:
    identities = {name: identity_of(localizer) for name, localizer in sources.localizers.items()}
    told = [
        fingerprint_of_scores(sources.network),
        code_of_scores(sources.network),
        sources.plain.fingerprint(),
        sources.positions,
        identities,
    ]
    if told[0] is None or None in identities.values():
        told.append(secrets.token_hex(8))
    return text_digest(repr(told))


def _read(path: Path, count: int, localizers: Mapping[str, Localizer]) -> dict[str, np.ndarray] | None:
    """Read the maps of a piece that is whole; None for any other."""
    if not path.is_file():
        return None
    try:
        found: dict[str, Tensor] = load_tensors(path, "delete it")
    except InputError:
        return None
    whole = found.keys() == {OWN, *localizers} and all(len(each) == count for each in found.values())
    return {name: found[name].numpy() for name in (OWN, *localizers)} if whole else None
