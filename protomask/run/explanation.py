"""``protomask explain``: "this looks like that" for new images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from protomask.data.decoding import decode
from protomask.errors import InputError
from protomask.explanations.files import read_pictures
from protomask.explanations.predictions import explain
from protomask.files import file_name
from protomask.run.setup import localizers_for_pictures, open_run, say


def explain_command(
    folder: str,
    images: list[str],
    localizer: str | None,
    output: str | None,
    top: int,
    counter: int,
    kind: str,
    animate: bool,
    as_json: bool,
    device: str | None,
    root: str | None,
    progress: bool = True,
) -> int:
    """Writes one panel per image (per image and predicted finding), in the format ``kind``, and prints the reasoning
    (as JSON lines with ``as_json``).

    With ``animate`` also ``NAME.gif``: how the first localizer learns the mask of the strongest prototype.
    """
    for option, value, least in (("--top", top, 1), ("--counter", counter, 0)):
        if value < least:
            raise InputError(f"{option} is {value}; give at least {least}")
    from protomask.report import grow, save_animation, save_figure, this_looks_like_that

    opened = open_run(folder, device=device, root=root, progress=progress)
    localizers = localizers_for_pictures(localizer or opened.options.localizer)
    pictures = read_pictures(opened.run)
    missing = [name for name in localizers if name not in pictures[0].maps]
    if missing:
        raise InputError(
            f"the prototypes of {folder} have no maps of {', '.join(missing)} to show beside the image's; make them with: "
            f"protomask project {folder} --localizer {','.join(localizers)}"
        )
    target = Path(output) if output else opened.run / "explanations"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {target}: {error.strerror}; choose another --output") from error
    transform = opened.setup.plain.transform
    used: set[str] = set()
    for path in images:
        batch = as_batch(path, transform).to(opened.setup.device)
        for explanation in explain(
            opened.network, batch, [path], pictures, localizers, top=top, counter=counter, progress=progress
        ):
            print(json.dumps(explanation.to_json()) if as_json else explanation.text(), flush=True)
            finding = f"-{file_name(explanation.finding)}" if explanation.finding else ""
            name = next(name for name in _names(file_name(Path(path).stem) + finding) if name not in used)
            used.add(name)
            save_figure(this_looks_like_that(explanation, next(iter(localizers))), target / f"{name}.{kind}", dpi=120)
            if animate:
                first, record = next(iter(localizers)), explanation.matches[0].prototype.record
                stages = grow(localizers[first], opened.network, batch[0], record.prototype, progress=progress)
                save_animation(
                    target / f"{name}.gif",
                    explanation.image,
                    stages,
                    first,
                    f"Prototype {record.prototype}, {record.class_name}",
                )
    say(f"protomask: panels in {target}")
    return 0


def as_batch(path: str, transform) -> torch.Tensor:
    """An image file as (1, 3, H, W), normalised.

    Raises:
        InputError: it cannot be read.
    """
    pixels, _ = decode(Path(path))
    return pixels_as_batch(pixels, transform)


def pixels_as_batch(pixels: np.ndarray, transform) -> torch.Tensor:
    """An image (H, W, 3) uint8 as (1, 3, H', W'), through the transform of a data set."""
    from torchvision import tv_tensors

    image = tv_tensors.Image(torch.tensor(pixels).permute(2, 0, 1))
    boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=tuple(image.shape[-2:]))
    return transform({"image": image, "boxes": boxes, "label": 0, "position": 0})["image"].as_subclass(torch.Tensor)[
        None
    ]


def _names(stem: str):
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1
