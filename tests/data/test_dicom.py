"""DICOM files made by pydicom itself."""

import sys

import numpy as np
import pytest
from PIL import Image

from protomask.data import load_data
from protomask.data.decoding import decode, image_size, thumbnail
from protomask.data.duplicates import copy_groups
from protomask.errors import InputError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_windowing  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid  # noqa: E402

RAMP = np.arange(0, 4096, 256, dtype=np.uint16).reshape(2, 8)


def dataset(pixels, bits=12, **fields):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    photometric = fields.pop("PhotometricInterpretation", "MONOCHROME2")
    made.set_pixel_data(pixels, photometric, bits)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def write(path, *given, **fields):
    dataset(*given, **fields).save_as(path, enforce_file_format=True)
    return path


def greys(path, **options):
    pixels = decode(path, **options)[0]
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def test_without_a_window_all_bits_stored_are_the_range(tmp_path):
    path = write(tmp_path / "x.dcm", RAMP)
    assert image_size(path) == (8, 2) == decode(path)[1]
    assert (greys(path) == np.rint(RAMP / 4095 * 255)).all()
    assert thumbnail(path, 4).shape == (4, 4)


def in_folder(root, **fields):
    """Two classes of three files: ramps of 12 bits in 16, each another."""
    for number in range(6):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 4096, (8, 8)).astype(np.uint16).repeat(4, 0).repeat(4, 1)
        write(folder / f"{number}.dcm", pixels, 16, **fields)
    return root


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_dark_files_without_a_window_are_told_and_copies_of_them_found(tmp_path, kind):
    root = in_folder(tmp_path / "dark", PhotometricInterpretation=kind, RescaleSlope=2, RescaleIntercept=-10)
    (remark,) = load_data("folder", root).remarks()
    assert "of more than 8 bits use 6% of their range (-" in remark and "intensity_range=(-" in remark
    assert load_data("folder", in_folder(tmp_path / "shown", WindowCenter=2048, WindowWidth=4096)).remarks() == []
    files = sorted(root.rglob("*.dcm"))
    copy = pydicom.dcmread(files[0])
    copy.SOPInstanceUID = generate_uid()
    copy.save_as(tmp_path / "copy.dcm")
    assert copy_groups([*files, tmp_path / "copy.dcm"]).tolist() == [0, 1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_the_standard(tmp_path, function):
    fields = {"WindowCenter": [40, 2000], "WindowWidth": [400, 4], "VOILUTFunction": function}
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    path = write(tmp_path / "ct.dcm", RAMP + 7, **fields, **rescale)
    expected = apply_windowing(
        RAMP.astype(float) + 7 - 1024, pydicom.dcmread(path)
    )  # to the range of 12 bits, rescaled
    expected = (expected + 1024) / 4095 * 255
    assert np.abs(greys(path) - expected).max() <= 0.51 and len(np.unique(greys(path))) > 2


def test_a_range_is_in_rescaled_units_and_goes_before_the_window(tmp_path):
    path = write(tmp_path / "ct.dcm", RAMP, WindowCenter=1, WindowWidth=2, RescaleSlope=2, RescaleIntercept=-1024)
    expected = np.rint((RAMP * 2.0 - 1024).clip(-1000, 1000) / 2000 * 255 + 127.5 - 1e-9)
    assert np.abs(greys(path, intensity_range=(-1000, 1000)).astype(float) - expected).max() <= 1


def item(**fields):
    made = Dataset()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def groups(slope, intercept, center, width):
    return [
        item(
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept)],
            FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=width)],
        )
    ]


@pytest.mark.parametrize("where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_enhanced_files_are_rescaled_and_windowed_by_their_groups(tmp_path, where):
    plain = write(
        tmp_path / "plain.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=300, WindowWidth=900
    )
    enhanced = write(tmp_path / "enhanced.dcm", RAMP, NumberOfFrames=1, **{where: groups(2, -1024, 300, 900)})
    assert (greys(enhanced) == greys(plain)).all()
    assert (greys(enhanced, intensity_range=(0, 400)) == greys(plain, intensity_range=(0, 400))).all()
    assert len(np.unique(greys(plain))) > 3


def test_the_frame_s_own_group_goes_before_the_shared_one_and_both_before_the_top(tmp_path):
    plain = write(tmp_path / "plain.dcm", RAMP, RescaleSlope=2, RescaleIntercept=0, WindowCenter=500, WindowWidth=700)
    own = groups(2, 0, 500, 700)
    fields = {"RescaleSlope": 7, "RescaleIntercept": 7, "WindowCenter": 7, "WindowWidth": 7}
    shared = {"SharedFunctionalGroupsSequence": groups(3, 3, 3, 30), "PerFrameFunctionalGroupsSequence": own}
    assert (greys(write(tmp_path / "both.dcm", RAMP, **fields, **shared)) == greys(plain)).all()


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_fields_are_as_none(tmp_path, empty):
    bare = greys(write(tmp_path / "bare.dcm", RAMP))
    names = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction")
    assert (greys(write(tmp_path / "empty.dcm", RAMP, **dict.fromkeys(names, empty))) == bare).all()
    assert (greys(write(tmp_path / "half.dcm", RAMP, WindowCenter=40, WindowWidth=empty)) == bare).all()
    shifted = write(tmp_path / "shifted.dcm", RAMP, RescaleSlope=empty, RescaleIntercept=-1024)
    assert (greys(shifted, intensity_range=(-1024, 3071)) == bare).all()
    tables = {"ModalityLUTSequence": [], "VOILUTSequence": []}
    assert (greys(write(tmp_path / "tables.dcm", RAMP, **tables)) == bare).all()


def test_monochrome1_is_inverted(tmp_path):
    path = write(tmp_path / "film.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert (greys(path) == 255 - np.rint(RAMP / 4095 * 255)).all()


def test_signed_numbers(tmp_path):
    path = write(tmp_path / "signed.dcm", (RAMP.astype(np.int16) - 2048))
    assert (greys(path) == np.rint(RAMP / 4095 * 255)).all()


def test_colours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = write(tmp_path / "endoscope.dcm", pixels, 8, PhotometricInterpretation="RGB")
    assert (decode(path)[0] == pixels).all()


def test_several_frames_are_refused_by_name(tmp_path):
    path = write(tmp_path / "cine.dcm", np.stack([RAMP] * 3))
    for read in (decode, image_size):
        with pytest.raises(InputError, match=r"cine\.dcm: 3 frames; one picture per file"):
            read(path)


def test_rle_is_decoded_and_others_name_what_is_missing(tmp_path, monkeypatch):
    made = dataset(RAMP)
    made.compress(RLELossless)
    made.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    assert (greys(tmp_path / "rle.dcm") == np.rint(RAMP / 4095 * 255)).all()
    made.file_meta.TransferSyntaxUID = JPEGLSLossless
    made.save_as(tmp_path / "jpeg.dcm", enforce_file_format=True)
    monkeypatch.setattr("protomask.data.dicom._lacks_decoder", lambda syntax: syntax == JPEGLSLossless)
    with pytest.raises(InputError, match="compressed as JPEG-LS Lossless Image Compression, for which no decoder"):
        decode(tmp_path / "jpeg.dcm")


def test_damaged_files_are_one_line(tmp_path):
    good = write(tmp_path / "good.dcm", RAMP).read_bytes()
    path = tmp_path / "bad.dcm"
    cases = [b"", b"no DICOM", good[:200], good[:-9], b"\0" * 128 + b"DICM" + b"\xff" * 400]
    for content in cases:
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            decode(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    bare = dataset(RAMP)
    del bare.PixelData
    bare.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match="without a picture"):
        decode(path)
    huge = dataset(RAMP, Rows=60_000, Columns=60_000)
    huge.save_as(path, enforce_file_format=True)
    with pytest.raises(InputError, match="more than 89 million pixels"):
        decode(path)


def test_one_flipped_byte_is_an_error_or_a_picture(tmp_path):
    good = write(tmp_path / "good.dcm", RAMP, WindowCenter=40, WindowWidth=400).read_bytes()
    path = tmp_path / "flipped.dcm"
    for place in range(128, len(good), 7):
        changed = bytearray(good)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            assert decode(path)[0].dtype == np.uint8
        except InputError as error:
            assert str(path) in str(error)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "x.dcm", RAMP)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pip install pydicom"):
        decode(path)


def test_a_folder_of_them_is_a_data_set(tmp_path):
    for part in ("train", "test"):
        for name in ("ill", "well"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                write(tmp_path / part / name / f"{number}.dcm", RAMP + 5 * number)
                mask = np.zeros(RAMP.shape, dtype=np.uint8)
                Image.fromarray(mask).save(tmp_path / part / name / f"{number}_mask.png")
    splits = load_data("folder", tmp_path, validation=0, intensity_range=(0, 2048))
    assert len(splits.train) == 4 and splits.train.read(0)["mask"].sum() == 0
    expected = np.rint(RAMP.clip(0, 2048) / 2048 * 255)
    assert (splits.train.read(0)["image"][0].numpy() == expected).all()
