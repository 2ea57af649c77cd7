"""Kinds of TIFF that Pillow reads otherwise than they are meant: pixels as stored, or one line that says why not."""

import numpy as np
import pytest
import tifffile

from protomask.data.decoding import decode, thumbnail
from protomask.data.masks import read_mask
from protomask.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def write(path, pixels, **how):
    tifffile.imwrite(path, pixels, **how)
    return path


@pytest.mark.parametrize("how", [{}, {"compression": "deflate"}, {"byteorder": ">"}])
def test_signed_bytes_keep_their_sign(tmp_path, how):
    path = write(tmp_path / "signed.tif", (GREY.astype(int) - 128).astype(np.int8), photometric="minisblack", **how)
    assert (decode(path, None, (-128, 127))[0] == GREY[..., None]).all()
    with pytest.raises(InputError, match=r"signed\.tif: pixels of signed 8 bits.*intensity_range"):
        decode(path)
    with pytest.raises(InputError, match="negative"):
        read_mask(path)


def test_floats_whose_zero_is_white_are_inverted(tmp_path):
    ramp = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    white = write(tmp_path / "white.tif", ramp, photometric="miniswhite")
    black = write(tmp_path / "black.tif", ramp, photometric="minisblack")
    assert (decode(white, None, (0, 1))[0] == 255 - decode(black, None, (0, 1))[0]).all()
    assert np.allclose(thumbnail(white, 4), 255 - thumbnail(black, 4), atol=1e-3)
    assert thumbnail(white, 4)[0, 0] > thumbnail(white, 4)[-1, -1]


@pytest.mark.parametrize("how", [{}, {"compression": "deflate"}, {"rowsperstrip": 4}, {"tile": (16, 16)}])
@pytest.mark.parametrize("dtype, factor", [(np.uint8, 1), (np.uint16, 257)])
def test_colours_in_separate_planes_are_as_stored_or_refused(tmp_path, dtype, factor, how):
    planes = COLOURS.transpose(2, 0, 1).astype(dtype) * factor
    path = write(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate", **how)
    if factor > 1 and "compression" not in how:
        with pytest.raises(InputError, match=r"planes\.tif.*PlanarConfiguration 2.*save it"):
            decode(path)
    else:
        assert (decode(path)[0] == COLOURS).all()


@pytest.mark.parametrize("pixels", [np.stack([GREY] * 4), np.stack([GREY] * 3).astype(np.uint16)])
def test_one_channel_of_several_is_not_taken_for_the_picture(tmp_path, pixels):
    path = write(tmp_path / "cells.tif", pixels, photometric="minisblack", planarconfig="separate", compression="zlib")
    with pytest.raises(InputError, match=rf"cells\.tif: {len(pixels)} channels of grey"):
        decode(path)
    pages = write(tmp_path / "pages.tif", np.stack([GREY, 255 - GREY]), photometric="minisblack")
    assert (decode(pages)[0] == GREY[..., None]).all()  # pages are pictures of their own: the first


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_a_kind_that_is_not_read_is_told_from_damage(tmp_path, dtype):
    path = write(tmp_path / "double.tif", GREY.astype(dtype), photometric="minisblack")
    with pytest.raises(InputError, match=r"double\.tif: a TIFF file.*save it with 8 or 16 bits"):
        decode(path, None, (0, 255))
