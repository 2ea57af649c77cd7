"""The teacher's maps: made once, in pieces that a later call finds again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.files import text_digest
from protomask.localizers.amortised.explainer import quarter
from protomask.tensor_files import load_tensors, save_tensors

FOLDER = "teacher"
PIECE = 8
"""maps in a file"""


def teacher_maps(
    teacher: Callable[..., Tensor],
    explained: Explainable,
    data: AnnotatedImages,
    positions: Tensor,
    index: Tensor,
    device: torch.device,
    *,
    folder: Path | None,
    stamp: str,
    progress: bool = False,
) -> Tensor:
    """Make the teacher's maps of pairs, at the explainer's resolution: (n, h, w) in [0, 1], on the CPU.

    Several processes share the pieces. A piece is a safetensors file with a checksum; a damaged one is made again.

    Args:
        positions, index: (n,) each: images of ``data``, and what is explained in them.
        folder: where the pieces are kept, below ``teacher``; None keeps none.
        stamp: of everything that decides the maps.
    """
    pieces = list(zip(positions.split(PIECE), index.split(PIECE)))
    mine = distributed.shard(len(pieces))
    found: list[Tensor] = []
    with tqdm(total=len(mine), desc="teacher", unit="piece", disable=not progress) as bar:
        for number in mine:
            places, of = pieces[number]
            path = None if folder is None else folder / FOLDER / f"{_name(stamp, places, of)}.safetensors"
            maps = None if path is None else _read(path, len(places))
            if maps is None:
                images = collate([data[place] for place in places.tolist()])["images"].to(device)
                maps = F.adaptive_avg_pool2d(teacher(explained, images, of.to(device))[:, None], quarter(images))[:, 0]
                maps = maps.cpu()
                if path is not None:
                    save_tensors(path, {"maps": maps})
            found.append(maps)
            bar.update()
    return torch.cat([maps for each in distributed.gather(found) for maps in each])


def _name(stamp: str, positions: Tensor, index: Tensor) -> str:
    return text_digest(f"{stamp} {positions.tolist()} {index.tolist()}")


def _read(path: Path, count: int) -> Tensor | None:
    """Read a piece that is whole; None for any other."""
    if not path.is_file():
        return None
    try:
        maps = load_tensors(path, "delete it").get("maps")
    except InputError:
        return None
    whole = maps is not None and maps.ndim == 3 and len(maps) == count and bool(maps.isfinite().all())
    return maps if whole else None
