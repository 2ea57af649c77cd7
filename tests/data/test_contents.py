"""What a run knows of its data: every split, every byte, fast the second time."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from protomask.data import contents, duplicates, load_data, remembered
from protomask.data.contents import data_change, file_digests, split_contents
from protomask.data.duplicates import copy_groups, near_duplicate_groups


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def known(root, name="cub"):
    splits = load_data(name, root)
    return {"fingerprint": splits.train.fingerprint(), "contents": split_contents(splits)}


def change(before, root, name="cub"):
    return data_change(before, load_data(name, root))


def flip(path):
    """The same size, the same length: one pixel of a BMP-like PNG changed and saved without compression."""
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    size = path.stat().st_size
    Image.fromarray(pixels).save(path)
    with path.open("ab") as file:
        file.write(bytes(max(0, size - path.stat().st_size)))


@pytest.mark.parametrize(
    "image, part",
    [("003.Blue_Bird/bird 2.png", "test"), ("007.Löffler/bird 3.png", "test"), ("003.Blue_Bird/bird 0.png", "train")],
)
def test_a_flipped_pixel_is_noticed_wherever_it_is(cub_root, image, part):
    before = known(cub_root)
    assert change(before, cub_root) == ""
    flip(cub_root / "images" / image)
    after = known(cub_root)["contents"]
    assert [name for name in after if after[name] != before["contents"][name]] in ([part], ["validation"])
    assert change(before, cub_root) != ""


def test_a_flipped_pixel_of_a_mask_and_a_moved_part_are_noticed(cub_root):
    before = known(cub_root)
    flip(cub_root / "segmentations" / "003.Blue_Bird" / "bird 3.png")
    assert change(before, cub_root) == "images or annotations for test differ"
    before = known(cub_root)
    table = cub_root / "parts" / "part_locs.txt"
    table.write_text(table.read_text().replace("19 2 20.5", "19 2 21.5"))
    assert change(before, cub_root) == "images or annotations for test differ"


def test_swapped_labels_and_a_removed_image_of_the_test_split_are_noticed(cub_root):
    before, labels = known(cub_root), cub_root / "image_class_labels.txt"
    text = labels.read_text()
    labels.write_text(text.replace("19 3", "19 7").replace("119 7", "119 3"))
    assert change(before, cub_root) == "images or annotations for test differ"
    labels.write_text(text)
    assert change(before, cub_root) == ""
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs"):
        table = cub_root / f"{name}.txt"
        table.write_text("".join(line for line in table.read_text().splitlines(True) if not line.startswith("226 ")))
    assert change(before, cub_root) == "images or annotations for test differ"


def test_a_moved_folder_is_the_same_data(cub_root):
    before = known(cub_root)
    moved = cub_root.with_name("elsewhere")
    cub_root.rename(moved)
    assert change(before, moved) == ""


def test_runs_of_older_versions_open_as_they_did(cub_root):
    before = known(cub_root)
    flip(cub_root / "images" / "003.Blue_Bird" / "bird 2.png")
    assert change({"fingerprint": before["fingerprint"]}, cub_root) == "" == change({}, cub_root)


def test_files_are_read_once_while_size_and_time_are_the_same(cub_root, tmp_path, monkeypatch):
    paths = sorted((cub_root / "images").rglob("*.png"))
    read, real = [], contents.content_digest
    monkeypatch.setattr(contents, "content_digest", lambda path, *given: read.append(path) or real(path, *given))
    first = file_digests(paths, tmp_path)
    assert sorted(read) == paths
    read.clear()
    assert file_digests(paths, tmp_path) == first and sorted(read) == paths  # too young to be sure
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    file_digests(paths, tmp_path)
    read.clear()
    assert file_digests(paths, tmp_path) == first and read == []
    os.utime(paths[3], ns=(1, 1))
    assert file_digests(paths, tmp_path) == first and read == [paths[3]]
    (cache,) = (tmp_path / "contents").iterdir()
    cache.write_text("{damaged")
    assert file_digests(paths, tmp_path) == first
    assert file_digests(paths, paths[0]) == first  # a cache that cannot be written


def noise(path, seed):
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 10, 3), dtype=np.uint8))
    small.resize((50, 40)).save(path)
    return path


@pytest.mark.parametrize("groups", [copy_groups, near_duplicate_groups])
def test_pictures_are_decoded_once_to_find_copies(tmp_path, monkeypatch, groups):
    paths = [noise(tmp_path / f"{number}.png", number) for number in range(6)]
    paths[5].write_bytes(paths[2].read_bytes())
    decoded, real = [], duplicates.thumbnail
    monkeypatch.setattr(duplicates, "thumbnail", lambda path, side: decoded.append(path) or real(path, side))
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    assert groups(paths).tolist() == [0, 1, 2, 3, 4, 2] and sorted(decoded) == paths
    decoded.clear()
    assert groups(paths).tolist() == [0, 1, 2, 3, 4, 2] and decoded == []
    noise(paths[2], 9)
    assert groups(paths).tolist() == [0, 1, 2, 3, 4, 5] and decoded == [paths[2]]
    noise(paths[4], 3)
    (cache,) = (tmp_path / "cache" / "protomask").glob("thumbnails-*/*.json")
    rows = {
        name: [key, "QUJD" * place + "!"]
        for place, (name, (key, _)) in enumerate(json.loads(cache.read_text()).items())
    }
    cache.write_text(json.dumps(rows))
    assert groups(paths).tolist() == [0, 1, 2, 3, 3, 5]  # a damaged cache: decoded again


@pytest.mark.parametrize("kind", ["float.tif", "12 bits.png", "16 bits.png", "8 bits.png"])
def test_copies_of_deep_pictures_are_found_and_others_are_not(tmp_path, kind):
    makers = {"float": np.float32, "12 bits": np.uint16, "16 bits": np.uint16, "8 bits": np.uint8}
    name, suffix = kind.split(".")
    paths = []
    for number in range(4):
        noise(tmp_path / "grey.png", number % 3)
        grey = np.asarray(Image.open(tmp_path / "grey.png").convert("L")).astype(makers[name])
        grey = grey / 255 if name == "float" else grey * {"12 bits": 8, "16 bits": 257}.get(name, 1)
        paths.append(tmp_path / f"{number}.{suffix}")
        packed = {"compression": "tiff_lzw" if number == 3 else None} if suffix == "tif" else {"compress_level": number}
        Image.fromarray(grey).save(paths[-1], **packed)
    assert copy_groups(paths).tolist() == [0, 1, 2, 0]


def test_an_upright_export_of_a_picture_that_lies_on_its_side_is_a_copy(tmp_path):
    upright = Image.open(noise(tmp_path / "upright.png", 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lies.jpg", quality=95, exif=exif)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "other.jpg", quality=95)
    paths = [tmp_path / name for name in ("upright.png", "lies.jpg", "other.jpg")]
    assert copy_groups(paths).tolist() == [0, 0, 2]


def test_a_picture_that_cannot_be_decoded_is_tried_again(tmp_path, monkeypatch):
    paths = [noise(tmp_path / f"{number}.png", number) for number in range(3)]
    whole = paths[0].read_bytes()
    paths[1].write_bytes(whole[:70])
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    assert copy_groups(paths).tolist() == [0, 1, 2]
    paths[1].write_bytes(whole)
    assert copy_groups([*paths, tmp_path / "missing.png"]).tolist() == [0, 0, 2, 3]
