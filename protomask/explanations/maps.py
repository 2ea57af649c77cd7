"""Maps of questions about images, by any localizers, in pieces that several processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from protomask import distributed
from protomask.localizers import Localizer
from protomask.localizers.calling import checked_maps
from protomask.prototype_network import PrototypeNetwork
from protomask.warned import named_maps

LEAST = 8
"""maps of a piece at least: a learned mask of few images costs more each"""
SHARES = 4
"""the number of pieces is a multiple of it, so that two or four processes have equally many"""


def pieces(count: int, most: int) -> list[range]:
    """Divide ``count`` maps into pieces of at most ``most``, the same for any number of processes: maps that are made
    together may differ in the last bit from those that are made otherwise.

    >>> pieces(50, 32)
    [range(0, 13), range(13, 26), range(26, 39), range(39, 50)]
    """
    wanted = SHARES * -(-count // (SHARES * most))
    length = max(-(-count // wanted), min(LEAST, most)) if count else 1
    return [range(start, min(start + length, count)) for start in range(0, count, length)]


def make_maps(
    network: PrototypeNetwork,
    localizers: Mapping[str, Localizer],
    images: Tensor,
    index: Tensor,
    progress: bool,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Localise the prototypes ``index`` (B,) in the images: localizer -> (B, h, w) float32 in [0, 1].

    Warnings about one of them say the image's name, of ``names`` (B,), and the prototype.
    """
    numbers = index.tolist()
    with named_maps(lambda place: f"{names[place]}, prototype {numbers[place]}"):
        return {
            name: checked_maps(localizer, network, images, index, name, progress=progress).cpu().numpy()
            for name, localizer in localizers.items()
        }


def share_maps(
    network: PrototypeNetwork,
    localizers: Mapping[str, Localizer],
    images: Tensor,
    places: Tensor,
    index: Tensor,
    progress: bool,
    most: int,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Make maps as :func:`make_maps` does, all of them in every process, each of which makes a part.

    Args:
        images: (N, 3, H, W).
        places: (B,) which image each map is of.
        index: (B,) which prototype it is of.
        most: maps made together at most.
        names: (N,) of the images.
    """

    def make(piece: range) -> dict[str, np.ndarray]:
        rows = slice(piece.start, piece.stop)
        of = places[rows]
        return make_maps(network, localizers, images[of], index[rows], progress, [names[each] for each in of.tolist()])

    found = distributed.share_out(pieces(len(index), most), make)
    return {name: np.concatenate([each[name] for each in found]) for name in localizers}
