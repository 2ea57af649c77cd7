import numpy as np
import pytest
import torch
from PIL import Image

from protomask.data import load_data
from protomask.data.splitting import hold_out
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


def test_class_folders_alone_are_split_by_class_and_always_alike(folder_root):
    splits = load_data("folder", folder_root, seed=1)
    assert splits.train.classes == ("pears", "Äpfel")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 2, 4]
    names = [set(part.names) for part in (splits.train, splits.validation, splits.test)]
    assert len(set.union(*names)) == 20 and all("/" in name for name in names[0])
    assert splits.test.labels.bincount().tolist() == [2, 2]
    assert load_data("folder", folder_root, seed=1).test.names == splits.test.names
    others = [load_data("folder", folder_root, seed=seed) for seed in (2, 3, 4)]
    assert all(other.test.names == splits.test.names for other in others)
    assert any(other.validation.names != splits.validation.names for other in others)
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
    with pytest.raises(InputError, match=r"01.png: has no mask although \w+/00.png has \(00_mask.png\); add 01"):
        load_data("folder", split_root)


BAD_ROWS = [
    ("file,x0,y0,x1", "boxes.csv:1: no column 'y1'"),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,2,three,4", "boxes.csv:2: malformed row"),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,2", "boxes.csv:2: malformed row"),
    ("file,x0,y0,x1,y1\n\ntrain/pears/00.png,9,2,3,4", "boxes.csv:3: the box of train/pears/00.png is empty"),
    ("file,x0,y0,x1,y1\npears/00.png,1,2,3,4", "boxes.csv:2: no picture 'pears/00.png'"),
    (
        "file,x0,y0,x1,y1\ntrain/pears/00.png,0.1,0.2,0.8,0.9",
        "boxes.csv:2: the box of train/pears/00.png is less than a",
    ),
    (
        "file,x0,y0,x1,y1\ntrain/pears/00.png,0,0,1,1\ntrain/pears/00.png,0.1,0,0.9,1",
        "boxes.csv:3: the box of train/pears/00.png is less than a pixel wide or high; boxes are in pixels, not in sh",
    ),
    ("file,x0,y0,x1,y1\ntrain/pears/00.png,1,40,3,44", "box (1, 40, 3, 44) of train/pears/00.png lies outside"),
]


@pytest.mark.parametrize("text, says", BAD_ROWS, ids=[says for _, says in BAD_ROWS])
def test_bad_rows_are_named(split_root, text, says):
    (split_root / "boxes.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_data("folder", split_root)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_small_boxes_in_pixels_are_left_out(split_root):
    rows = ["1,2,9,2.5", "59.5,2,70,9", "0.2,0.1,0.6,0.9", "3,4,9,9"]
    lines = ["file,x0,y0,x1,y1", *(f"train/pears/00.png,{row}" for row in rows)]
    (split_root / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    train = load_data("folder", split_root, validation=0).train
    assert train[train.names.index("train/pears/00.png")]["boxes"].tolist() == [[3, 4, 9, 9]]


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
    for seed, (part, name) in enumerate((part, name) for part in ("train", "test") for name in ("ill", "well")):
        (tmp_path / part / name).mkdir(parents=True)
        values = np.random.default_rng(seed).permutation(np.arange(64, dtype=np.uint16) * 65).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / part / name / "x.png")
    (remark,) = load_data("folder", tmp_path, validation=0).remarks()
    assert "use 6% of their range (0 to 4095, in 4 looked at)" in remark and "intensity_range=(0, 4095)" in remark
    splits = load_data("folder", tmp_path, validation=0, intensity_range=(0, 4095))
    assert splits.remarks() == [] and int(splits.train.read(0)["image"].max()) == 255
    assert splits.train.fingerprint() != load_data("folder", tmp_path, validation=0).train.fingerprint()
    with pytest.raises(InputError, match="low less than high"):
        load_data("folder", tmp_path, intensity_range=(9, 3))


def _noise(path, seed, size=(96, 96), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path, **options)


@pytest.fixture
def spread(tmp_path):
    for seed, (part, name, number) in enumerate(
        (part, name, number) for part in ("train", "test") for name in ("a", "b") for number in range(3)
    ):
        _noise(tmp_path / part / name / f"{number}.png", seed)
    return tmp_path


@pytest.mark.parametrize(
    "train, test, validation",
    [
        ("Training", "Testing", None),
        ("TRAIN", "TEST", "Valid"),
        ("Train", "Test", "val"),
        ("training", "test", "Validation"),
    ],
)
def test_the_usual_names_of_splits_are_known(spread, train, test, validation):
    for old, new in (("train", "x"), ("x", train), ("test", "y"), ("y", test)):
        (spread / old).rename(spread / new)
    if validation:
        _noise(spread / validation / "a" / "0.png", 90)
    splits = load_data("folder", spread, validation=0)
    assert splits.train.classes == ("a", "b") and splits.train.names[0] == f"{train}/a/0.png"
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [6, int(validation is not None), 6]


@pytest.mark.parametrize("name", ["train1", "test_images", "Training-Set", "valset", "Test Data", "dev", "fold2"])
def test_what_looks_like_a_split_is_no_class_and_not_ignored(spread, name):
    _noise(spread / name / "a" / "0.png", 90)
    with pytest.raises(InputError, match=f"{name}/ looks like a split"):
        load_data("folder", spread)


def test_splits_of_other_names_alone_are_not_learned_as_classes(tmp_path):
    for name in ("fold1", "fold2"):
        _noise(tmp_path / name / "a.png", len(name))
    with pytest.raises(InputError, match="fold1/ looks like a split, not like a class"):
        load_data("folder", tmp_path)


def test_classes_that_only_begin_like_splits_are_classes(tmp_path):
    for seed, name in enumerate(("testis", "valve", "trainer", "evaluated")):
        for number in range(3):
            _noise(tmp_path / name / f"{number}.png", 10 * seed + number)
    assert load_data("folder", tmp_path, validation=0).train.classes == ("evaluated", "testis", "trainer", "valve")


def test_splits_within_classes_are_refused(tmp_path):
    for name in ("cat", "dog"):
        for part in ("Train", "Test"):
            _noise(tmp_path / name / part / "0.png", len(name + part))
    with pytest.raises(InputError, match="splits within a class"):
        load_data("folder", tmp_path)


def test_hidden_files_and_folders_do_not_count(spread):
    for hidden in (".thumbnails/0.png", "__MACOSX/0.png", "inner/.cache/0.png", "._0.png"):
        _noise(spread / "train" / "a" / hidden, 91)
    _noise(spread / "train" / ".hidden" / "0.png", 92)
    splits = load_data("folder", spread, validation=0)
    assert len(splits.train) == 6 and splits.train.classes == ("a", "b") and splits.remarks() == []


def test_what_is_not_read_is_said(spread):
    (spread / "train" / "a" / "0.heic").write_bytes(b"x")
    (spread / "train" / "b" / "1.HEIC").write_bytes(b"x")
    (spread / "test" / "b" / "9.avif").write_bytes(b"x")
    (spread / "notes.txt").write_text("no picture")
    for part in ("train", "test"):
        for path in list((spread / part).rglob("*.png")):
            Image.new("L", (96, 96)).save(path.with_name(f"{path.stem}_mask.png"))
    Image.new("L", (96, 96)).save(spread / "train" / "a" / "77_mask.png")
    _noise(spread / "train" / "loose.png", 93)
    remarks = load_data("folder", spread, validation=0).remarks()
    assert [remark.removeprefix(f"{spread}: ").split(";")[0] for remark in remarks] == [
        "1 mask without a picture of that name (first: train/a/77_mask.png)",
        "1 picture in no class folder of a split, so unread (first: train/loose.png)",
        "3 files of a kind that is not read (2 .heic, 1 .avif)",
    ]


def test_classes_without_a_test_picture_are_said(tmp_path):
    for seed in range(14):
        _noise(tmp_path / "aabbc"[seed % 5] / f"{seed}.png", seed)
    for path in sorted((tmp_path / "c").iterdir())[1:]:
        path.unlink()
    (remark,) = load_data("folder", tmp_path, validation=0).remarks()
    assert remark.startswith("1 of 3 classes without a test picture (c): what is measured on the test pictures")
    (tmp_path / "d").mkdir()
    _noise(tmp_path / "d" / "0.png", 20)
    (remark,) = load_data("folder", tmp_path, validation=0).remarks()
    assert remark.startswith("2 of 4 classes without a test picture (c, d)") and remark.endswith("those classes")


def test_copies_in_two_classes_and_in_two_splits_are_said(spread):
    (spread / "train" / "b" / "copy.png").write_bytes((spread / "train" / "a" / "0.png").read_bytes())
    near = Image.open(spread / "train" / "a" / "1.png").resize((64, 64), Image.Resampling.BICUBIC)
    near.save(spread / "test" / "a" / "near.jpg", quality=80)
    remarks = load_data("folder", spread, validation=0).remarks()
    assert len(remarks) == 2
    assert "1 picture in two classes at once (first: train/a/0.png and train/b/copy.png are copies)" in remarks[0]
    assert "1 test picture with a copy among those of train" in remarks[1] and "test/a/near.jpg" in remarks[1]


def test_the_split_keeps_copies_on_one_side(tmp_path):
    for seed in range(12):
        _noise(tmp_path / "ab"[seed % 2] / f"{seed}.png", seed)
    for copy, seed in enumerate((0, 1, 4, 5)):
        source = tmp_path / "ab"[seed % 2] / f"{seed}.png"
        Image.open(source).save(source.with_name(f"{seed} again.jpg"), quality=85)
    splits = load_data("folder", tmp_path, test=0.4, validation=0.4)
    sides = [
        {name.split("/")[1].split(" ")[0].split(".")[0] for name in part.names}
        for part in (splits.train, splits.validation, splits.test)
    ]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == 16
    assert splits.remarks() == []


def test_a_folder_of_nothing_but_copies_is_refused(tmp_path):
    for name in ("a", "b"):
        for number in range(4):
            _noise(tmp_path / name / f"{number}.png", ord(name))
    with pytest.raises(InputError, match="in no class are there pictures that are no copies of each other"):
        load_data("folder", tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "TIF", "webp"])
def test_masks_of_any_format_beside_their_pictures_are_masks(tmp_path, suffix):
    box = (30, 20, 70, 60)
    for seed in range(8):
        path = tmp_path / "ab"[seed % 2] / f"{seed}.jpg"
        _noise(path, seed)
        for extra, own in (("", box), ("_1", (0, 0, 8, 8))):
            Image.fromarray(object_mask(96, 96, own)).save(path.with_name(f"{seed}_mask{extra}.{suffix}"))
    _noise(tmp_path / "a" / "dog_mask.jpg", 50)  # a dog in a mask: no dog.jpg beside it
    with pytest.raises(InputError, match=r"dog_mask.jpg: .* a/0.jpg has \(0_mask\..*; add dog_mask_mask.png"):
        load_data("folder", tmp_path)
    Image.new("L", (96, 96)).save(tmp_path / "a" / "dog_mask_mask.gif")
    splits = load_data("folder", tmp_path, validation=0)
    names = sorted([*splits.train.names, *splits.test.names])
    assert names == sorted([f"{'ab'[seed % 2]}/{seed}.jpg" for seed in range(8)] + ["a/dog_mask.jpg"])
    expected = np.maximum(object_mask(96, 96, box), object_mask(96, 96, (0, 0, 8, 8))) > 0
    place = splits.train.names.index(next(name for name in splits.train.names if "dog" not in name))
    assert (splits.train[place]["mask"][0].numpy() != expected).mean() < 0.002
    assert splits.remarks() == []


def test_pictures_of_a_class_with_mask_are_pictures(tmp_path):
    for seed in range(10):
        name = ("with_mask", "without_mask")[seed % 2]
        _noise(tmp_path / name / f"{name}_{seed}.png", seed)
    splits = load_data("folder", tmp_path, validation=0)
    assert (len(splits.train), len(splits.test)) == (8, 2) and splits.remarks() == []
    (tmp_path / "with_mask").rename(tmp_path / "masked")
    with pytest.raises(InputError, match="masked: no pictures in this class folder but masks, as with_mask_0.png is"):
        load_data("folder", tmp_path)


def test_linked_folders_of_pictures_are_read_once_and_loops_are_not_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for seed in range(12):
        _noise(root / "ab"[seed % 2] / f"{seed}.png", seed)
    plain = load_data("folder", root, validation=0)
    for seed in range(20, 25):
        _noise(elsewhere / "more" / f"{seed}.png", seed)
    _noise(elsewhere / "more" / "deep" / "30.png", 30)
    links = [
        ("a/more", elsewhere / "more"),
        ("a/again", elsewhere / "more"),  # read once, by the first of its names
        ("a/deep", elsewhere / "more" / "deep"),  # lies in what is read by then
        ("a/loop", root / "a"),
        ("a/up", root),
    ]
    for name, target in links:
        (root / name).symlink_to(target, target_is_directory=True)
    (elsewhere / "more" / "back").symlink_to(root / "a", target_is_directory=True)
    (elsewhere / "more" / "out").symlink_to(elsewhere, target_is_directory=True)
    splits = load_data("folder", root, validation=0)
    names = sorted([*splits.train.names, *splits.test.names])
    added = [f"a/again/{seed}.png" for seed in range(20, 25)] + ["a/again/deep/30.png"]
    assert names == sorted([*plain.train.names, *plain.test.names, *added])
    assert splits.remarks() == []
    assert load_data("folder", root, validation=0).train.names == splits.train.names


def test_what_a_link_leads_to_is_not_called_unread(spread):
    for seed in range(3):
        _noise(spread / "pool" / f"{seed}.png", 60 + seed)
    _noise(spread / "pool" / "beside" / "0.png", 70)
    (spread / "train" / "a" / "more").symlink_to(spread / "pool", target_is_directory=True)
    splits = load_data("folder", spread, validation=0)
    assert len(splits.train) == 10 and splits.remarks() == []


@pytest.mark.parametrize("pictures", [10, 20])
def test_of_pictures_that_are_all_there_twice_the_whole_share_is_held_out(tmp_path, pictures):
    for seed in range(2 * pictures):
        path = tmp_path / "ab"[seed % 2] / f"{seed}.png"
        _noise(path, seed)
        _noise(path.with_suffix(".jpg"), seed, quality=92)
    splits = load_data("folder", tmp_path, validation=0.25)
    assert splits.test.labels.bincount().tolist() == [2 * pictures // 5] * 2
    assert splits.validation.labels.bincount().tolist() == [2 * pictures // 5] * 2
    sides = [{name.split(".")[0] for name in part.names} for part in (splits.train, splits.validation, splits.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2]) and splits.remarks() == []


@pytest.mark.parametrize("classes", [("bus", "train"), ("invalid", "valid")])
def test_a_class_may_be_called_like_a_split(tmp_path, classes):
    for seed in range(10):
        _noise(tmp_path / classes[seed % 2] / f"{seed}.png", seed)
    splits = load_data("folder", tmp_path, validation=0)
    assert splits.train.classes == classes and (len(splits.train), len(splits.test)) == (8, 2)
    (remark,) = splits.remarks()
    assert f"{classes[1]}/ holds pictures, so it is a class; as a split" in remark
    _noise(tmp_path / classes[1] / "cat" / "0.png", 20)
    with pytest.raises(InputError, match=f"has {classes[1]}/ but no (train|test)/; add it"):
        load_data("folder", tmp_path)


def test_pictures_without_classes_in_a_split_are_not_a_class(tmp_path):
    for seed in range(3):
        _noise(tmp_path / "train" / f"{seed}.png", seed)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    with pytest.raises(InputError, match="has train/ but no test/"):
        load_data("folder", tmp_path)
    _noise(tmp_path / "test" / "0.png", 9)
    with pytest.raises(InputError, match="train: no class folders in it"):
        load_data("folder", tmp_path)


@pytest.mark.parametrize("name", ["test", "Testing", "val", "validation"])
def test_pictures_alone_in_a_folder_to_measure_on_are_no_class(tmp_path, name):
    for seed in range(6):
        _noise(tmp_path / ("cat", "dog", name)[seed % 3] / f"{seed}.png", seed)
    with pytest.raises(InputError, match=f"has {name}/ but no train/; add it"):
        load_data("folder", tmp_path)


def test_copies_change_the_draw_of_their_own_class_alone(tmp_path):
    for seed in range(30):
        _noise(tmp_path / "abc"[seed % 3] / f"{seed:02d}.png", seed)
    for seed in range(1, 30, 3):
        _noise(tmp_path / "b" / f"{seed:02d}.jpg", seed, quality=92)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    drawn = [names[at] for at in hold_out(["abc".index(name[0]) for name in names], 0.2)[1].tolist()]
    splits = load_data("folder", tmp_path, validation=0.3)
    assert [name for name in splits.test.names if name[0] != "b"] == [name for name in drawn if name[0] != "b"]
    assert splits.test.labels.bincount().tolist() == [2, 4, 2] and splits.remarks() == []
