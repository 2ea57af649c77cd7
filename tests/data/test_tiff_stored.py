"""TIFF files as stored, whichever byte is first, planes, compression and colour map; read from files and by Pillow."""

import numpy as np
import pytest
from PIL import Image

from protomask.data.decoding import decode, thumbnail
from protomask.data.depth import depth_remark
from protomask.data.masks import read_mask
from protomask.data.pictures import as_picture
from protomask.errors import InputError
from tests.support.tiffs import PALETTE, write_tiff

RANGES = {"u1": (0, 255), "i1": (-100, 90), "u2": (1000, 40000), "i2": (-20000, 20000)}
RANGES |= {"u4": (0, 4e9), "i4": (-2e9, 1e9), "f4": (-0.5, 0.8)}
EXTRA, BITS, WIDTH = 338, 258, 256


def numbers(dtype, count=1):
    made, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "f":
        return (made.random((count, 6, 8)) * 2 - 1).astype(dtype)
    ends = np.iinfo(dtype)
    return made.integers(ends.min, ends.max, (count, 6, 8), dtype=dtype, endpoint=True)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", RANGES)
def test_one_channel_is_read_as_stored_or_refused(tmp_path, dtype, order, planar, deflate):
    (low, high), values = RANGES[dtype], numbers(dtype)
    path = write_tiff(tmp_path / "x.tif", values, 1, planar=planar, deflate=deflate, order=order)
    expected = (values[0].astype(float).clip(low, high) - low) / (high - low) * 255
    if (dtype, order) == ("u4", ">"):  # Pillow opens none
        with pytest.raises(InputError, match=r"x\.tif: a TIFF file damaged or of pixels that are not read"):
            decode(path)
        return
    assert np.abs(decode(path, intensity_range=(low, high))[0][..., 0] - expected).max() <= 0.51
    with Image.open(path) as image:
        assert np.abs(as_picture(image, "x", (low, high))[0].numpy() - expected).max() <= 0.51


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_where_zero_is_white_a_range_is_of_the_numbers_stored(tmp_path, dtype, planar, levels):
    black, white = (
        write_tiff(tmp_path / f"{zero}.tif", numbers(dtype), zero, planar=planar, deflate=dtype == "f4")
        for zero in (1, 0)
    )
    low_high = RANGES[dtype] if levels else None
    if dtype == "f4" and not levels:
        with pytest.raises(InputError, match=r"0\.tif: pixels of type float have no fixed range"):
            decode(white)
        return
    assert (decode(white, None, low_high)[0] == 255 - decode(black, None, low_high)[0]).all()
    assert np.allclose(thumbnail(white, 4), 255 - thumbnail(black, 4), atol=1)


def test_twelve_bits_where_zero_is_white_are_told_in_numbers_stored(tmp_path):
    path = write_tiff(tmp_path / "x.tif", numbers("u2") >> 4, 0)
    assert "intensity_range=(" in depth_remark([path]) and "6% of their range (" in depth_remark([path])
    assert int(depth_remark([path]).split("intensity_range=(")[1].split(",")[0]) < 4096
    assert len(np.unique(decode(path, None, (0, 4095))[0])) > 20


def test_signed_bytes_are_not_told_to_be_of_16_bits(tmp_path):
    assert depth_remark([write_tiff(tmp_path / "x.tif", numbers("i1"), 1)]) is None


def test_masks_where_zero_is_white(tmp_path):
    drawn = np.zeros((1, 6, 8), dtype=np.uint16)
    drawn[:, 2:4, 3:6] = 65535
    assert (read_mask(write_tiff(tmp_path / "x.tif", 65535 - drawn, 0)) == (drawn[0] > 0)).all()
    with pytest.raises(InputError, match=r"y\.tif: a mask of F whose zero is white"):
        read_mask(write_tiff(tmp_path / "y.tif", drawn.astype(np.float32), 0))


SEPARATE = [  # samples, photometric, dtype, extra samples, deflated
    (3, 2, "u2", None, False),
    (4, 2, "u1", None, True),
    (4, 2, "u1", 1, False),
    (3, 6, "u1", None, False),
    (3, 8, "u1", None, True),
    (2, 1, "u1", 2, True),
    (2, 3, "u1", 2, True),
]


@pytest.mark.parametrize("count, photometric, dtype, extra, deflate", SEPARATE)
def test_planes_that_would_be_mixed_up_are_refused(tmp_path, count, photometric, dtype, extra, deflate):
    tags = ({} if extra is None else {EXTRA: [extra]}) | ({PALETTE: [300] * 768} if photometric == 3 else {})
    path = write_tiff(tmp_path / "x.tif", numbers(dtype, count), photometric, planar=True, deflate=deflate, tags=tags)
    with pytest.raises(InputError, match=r"x\.tif: . channels .* in separate planes .*; save it with its channels"):
        decode(path)
    with Image.open(path) as image, pytest.raises(InputError, match=r"^the first: . channels .* in separate planes"):
        as_picture(image, "the first")


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("eight", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_colour_maps_of_8_and_16_bits(tmp_path, bits, eight, deflate):
    colours = np.random.default_rng(1).integers(0, 256, (3, 2**bits))
    values = np.random.default_rng(2).integers(0, 2**bits, (6, 8))
    per = 8 // bits
    packed = sum(values[:, k::per] << (8 - bits * (k + 1)) for k in range(per)).astype(np.uint8)
    tags = {WIDTH: [8], BITS: [bits], PALETTE: (colours * (1 if eight else 257)).reshape(-1).tolist()}
    path = write_tiff(tmp_path / "x.tif", packed[None], 3, planar=True, deflate=deflate, tags=tags)
    assert (decode(path)[0] == colours[:, values].transpose(1, 2, 0)).all()
    with Image.open(path) as image:
        assert (as_picture(image, "x").permute(1, 2, 0).numpy() == decode(path)[0]).all()


def test_grey_with_premultiplied_transparency(tmp_path):
    grey = np.array([[[0, 50, 100, 0]], [[255, 100, 200, 0]]], dtype=np.uint8)
    path = write_tiff(tmp_path / "x.tif", grey, 1, tags={EXTRA: [1]})
    assert np.abs(decode(path)[0][0, :, 0] - np.array([0, 50 + 155, 100 + 55, 255])).max() <= 2
