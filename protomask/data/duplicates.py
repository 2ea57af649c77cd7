"""Near-duplicates: the same picture marked or compressed differently, which must not be in training and in test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protomask.data.decoding import thumbnail
from protomask.data.problems import noted


def near_duplicate_groups(paths: Sequence[Path], *, side: int = 64, correlation: float = 0.95) -> Tensor:
    """Number the groups of images that are the same but for details.

    Two images belong together when the grey levels of their thumbnails of ``side`` x ``side`` pixels correlate by more
    than ``correlation`` (Pearson), and so do chains of such images. Reads every image; memory (len)^2 floats.

    Returns:
        (len,) long: the position of the first image of each image's group.

    Raises:
        InputError: an image cannot be read.
    """
    if not len(paths):
        return torch.zeros(0, dtype=torch.long)
    flat = np.zeros((len(paths), side * side), dtype=np.float32)
    for place, path in enumerate(paths):
        with noted():
            flat[place] = thumbnail(path, side).reshape(-1)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    # Constant images correlate with nothing.
    flat /= np.where(norms > 0, norms, 1)
    first, second = np.nonzero(np.triu(flat @ flat.T > correlation, k=1))
    group = list(range(len(paths)))

    def root(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for one, other in zip(first.tolist(), second.tolist()):
        low, high = sorted((root(one), root(other)))
        group[high] = low
    return torch.tensor([root(place) for place in range(len(paths))])
