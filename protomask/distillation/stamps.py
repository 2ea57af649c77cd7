"""What decides an explainer, in a few digits: another model, score, normalisation or picture makes another one."""

from __future__ import annotations

import hashlib
import secrets

import torch
from torch import Tensor

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.data.contents import content_of
from protomask.explainable import Explainable
from protomask.score_fingerprints import fingerprint_of_scores

LOOKED_AT = 8
"""images, evenly spread, that are read as the model gets them: size, normalisation and what else is done to a file"""


def stamp_of_source(explained: Explainable, data: AnnotatedImages) -> str:
    """Name the model with the settings of its score, and the images as it gets them; all processes give the first's.

    A model that nobody can tell from others gets another name each time.

    Raises:
        InputError: an image cannot be read.
        PeerLost: in the other processes, then.
    """
    # Reads all weights and files: once, in the first process alone, whose failure ends the others, too.
    stamp = distributed.only_first(
        lambda: f"{fingerprint_of_scores(explained) or secrets.token_hex(8)} {_content(data)}"
    )
    return distributed.from_first(stamp or "")


def _content(data: AnnotatedImages) -> str:
    """Digest what a run compares of its data, and the pixels of images that nothing else tells apart."""
    digest = hashlib.blake2b(f"{data.fingerprint()} {content_of(data)}".encode(), digest_size=8)
    spread = torch.linspace(0, len(data) - 1, min(len(data), LOOKED_AT), dtype=torch.float32).tolist()
    few = {place: _pixels(data, place) for place in map(round, spread)}
    if any(not torch.equal(image, _pixels(data, place)) for place, image in few.items()):
        return digest.hexdigest()  # another picture each time it is read: pixels tell nothing
    untold = {
        place
        for place, index in enumerate(map(data.stored, range(len(data))))
        if not data.files(index) and not data.identity(index)
    }
    for place in sorted(few.keys() | untold):
        image = few[place] if place in few else _pixels(data, place)
        digest.update(f"{place} {image.dtype} {tuple(image.shape)}".encode())
        digest.update(image.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pixels(data: AnnotatedImages, place: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the data set's own random transforms do the same each time
        return data[place]["image"].as_subclass(Tensor).detach().cpu().contiguous()
