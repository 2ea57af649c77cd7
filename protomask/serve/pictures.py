"""Pictures that come from a browser: read in memory, shown, partly hidden; nothing of them reaches a disk."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from protomask.data.decoding import decode
from protomask.data.depth import IntensityRange
from protomask.data.raster import FileInMemory
from protomask.errors import InputError
from protomask.localizers.engine.masks import background
from protomask.own_pictures import SIGNED
from protomask.schema import Range, TypedDict, check

SHOWN = 900
"""longest side in pixels of what the page shows"""
QUALITY = 90
GREY, MOSTLY = 12, 0.97
"""difference of the three colours up to which a pixel counts as grey; share of such pixels in a grey picture"""
_LEAST_SIDE = 512
_CANVAS = 512
_DPI = 120
FILLS = ("blur", "zero")
"""what stands in a hidden region: the picture without detail, or the mean colour"""

Share = Annotated[float, Range(-0.5, 1.5)]


class Stroke(TypedDict):
    """Hold one stroke of the brush."""

    points: Annotated[list[tuple[Share, Share]], Range(1, 5000)]
    """x, y as shares of the picture's width and height"""
    radius: Annotated[float, Range(0.0, 0.5)]
    """as a share of the picture's width"""


class Hide(TypedDict):
    """Hold what the page asks for when a region is hidden."""

    strokes: Annotated[list[Stroke], Range(0, 300)]
    fill: str


@dataclass(frozen=True, eq=False)
class Upload:
    """Hold a picture as it was read."""

    name: str
    pixels: np.ndarray
    """(h, w, 3) uint8, upright; large photographs are read at a half, a quarter or an eighth of their size"""
    size: tuple[int, int]
    """(width, height) of the upright picture as it was sent"""

    def shrunk(self) -> Upload:
        """Make what is kept for showing, of bounded size."""
        photo = Image.fromarray(np.ascontiguousarray(self.pixels))
        photo.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        return Upload(self.name, np.asarray(photo), self.size)


def read_upload(name: str, content: bytes, side: int, intensity_range: IntensityRange | None = None) -> Upload:
    """Read a picture from the bytes that a browser sent, with the reader of files.

    Args:
        name: as the browser says it; it is shown and tells DICOM files, nothing is opened by it.
        side: of the network's input in pixels, which decides how small a large photograph is read.
        intensity_range: see :func:`protomask.data.decoding.decode`.

    Raises:
        InputError: no picture, or damaged, or of too many pixels.
    """

    def choose(size: tuple[int, int]):
        spare = min(size) / max(1.5 * side, _LEAST_SIDE)
        return (0, 0, *size), 2 ** min(3, max(0, int(math.log2(max(spare, 1)))))

    pixels, size = decode(FileInMemory(name, content), choose, intensity_range)
    return Upload(name, pixels, size)


def clean_name(name: str) -> str:
    """Give a file's name without folders, control characters and excess length, for showing."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    visible = "".join(letter for letter in last if letter.isprintable()).strip()
    return visible[-120:] or "picture"


def shown(pixels: np.ndarray) -> str:
    """Encode a picture for the page; JPEG, which takes a tenth of the time of WebP, as somebody is waiting."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def ratio_of(pixels: np.ndarray) -> float:
    """Give width / height of what is shown."""
    return pixels.shape[1] / pixels.shape[0]


def size_of(pixels: np.ndarray) -> tuple[int, int]:
    """Give (width, height) of what is shown."""
    return pixels.shape[1], pixels.shape[0]


def stacked(files: Sequence[bytes], words: str = "") -> bytes:
    """Put pictures (PNG) below each other, on white, and ``words`` below all; the bytes of one PNG."""
    if len(files) == 1 and not words:
        return files[0]
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    if words:
        images.append(_written(words, max(each.width for each in images)))
    whole = Image.new("RGB", (max(each.width for each in images), sum(each.height for each in images)), "white")
    top = 0
    for each in images:
        whole.paste(each, (0, top))
        top += each.height
    file, signed = io.BytesIO(), PngInfo()
    for name, text in SIGNED.items():
        signed.add_text(name, text)
    whole.save(file, "PNG", pnginfo=signed)
    return file.getvalue()


def _written(words: str, width: int) -> Image.Image:
    """Write words black on white, ``width`` pixels wide or a little more, in as many lines as they need."""
    from protomask.report import style
    from protomask.report.fitting import text_width

    @style.styled
    def draw() -> bytes:
        across, margin, size = max(width, _LEAST_SIDE) / _DPI, 0.18, 8
        figure = style.new_figure(across, 1)
        lines = math.ceil(1.1 * text_width(figure, words, size) / (across - 2 * margin)) + 1
        figure.set_size_inches(across, 2 * margin + 1.4 * lines * size / 72)
        style.write(figure, margin, margin, words, within=across - 2 * margin, lines=lines, fontsize=size)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_DPI)
        return file.getvalue()

    return Image.open(io.BytesIO(draw())).convert("RGB")


def is_grey(pixels: np.ndarray) -> bool:
    """Tell whether (H, W, 3) is without colour, as X-rays and ultrasound are (a coloured mark in it may be)."""
    small = pixels[::8, ::8].astype(np.int16)
    return bool((np.ptp(small, axis=2) <= GREY).mean() > MOSTLY)


class Hidden(NamedTuple):
    """Hold a picture part of which is hidden."""

    images: Tensor
    """(1, C, H, W) normalised"""
    share: float
    """of the picture that is hidden"""


def hide(images: Tensor, asked: Any, ratio: float) -> Hidden:
    """Hide what the brush went over.

    Args:
        images: (1, C, H, W), normalised.
        asked: a :class:`Hide`, unchecked.
        ratio: width / height of the picture, whose strokes are round.

    Raises:
        InputError: it is something else.
    """
    try:
        check(asked, Hide)
    except ValueError as error:
        raise InputError(f"what is to be hidden cannot be read: {error}") from error
    if asked["fill"] not in FILLS:
        raise InputError(f"fill is {asked['fill']!r}; choose from {', '.join(FILLS)}")
    covered = _covered(asked["strokes"], ratio, (images.shape[-2], images.shape[-1])).to(images.device)
    fill = background(images, torch.zeros(1, dtype=torch.long, device=images.device), asked["fill"])
    return Hidden(torch.where(covered, fill, images), covered.float().mean().item())


def _covered(strokes: Sequence[Stroke], ratio: float, size: tuple[int, int]) -> Tensor:
    """(H, W) bool: the strokes, drawn in the picture's own proportions."""
    width, height = (_CANVAS, max(1, round(_CANVAS / ratio))) if ratio >= 1 else (round(_CANVAS * ratio) or 1, _CANVAS)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        points = [(x * width, y * height) for x, y in stroke["points"]]
        radius = max(0.5, stroke["radius"] * width)
        if len(points) > 1:
            draw.line(points, fill=255, width=max(1, round(2 * radius)))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    small = canvas.resize((size[1], size[0]), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small) >= 128)
