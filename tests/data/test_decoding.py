import numpy as np
import pytest
from PIL import Image

from protomask.data.decoding import decode, image_size
from protomask.data.masks import decode_mask, mask_box, read_mask
from protomask.data.raster import upright_size
from protomask.errors import InputError
from protomask.inputs import as_pixels


def _quadrants() -> Image.Image:
    """24 x 16; red, green / blue, white quarters."""
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12], pixels[8:, 12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    return Image.fromarray(pixels)


MODES = [("P", "png"), ("P", "gif"), ("CMYK", "tif"), ("RGBA", "png"), ("RGB", "bmp")]


@pytest.mark.parametrize("mode, suffix", MODES)
def test_colours_survive_every_mode(tmp_path, mode, suffix):
    path = tmp_path / f"picture.{suffix}"
    _quadrants().convert(mode).save(path)
    pixels, size = decode(path)
    assert size == (24, 16) == image_size(path) and pixels.shape == (16, 24, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(_quadrants()).astype(int)).max() <= 2


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    assert np.abs(decode(tmp_path / "red.jpg")[0].astype(int) - (255, 0, 0)).max() < 12


GREYS = [("L", np.uint8, 77), ("LA", np.uint8, 77), ("I;16", np.uint16, 77 * 257)]


@pytest.mark.parametrize("mode, dtype, value", GREYS)
def test_grey_becomes_three_equal_channels(tmp_path, mode, dtype, value):
    grey = np.full((8, 9), value, dtype=dtype)
    image = Image.fromarray(grey) if mode != "LA" else Image.fromarray(np.stack([grey, grey * 0 + 255], -1), "LA")
    image.save(tmp_path / "grey.png")
    assert (decode(tmp_path / "grey.png")[0] == 77).all()


def test_transparent_pixels_are_white_whatever_colour_hides_there(tmp_path):
    Image.new("RGBA", (4, 4), (10, 200, 30, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png")[0] == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 200, 30])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (decode(tmp_path / "palette.png")[0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_stands_upright(tmp_path, orientation):
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # Pillow's transpose that stores the upright image this way
    stored = _quadrants() if undo is None else _quadrants().transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    stored.save(path, exif=exif, quality=95, subsampling=0)
    pixels, size = decode(path)
    assert size == image_size(path) == (24, 16)
    assert np.abs(pixels[2:6, 2:10].astype(int) - (255, 0, 0)).max() < 30
    assert np.abs(pixels[10:14, 2:10].astype(int) - (0, 0, 255)).max() < 30


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_files_are_turned_once(tmp_path, orientation, compression):
    """Pillow turns them itself; so are masks, and PIL images that were not read yet."""
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    stored = _quadrants() if undo is None else _quadrants().transpose(Image.Transpose(undo))
    path, mask_path = tmp_path / "turned.tif", tmp_path / "turned_mask.tif"
    options = {"tiffinfo": {0x0112: orientation}} | ({"compression": compression} if compression else {})
    stored.save(path, **options)
    stored.getchannel("R").save(mask_path, **options)
    upright = np.asarray(_quadrants())
    pixels, size = decode(path)
    assert size == image_size(path) == (24, 16) and np.array_equal(pixels, upright)
    assert np.array_equal(decode(path, lambda size: ((4, 2, 20, 12), 2))[0], upright[2:12:2, 4:20:2])
    mask = decode_mask(mask_path, (24, 16), (0, 0, 24, 16), 1, 0)
    assert np.array_equal(mask > 0, upright[..., 0] > 0)
    for read in (False, True):
        with Image.open(path) as image:
            if read:
                image.load()
            assert upright_size(image) == (24, 16)
            assert np.array_equal(as_pixels(image), upright)
            assert upright_size(image) == (24, 16)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_region_decoded_smaller_shows_the_same_things(tmp_path, suffix):
    big = _quadrants().resize((960, 640), Image.Resampling.NEAREST)
    path = tmp_path / f"big.{suffix}"
    big.save(path, quality=95)
    pixels, size = decode(path, lambda size: ((240, 160, 720, 480), 4))
    assert size == (960, 640) and pixels.shape == (80, 120, 3)
    corners = {(35, 55): (255, 0, 0), (35, 65): (0, 255, 0), (45, 55): (0, 0, 255), (45, 65): (255, 255, 255)}
    for (y, x), colour in corners.items():
        assert np.abs(pixels[y, x].astype(int) - colour).max() < 30


def _truncated(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda path: path.write_bytes(b""), "empty (0 bytes)"),
        (lambda path: path.write_text("no image"), "cannot be read as an image"),
        (_truncated, "cannot be read as an image"),
        (lambda path: None, "no such image file"),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_files_are_named_in_one_line(tmp_path, damage, says, suffix):
    path = tmp_path / f"döner kebab.{suffix}"
    damage(path)
    with pytest.raises(InputError) as caught:
        decode(path)
    assert str(path) in str(caught.value) and says in str(caught.value) and "\n" not in str(caught.value)


def test_masks_of_labels_or_greys(tmp_path):
    grey = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    whole = (0, 0, 3, 2)
    assert decode_mask(tmp_path / "grey.png", (3, 2), whole, 1, above=127).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert decode_mask(tmp_path / "grey.png", (3, 2), (1, 0, 3, 1), 1, above=0).tolist() == [[1, 1]]
    labels = Image.fromarray((grey > 200).astype(np.uint8), "P")
    labels.putpalette([0, 0, 0, 1, 0, 0])
    labels.save(tmp_path / "labels.png")
    assert decode_mask(tmp_path / "labels.png", (3, 2), whole, 1, above=0).sum() == 2
    with pytest.raises(InputError, match="the mask is 3 x 2 pixels, its image 3 x 3"):
        decode_mask(tmp_path / "grey.png", (3, 3), whole, 1, above=0)


@pytest.fixture
def drawn():
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:20, 15:40] = 255
    return mask


def _as(mask, mode, path):
    if mode == "I;16":
        Image.fromarray(mask.astype(np.uint16) * 257).save(path)
    elif mode == "quantized":  # its palette begins with white
        image = Image.fromarray((mask == 0).astype(np.uint8), "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.save(path)
    elif mode == "own alpha":
        Image.fromarray(np.dstack([mask] * 4)).save(path)
    elif mode == "dark blue":
        Image.fromarray(np.dstack([mask * 0, mask * 0, mask // 255])).save(path)
    else:
        Image.fromarray(mask).convert(mode).save(path)


MASK_MODES = ["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "quantized", "own alpha", "dark blue"]


@pytest.mark.parametrize("mode", MASK_MODES)
def test_the_mask_and_the_box_around_it_are_the_same_in_every_mode(tmp_path, drawn, mode):
    _as(drawn, mode, tmp_path / "mask.png")
    assert mask_box(tmp_path / "mask.png") == (15, 10, 40, 20)
    assert (decode_mask(tmp_path / "mask.png", (60, 40), (0, 0, 60, 40), 1, 0) == (drawn > 0)).all()
    if mode != "dark blue":
        assert (decode_mask(tmp_path / "mask.png", (60, 40), (0, 0, 60, 40), 1, 127) == (drawn > 0)).all()
    if mode != "quantized":
        _as(drawn * 0, mode, tmp_path / "empty.png")
        assert mask_box(tmp_path / "empty.png") is None


def test_a_mask_that_only_its_transparency_draws_is_not_guessed(tmp_path, drawn):
    for colour in (0, 255):
        Image.fromarray(np.dstack([drawn * 0 + colour, drawn])).save(tmp_path / f"{colour}.png")
    assert mask_box(tmp_path / "255.png") == (15, 10, 40, 20)  # a transparent background
    with pytest.raises(InputError, match="transparency only"):
        mask_box(tmp_path / "0.png")


def test_a_mask_stands_upright_like_its_image(tmp_path, drawn):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(drawn).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "mask.png", exif=exif)
    assert mask_box(tmp_path / "mask.png") == (15, 10, 40, 20)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_postscript_is_never_handed_to_anybody(tmp_path, suffix, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **named: pytest.fail("Ghostscript was started"))
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n%%EOF\n")
    Image.open(path)  # Pillow itself would take it
    for read in (decode, image_size, mask_box):
        with pytest.raises(InputError, match="of no known format"):
            read(path)


def _write(path, values):
    Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_range_of_intensities_becomes_black_to_white(tmp_path, suffix):
    path = _write(tmp_path / f"deep.{suffix}", np.array([[0, 1365, 2730, 4095]], dtype=np.uint16))
    assert decode(path)[0][0, :, 0].tolist() == [0, 5, 10, 15]
    assert decode(path, intensity_range=(0, 4095))[0][0].tolist() == [[value] * 3 for value in (0, 85, 170, 255)]
    assert decode(path, intensity_range=(1365, 2730))[0][0, :, 0].tolist() == [0, 0, 255, 255]


def test_numbers_outside_16_bits_need_a_range(tmp_path):
    path = _write(tmp_path / "signed.tif", np.array([[-1000, 0, 500, 1000]], dtype=np.int32))
    with pytest.raises(InputError, match="pixels from -1000 to 1000, outside the 0 to 65535"):
        decode(path)
    assert decode(path, intensity_range=(-1000, 1000))[0][0, :, 0].tolist() == [0, 128, 191, 255]
    high = _write(tmp_path / "high.tif", np.array([[0, 70_000]], dtype=np.int32))
    with pytest.raises(InputError, match="70000"):
        decode(high)
    real = _write(tmp_path / "real.tif", np.array([[0, 0.5, 1]], dtype=np.float32))
    with pytest.raises(InputError, match="type float"):
        decode(real)
    assert decode(real, intensity_range=(0, 1))[0][0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bits_where_white_is_zero(tmp_path):
    values = np.array([[0, 65535 // 2, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "white.tif", tiffinfo={262: 0})
    assert decode(tmp_path / "white.tif")[0][0, :, 0].tolist() == [255, 128, 0]


def test_a_row_of_16_bytes_is_no_colour_of_16_bits(tmp_path):
    image = Image.fromarray(np.arange(16 * 4, dtype=np.uint8).reshape(4, 16)).convert("P")
    image.save(tmp_path / "x.bmp")
    assert (decode(tmp_path / "x.bmp", intensity_range=(0, 4095))[0] == decode(tmp_path / "x.bmp")[0]).all()


LOSSY = [("jpg", {"quality": 60}), ("webp", {"quality": 60}), ("tif", {"compression": "jpeg"})]


@pytest.mark.parametrize("suffix, options", LOSSY, ids=[suffix for suffix, _ in LOSSY])
def test_losses_of_compression_are_not_on_the_object(tmp_path, suffix, options):
    rows, columns = np.mgrid[:64, :96]
    disc = (rows - 30) ** 2 + (columns - 45) ** 2 < 18**2
    path = tmp_path / f"x_mask.{suffix}"
    Image.fromarray((disc * 255).astype(np.uint8)).save(path, **options)
    with Image.open(path) as image:
        assert (np.asarray(image.convert("L"))[~disc] > 0).sum() > 50  # the losses are there
    assert np.array_equal(read_mask(path), disc)
    Image.new("L", (96, 64)).save(path, **options)
    assert not read_mask(path).any()
    Image.fromarray((disc * 9).astype(np.uint8)).save(path, **{**options, "quality": 95})
    with pytest.raises(InputError, match=f"x_mask.{suffix}: the mask's greatest value is .*; save it as PNG"):
        read_mask(path)


def test_labels_in_formats_without_losses_are_on_the_object(tmp_path):
    labels = np.array([[0, 1, 2, 255]], np.uint8).repeat(4, 0)
    for suffix, options in (("webp", {"lossless": True}), ("bmp", {}), ("tif", {}), ("png", {})):
        Image.fromarray(labels).save(tmp_path / f"x_mask.{suffix}", **options)
        assert read_mask(tmp_path / f"x_mask.{suffix}")[0].tolist() == [False, True, True, True], suffix


def test_a_mask_in_a_dicom_file_is_refused(tmp_path):
    (tmp_path / "x_mask.dcm").write_bytes(b"x")
    with pytest.raises(InputError, match="x_mask.dcm: a mask in a DICOM file is not read; save it as PNG"):
        read_mask(tmp_path / "x_mask.dcm")
