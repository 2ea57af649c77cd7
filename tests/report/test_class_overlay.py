"""Overlays of small and thin pictures: what is outlined and what is written stay apart, and both are seen."""

import io

import numpy as np
import pytest
from PIL import Image

from protomask.inputs import find_pictures
from protomask.localization.result import Look
from protomask.report import save_figure, style
from protomask.report.class_overlay import overlay_png
from protomask.serve.pictures import stacked

from .scenes import blob

LONG = "n01537544 indigo_bunting, indigo finch, indigo bird, Passerina cyanea 78 % \N{EM DASH} no evidence"


def drawn(size: tuple[int, int], saliency: np.ndarray | None = None, **options) -> np.ndarray:
    """The overlay of a grey picture (width, height)."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    saliency = blob(32, 32, 10) if saliency is None else saliency
    content = io.BytesIO(overlay_png(pixels, saliency, "mdm", **options))
    return np.asarray(Image.open(content).convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "size, factor", [((32, 32), 8), ((4, 4), 64), ((6, 2), 128), ((1, 1), 256), ((96, 128), 3), ((300, 200), 1)]
)
def test_small_pictures_are_enlarged_by_a_whole_factor_and_their_outline_is_seen(size, factor):
    bare, outlined, written = drawn(size, outlined=False), drawn(size), drawn(size, caption="indigo bunting 78 %")
    assert bare.shape == outlined.shape == written.shape == (factor * size[1], factor * size[0], 3)
    assert (np.abs(outlined - bare).max(2) > 100).mean() > 0.002
    changed = np.abs(written - outlined).max(2).any(1)
    assert changed.any() and not changed[: round(0.78 * len(changed))].any()


@pytest.mark.parametrize("size", [(1000, 40), (30, 900), (224, 224), (3000, 7), (640, 48)])
def test_a_caption_that_would_cover_the_picture_stands_below_it(size):
    shown = min(1, 1024 / max(size))
    width, height = (max(1, round(shown * side)) for side in size)
    found, without = drawn(size, caption=LONG), drawn(size)
    assert without.shape == (height, width, 3)
    assert (found[:height, :width] == without).all() and len(found) > height
    below = found[height + 2 :]
    assert below.max() == 255 and below.min() < 60  # dark on white
    rows = np.flatnonzero((below.min(2) < 120).any(1))
    assert len(rows) >= 7 and rows[-1] < len(below) - 1  # letters that can be read, none of them cut


def test_nothing_small_stands_out_is_said_in_the_caption():
    flat = np.ones((32, 32), np.float32)
    words = "bird 3 % \N{EM DASH} no compact evidence"
    wanted = drawn((400, 300), flat, caption=words, outlined=False)
    assert (drawn((400, 300), flat, caption="bird 3 %") == wanted).all()


def test_pictures_of_ours_are_no_photographs_wherever_they_were_saved(tmp_path):
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "photo.png")
    look = Look("photo.png", np.zeros((30, 40, 3), np.uint8), 1, "bird", 0.5, blob(32, 32, 10), "mdm")
    look.save(tmp_path / "x.png")
    look.save(tmp_path / "Y.PNG")
    save_figure(style.new_figure(1, 1), tmp_path / "gallery.png")
    (tmp_path / "page.png").write_bytes(stacked([look._png(None)], "Also found"))
    (tmp_path / "x.png").rename(tmp_path / "renamed.png")
    assert find_pictures(tmp_path) == [tmp_path / "photo.png"]
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "Y.PNG")  # a photograph in its place is one
    assert find_pictures(tmp_path) == [tmp_path / "Y.PNG", tmp_path / "photo.png"]
