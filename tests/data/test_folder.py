import numpy as np
import pytest
import torch
from PIL import Image

from protomask.data import load_data
from protomask.errors import InputError
from tests.data.conftest import DOT, object_mask, scene


@pytest.fixture
def split_root(folder_root):
    """The same pictures in train/ (7), test/ (3); names with spaces and umlauts."""
    for name in ("Äpfel", "pears"):
        for part in ("train", "test"):
            (folder_root / part / name).mkdir(parents=True)
        for number, path in enumerate(sorted((folder_root / name).iterdir())):
            path.rename(folder_root / ("train" if number < 7 else "test") / name / path.name)
        (folder_root / name).rmdir()
    return folder_root


def test_class_folders_alone_are_split_by_seed_and_class(folder_root):
    splits = load_data("folder", folder_root, seed=1)
    assert splits.train.classes == ("pears", "Äpfel")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 2, 4]
    names = [set(part.names) for part in (splits.train, splits.validation, splits.test)]
    assert len(set.union(*names)) == 20 and all("/" in name for name in names[0])
    assert splits.test.labels.bincount().tolist() == [2, 2]
    assert load_data("folder", folder_root, seed=1).test.names == splits.test.names
    assert load_data("folder", folder_root, seed=2).test.names != splits.test.names
    assert len(load_data("folder", folder_root, test=0.5).test) == 10


def test_split_folders_and_their_validation(split_root):
    splits = load_data("folder", split_root, validation=0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 0, 6]
    assert splits.test.names[0] == "test/pears/07.png"
    (split_root / "val").mkdir()
    (split_root / "test" / "pears").rename(split_root / "val" / "pears")
    splits = load_data("folder", split_root)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 3, 3]


def test_other_files_are_ignored(split_root):
    (split_root / "train" / "pears" / "notes.txt").write_text("no picture")
    (split_root / "train" / ".cache").mkdir()
    assert len(load_data("folder", split_root, validation=0).train) == 14


def test_several_boxes_and_the_crop_around_them(split_root):
    rows = ["file,x0,y0,x1,y1,label", "train/Äpfel/01.png,12,8,30.5,20,x", "train/Äpfel/01.png,20,10,44,30,"]
    (split_root / "boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    train = load_data("folder", split_root, validation=0).train
    position = train.names.index("train/Äpfel/01.png")
    assert train[position]["boxes"].tolist() == [[12, 8, 30.5, 20], [20, 10, 44, 30]]
    assert train[position + 1]["boxes"].shape == (0, 4)
    cropped = load_data("folder", split_root, validation=0, crop=True).train
    sample = cropped[position]
    assert sample["boxes"].tolist() == [[0, 0, 18.5, 12], [8, 2, 32, 22]]
    assert torch.equal(sample["image"], torch.from_numpy(scene()[8:30, 12:44]).permute(2, 0, 1))
    assert cropped[position + 1]["image"].shape == (3, 40, 60)


def test_masks_beside_the_images_are_united(split_root):
    for path in split_root.rglob("*.png"):
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(path.with_name(f"{path.stem}_mask.png"))
    first = split_root / "train" / "pears" / "00.png"
    Image.fromarray(object_mask()).save(first.with_name("00_mask.png"))
    Image.fromarray(object_mask(box=(0, 0, 3, 3))).save(first.with_name("00_mask_1.png"))
    train = load_data("folder", split_root, validation=0).train
    assert len(train) == 14
    expected = np.maximum(object_mask(), object_mask(box=(0, 0, 3, 3))) // 255
    for _ in range(2):  # decoded, then from memory
        assert torch.equal(train[0]["mask"][0], torch.from_numpy(expected))
        assert train[1]["mask"].sum() == 0 and train[1]["mask"].dtype == torch.uint8
    first.with_name("01_mask.png").unlink()
    with pytest.raises(InputError, match="01.png: has no mask although others have; add 01_mask.png"):
        load_data("folder", split_root)


BAD_ROWS = [
    ("file,x0,y0,x1", "boxes.csv:1: no column 'y1'"),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,2,three,4", "boxes.csv:2: malformed row"),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,2", "boxes.csv:2: malformed row"),
    ("file,x0,y0,x1,y1\n\ntrain/pears/00.png,9,2,3,4", "boxes.csv:3: the box of train/pears/00.png is empty"),
    ("file,x0,y0,x1,y1\npears/00.png,1,2,3,4", "boxes.csv:2: no picture 'pears/00.png'"),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,40,3,44", "box (1, 40, 3, 44) of train/pears/00.png lies outside"),
]


@pytest.mark.parametrize("text, says", BAD_ROWS, ids=[says for _, says in BAD_ROWS])
def test_bad_rows_are_named(split_root, text, says):
    (split_root / "boxes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_data("folder", split_root)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_folders_say_what_was_expected(split_root, tmp_path):
    with pytest.raises(InputError, match="needs a root"):
        load_data("folder")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load_data("folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no class folders"):
        load_data("folder", tmp_path / "empty")
    (split_root / "train" / "quinces").mkdir()
    with pytest.raises(InputError, match="quinces: no pictures .* in this class folder"):
        load_data("folder", split_root)
    (split_root / "train" / "quinces").rename(split_root / "test" / "quinces")
    Image.fromarray(scene()).save(split_root / "test" / "quinces" / "a.png")
    with pytest.raises(InputError, match="class 'quinces' has no training image"):
        load_data("folder", split_root)
    (split_root / "test").rename(split_root / "tests")
    with pytest.raises(InputError, match="has train/ but no test/"):
        load_data("folder", split_root)


def test_one_class_is_not_enough(folder_root):
    (folder_root / "pears").rename(folder_root.parent / "pears")
    with pytest.raises(InputError, match="only 1 class"):
        load_data("folder", folder_root)


@pytest.mark.parametrize("image_size, cache", [(64, 0), (64, 1 << 30)])
def test_large_photographs_are_read_smaller_with_their_annotations(folder_root, image_size, cache):
    big = scene(1200, 800, (400, 280), (240, 160, 880, 600))
    big[240:321, 360:441] = DOT
    Image.fromarray(big).save(folder_root / "pears" / "big.jpg", quality=95)
    for path in [*folder_root.rglob("*.png"), folder_root / "pears" / "big.jpg"]:
        size = (800, 1200) if path.stem == "big" else (40, 60)
        mask = object_mask(1200, 800, (240, 160, 880, 600)) if path.stem == "big" else np.zeros(size, np.uint8)
        Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))
    (folder_root / "boxes.csv").write_text("file,x0,y0,x1,y1\npears/big.jpg,240,160,880,600\n")
    for crop in (False, True):
        splits = load_data("folder", folder_root, validation=0, crop=crop, image_size=image_size, cache=cache)
        data = next(part for part in (splits.train, splits.test) if "pears/big.jpg" in part.names)
        for _ in range(2):
            sample = data[data.names.index("pears/big.jpg")]
            height, width = sample["image"].shape[1:]
            assert 1.5 * 64 <= min(height, width) <= 3 * 64
            x0, y0, x1, y1 = (round(side) for side in sample["boxes"][0].tolist())
            assert (x1 - x0) / (y1 - y0) == pytest.approx(640 / 440, rel=0.05)
            assert sample["mask"][0].sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.03)
            x, y = x0 + (x1 - x0) // 4, y0 + (y1 - y0) * 12 // 44
            assert np.abs(sample["image"][:, y, x].int().numpy() - DOT).max() < 40


def test_pictures_of_12_bits_in_16_are_remarked_on_once(tmp_path, caplog):
    for part, name in [(part, name) for part in ("train", "test") for name in ("ill", "well")]:
        (tmp_path / part / name).mkdir(parents=True)
        values = np.arange(0, 4096, 65, dtype=np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / part / name / "x.png")
    (remark,) = load_data("folder", tmp_path, validation=0).remarks
    assert "use 6% of their range (0 to 4095, in 4 looked at)" in remark and "intensity_range=(0, 4095)" in remark
    splits = load_data("folder", tmp_path, validation=0, intensity_range=(0, 4095))
    assert splits.remarks == () and int(splits.train.read(0)["image"].max()) == 255
    assert splits.train.fingerprint() != load_data("folder", tmp_path, validation=0).train.fingerprint()
    with pytest.raises(InputError, match="low less than high"):
        load_data("folder", tmp_path, intensity_range=(9, 3))
