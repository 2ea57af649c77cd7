"""What decides an explainer, in a few digits: another model, score, normalisation or picture makes another one."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from protomask import distributed
from protomask.data import AnnotatedImages
from protomask.data.contents import file_digests
from protomask.explainable import Explainable
from protomask.fingerprints import fingerprint_of_scores

LOOKED_AT = 8
"""images, evenly spread, that are read as the model gets them: size, normalisation and what else is done to a file"""


def stamp_of_source(explained: Explainable, data: AnnotatedImages) -> str:
    """Name the model with the settings of its score, and the images as it gets them; all processes give the first's.

    Raises:
        InputError: an image cannot be read.
    """
    return distributed.from_first(f"{fingerprint_of_scores(explained)} {_content(data)}")  # reads all weights: once


def _content(data: AnnotatedImages) -> str:
    """Digest names, labels, order, the bytes of the files, and the pixels of images that nothing else tells apart."""
    stored = [data.stored(place) for place in range(len(data))]
    files = [data.files(index) for index in stored]
    known = file_digests([path for own in files for path in own])
    digest = hashlib.blake2b(data.fingerprint().encode(), digest_size=8)
    digest.update(repr([[known[path] for path in own] for own in files]).encode())
    few = {round(place) for place in torch.linspace(0, len(data) - 1, min(len(data), LOOKED_AT)).tolist()}
    if any(not torch.equal(_pixels(data, place), _pixels(data, place)) for place in few):
        return digest.hexdigest()  # another picture each time it is read: pixels tell nothing
    untold = {place for place, own in enumerate(files) if not own and not data.identity(stored[place])}
    for place in sorted(few | untold):
        image = _pixels(data, place)
        digest.update(f"{place} {image.dtype} {tuple(image.shape)}".encode())
        digest.update(image.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pixels(data: AnnotatedImages, place: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the data set's own random transforms do the same each time
        return data[place]["image"].as_subclass(Tensor).detach().cpu().contiguous()
