"""Fields of DICOM files that are empty, several or make no sense, and palettes of any width."""

import numpy as np
import pytest

from protomask.data.decoding import decode, thumbnail
from protomask.errors import InputError

pydicom = pytest.importorskip("pydicom")
from tests.data.test_dicom import RAMP, dataset, greys, write  # noqa: E402


@pytest.mark.parametrize("slope", [0, float("nan"), float("inf"), [2, 3]])
def test_a_slope_that_makes_no_sense_is_named(tmp_path, slope):
    path = write(tmp_path / "x.dcm", RAMP, RescaleSlope=slope, RescaleIntercept=0)
    for levels in (None, (0, 400)):
        with pytest.raises(InputError, match=r"x\.dcm: RescaleSlope is .*; one number other than 0 is expected"):
            decode(path, None, levels)


def test_several_slopes_that_are_one_or_belong_to_colours_are_no_fault(tmp_path):
    one = write(tmp_path / "one.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1024)
    same = write(tmp_path / "same.dcm", RAMP, RescaleSlope=[2, 2], RescaleIntercept=[-1024, ""])
    assert (greys(same, intensity_range=(0, 4000)) == greys(one, intensity_range=(0, 4000))).all()
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = write(tmp_path / "rgb.dcm", colours, 8, PhotometricInterpretation="RGB", RescaleSlope=0)
    assert (decode(path)[0] == colours).all()


def test_the_first_whole_window_is_taken(tmp_path):
    one = greys(write(tmp_path / "one.dcm", RAMP, WindowCenter=2000, WindowWidth=3000))
    several = {"WindowCenter": ["", 2000, 5], "WindowWidth": [7, 3000, 5]}
    assert (greys(write(tmp_path / "several.dcm", RAMP, **several)) == one).all()
    halves = {"WindowCenter": [5, ""], "WindowWidth": ["", 5]}
    assert (greys(write(tmp_path / "halves.dcm", RAMP, **halves)) == greys(write(tmp_path / "no.dcm", RAMP))).all()


def palette(path, tables, stored, bits, first=0, **fields):
    made = dataset(stored, 8 * stored.dtype.itemsize)
    made.PhotometricInterpretation = "PALETTE COLOR"
    for name, table in zip(("Red", "Green", "Blue"), tables):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [len(table) % 65536, first, bits])
        numbers = table.astype(np.uint16 if bits > 8 else np.uint8)
        setattr(made, f"{name}PaletteColorLookupTableData", numbers.tobytes())
    for name, value in fields.items():
        setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("bits, factor", [(8, 1), (16, 257), (16, 1)])
@pytest.mark.parametrize("count, first, dtype", [(256, 0, np.uint8), (16, 300, np.uint16), (65536, 0, np.uint16)])
def test_palettes_become_colours_whatever_their_bits(tmp_path, bits, factor, count, first, dtype):
    tables = np.random.default_rng(0).integers(0, 256, (3, count))
    stored = (np.arange(16) + first).astype(dtype).reshape(2, 8)
    path = palette(tmp_path / "x.dcm", tables * factor, stored, bits, first)
    for levels in (None, (0, 400)):
        assert (decode(path, None, levels)[0] == tables[:, stored - first].transpose(1, 2, 0)).all()


def test_a_supplemental_palette_is_refused_where_its_colours_are_used(tmp_path):
    tables, stored = np.full((3, 256), 999), np.arange(16, dtype=np.uint16).reshape(2, 8)
    fields = {"PhotometricInterpretation": "MONOCHROME2", "PixelPresentation": "COLOR"}
    path = palette(tmp_path / "x.dcm", tables, stored, 16, first=10, **fields)
    for read in (decode, lambda path: thumbnail(path, 4)):
        with pytest.raises(InputError, match=r"x\.dcm: grey levels with colours of a supplemental palette.*RGB"):
            read(path)
    unused = palette(tmp_path / "unused.dcm", tables, stored, 16, first=16, **fields)
    suggested = palette(tmp_path / "suggested.dcm", tables, stored, 16, PhotometricInterpretation="MONOCHROME2")
    assert (decode(unused)[0] == decode(suggested)[0]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_in_planes_are_as_those_side_by_side(tmp_path, planar, dtype):
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(dtype)
    wide = colours if dtype == np.uint8 else colours * 257
    made = dataset(wide, 8 * wide.dtype.itemsize, PhotometricInterpretation="RGB", PlanarConfiguration=planar)
    made.PixelData = (wide.transpose(2, 0, 1) if planar else wide).tobytes()
    made.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert (decode(tmp_path / "x.dcm")[0] == colours).all()


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_floats_need_a_range_and_have_thumbnails_without(tmp_path, kind):
    made = dataset(RAMP, PhotometricInterpretation=kind, BitsAllocated=32, PlanarConfiguration=1)
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, name)
    made.FloatPixelData = (RAMP / 4095).astype("<f4").tobytes()
    made.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"x\.dcm: pixels of type float and no window; give intensity_range"):
        decode(tmp_path / "x.dcm")
    expected = RAMP / 4095 * 255
    expected = expected if kind == "MONOCHROME2" else 255 - expected
    assert np.abs(greys(tmp_path / "x.dcm", intensity_range=(0, 1)) - expected).max() <= 1
    assert np.ptp(thumbnail(tmp_path / "x.dcm", 4)) > 200
