import csv

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.data import load_data, splitting
from protomask.data.duplicates import near_duplicate_groups
from protomask.data.splitting import hold_out, hold_out_copies, hold_out_groups
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError

CLASSES = ("benign", "malignant", "normal")
LESION = (12, 8, 44, 30)
SECOND = (50, 2, 58, 9)


def speckle(seed, width=60, height=40):
    """A grey image like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_mask(path, box=None):
    mask = np.zeros((40, 60), np.uint8)
    if box:
        mask[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(mask).convert("1").save(path)


@pytest.fixture
def busi_root(tmp_path):
    """The published layout, 12 images of each class; the first three benign ones are copies, marked or brightened.

    ``benign (4)`` has two lesions; normal images have empty masks.
    """
    root = tmp_path / "Dataset_BUSI_with_GT"
    for at, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(1, 13):
            copy = name == "benign" and number <= 3
            image = speckle(0 if copy else 100 * at + number)
            if copy and number == 2:
                image.putpixel((5, 5), 255)
            if copy and number == 3:
                image = image.point(lambda value: value * 0.8 + 20)
            image.save(root / name / f"{name} ({number}).png")
            write_mask(root / name / f"{name} ({number})_mask.png", None if name == "normal" else LESION)
    write_mask(root / "benign" / "benign (4)_mask_1.png", SECOND)
    return root


def annotate(root, rows, header="file,label,split,group,width"):
    (root / "annotations.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def rows_of(root):
    """Four images of each class for each split, in groups of two."""
    sides = ("train", "train", "test")
    return [
        f"{name}/{name} ({number}).png,{name},{sides[(number - 1) // 4]},{100 * at + (number + 1) // 2},60"
        for at, name in enumerate(CLASSES)
        for number in range(1, 13)
    ]


@pytest.mark.parametrize("inside", [True, False])
def test_the_published_layout_is_split_by_class_and_keeps_copies_together(busi_root, inside):
    splits = load_data("busi", busi_root if inside else busi_root.parent, validation=0.2, seed=3)
    parts = (splits.train, splits.validation, splits.test)
    assert splits.train.classes == CLASSES
    assert sum(len(part) for part in parts) == 36 and len({name for part in parts for name in part.names}) == 36
    assert splits.test.labels.bincount().tolist() == [3, 3, 3]
    assert splits.validation.labels.bincount().tolist() == [2, 2, 2]
    for seed in range(6):
        splits = load_data("busi", busi_root, validation=0.2, seed=seed)
        copies = {f"benign/benign ({number}).png" for number in (1, 2, 3)}
        held = [len(copies & set(part.names)) for part in (splits.train, splits.validation, splits.test)]
        assert sorted(held) == [0, 0, 3], seed
    assert load_data("busi", busi_root, seed=5).test.names == load_data("busi", busi_root, seed=5).test.names
    assert load_data("busi", busi_root, seed=4).test.names != load_data("busi", busi_root, seed=5).test.names


def test_lesions_are_united_in_the_mask_and_boxed_one_by_one(busi_root):
    annotate(busi_root, rows_of(busi_root))
    train = load_data("busi", busi_root, validation=0).train
    sample = train[train.names.index("benign/benign (4).png")]
    expected = torch.zeros(40, 60, dtype=torch.uint8)
    for x0, y0, x1, y1 in (LESION, SECOND):
        expected[y0:y1, x0:x1] = 1
    assert torch.equal(sample["mask"][0], expected) and sample["mask"].dtype == torch.uint8
    assert sample["boxes"].tolist() == [list(LESION), list(SECOND)]
    normal = train[train.names.index("normal/normal (1).png")]
    assert normal["mask"].sum() == 0 and normal["boxes"].shape == (0, 4)
    assert CLASSES[normal["label"]] == "normal"


def test_grey_images_have_three_equal_channels_also_after_the_transform(busi_root):
    train = load_data("busi", busi_root, validation=0).train
    place = 7
    image = train[place]["image"]
    with Image.open(busi_root / train.names[place]) as stored:
        grey = torch.from_numpy(np.array(stored))
    assert image.dtype == torch.uint8 and all(torch.equal(channel, grey) for channel in image)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ready = train.with_transform(evaluation_transform(32, mean, std))[place]["image"]
    back = ready * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    torch.testing.assert_close(back[0], back[1])
    torch.testing.assert_close(back[0], back[2])


def test_annotations_give_the_split_and_validation_keeps_groups_whole(busi_root):
    rows = rows_of(busi_root)
    annotate(busi_root, rows)
    splits = load_data("busi", busi_root, validation=0.25, seed=1)
    group = {row.split(",")[0]: row.split(",")[3] for row in rows}
    test = {row.split(",")[0] for row in rows if ",test," in row}
    assert set(splits.test.names) == test
    sides = [{group[name] for name in part.names} for part in (splits.train, splits.validation, splits.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert splits.validation.labels.bincount().tolist() == [2, 2, 2]
    assert len(load_data("busi", busi_root, validation=0).validation) == 0
    annotate(
        busi_root, [row.replace(",train,3,", ",validation,3,").replace(",train,4,", ",validation,4,") for row in rows]
    )
    kept = load_data("busi", busi_root, validation=0.25)
    assert set(kept.validation.names) == {name for name, number in group.items() if number in "34"}


@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            "benign/benign (1).png,begin,train,1",
            ":2: label 'begin' is unknown; it must be one of benign, malignant, normal",
        ),
        (
            "benign/benign (1).png,benign,training,1",
            ":2: split 'training' is unknown; it must be one of train, validation, test",
        ),
        ("benign/benign (1).png,benign,train,x", ":2: group 'x' is no whole number"),
        (",benign,train,1", ":2: no file"),
        ("benign/benign (2).png,benign,test,1", ":3: group 1 is in test and in train; put near-duplicates on one side"),
        ("benign/benign (2).png,benign,train,1", r":4: benign/benign \(2\).png occurs twice"),
        (
            "/elsewhere/b.png,benign,train,77",
            ":2: /elsewhere/b.png is no path below the data set's folder; write it as",
        ),
        ("benign/../../b.png,benign,train,77", ":2: benign/../../b.png is no path below the data set's folder"),
        ("benign/gone.png,benign,train,77", "gone.png: no such image file; restore it, or remove the row"),
    ],
)
def test_wrong_rows_are_named(busi_root, wrong, message):
    annotate(busi_root, [wrong, *rows_of(busi_root)])
    with pytest.raises(InputError, match=message):
        load_data("busi", busi_root)


def test_rows_against_their_folders_and_pictures_without_rows_are_said(busi_root):
    rows = rows_of(busi_root)
    annotate(busi_root, rows)
    assert load_data("busi", busi_root).remarks() == []
    annotate(busi_root, [rows[0].replace(",benign,", ",malignant,"), *rows[1:10], *rows[12:]])
    unread, other = (remark.removeprefix(f"{busi_root / 'annotations.csv'}: ") for remark in _remarks(busi_root))
    assert unread.startswith("2 pictures in the class folders without a row in annotations.csv, so unread (first: ben")
    assert unread.endswith("(first: benign/benign (11).png); add rows for them, or move them away")
    assert other.startswith("1 row whose label is not their folder (first: line 2, benign/benign (1).png is malignant)")
    (busi_root / "annotations.csv").unlink()
    assert _remarks(busi_root) == []


def _remarks(root):
    return load_data("busi", root).remarks()


def test_further_folders_beside_the_classes_are_not_looked_into(busi_root):
    whole = load_data("busi", busi_root)
    (busi_root / "notes").mkdir()
    (busi_root / "notes" / "a.txt").write_text("no picture")
    assert load_data("busi", busi_root).train.names == whole.train.names


@pytest.mark.parametrize("suffix", ["bmp", "jpg"])
def test_images_and_masks_may_be_of_other_formats(busi_root, suffix):
    whole = load_data("busi", busi_root)
    for path in list(busi_root.rglob("*.png")):
        with Image.open(path) as image:
            image.convert("L").save(path.with_suffix(f".{suffix}"), **({"quality": 90} if suffix == "jpg" else {}))
        path.unlink()
    splits = load_data("busi", busi_root)
    parts = (splits.train, splits.validation, splits.test)
    assert sum(map(len, parts)) == sum(len(part) for part in (whole.train, whole.validation, whole.test)) == 36
    name = f"benign/benign (4).{suffix}"
    part = next(part for part in parts if name in part.names)
    assert part[part.names.index(name)]["boxes"].tolist() == [list(LESION), list(SECOND)]


def test_wrong_folders_are_named(busi_root, tmp_path):
    with pytest.raises(InputError, match="needs a root"):
        load_data("busi")
    with pytest.raises(InputError, match="no such folder"):
        load_data("busi", tmp_path / "nowhere")
    annotate(busi_root, rows_of(busi_root), header="file,label,split,width,height")
    with pytest.raises(InputError, match="annotations.csv:1: no column 'group'"):
        load_data("busi", busi_root)
    (busi_root / "normal").rename(tmp_path / "normal")
    with pytest.raises(InputError, match="expected the folders benign, malignant, normal"):
        load_data("busi", busi_root)


def test_a_missing_or_damaged_mask_is_named(busi_root):
    path = busi_root / "malignant" / "malignant (5)_mask.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"malignant \(5\)_mask.png: cannot be read as an image"):
        load_data("busi", busi_root)
    path.unlink()
    with pytest.raises(InputError, match=r"malignant \(5\).png: has no mask although benign/"):
        load_data("busi", busi_root)


def test_near_duplicates_are_chained_and_constant_images_are_none(busi_root, tmp_path):
    paths = [busi_root / "benign" / f"benign ({number}).png" for number in range(1, 8)]
    assert near_duplicate_groups(paths).tolist() == [0, 0, 0, 3, 4, 5, 6]
    assert near_duplicate_groups(paths[::-1]).tolist() == [0, 1, 2, 3, 4, 4, 4]
    black = []
    for number in range(2):
        black.append(tmp_path / f"{number}.png")
        Image.new("RGB", (20, 30)).save(black[-1])
    assert near_duplicate_groups(black).tolist() == [0, 1]
    assert near_duplicate_groups([]).tolist() == []


def test_groups_are_held_out_whole_and_classes_keep_their_share():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 4)
    groups = torch.cat(
        [
            torch.arange(40),
            torch.randint(0, 40, (10,), generator=generator),
            torch.arange(100, 130),
            torch.tensor([200, 200, 201, 201]),
        ]
    )
    for seed in range(5):
        kept, held = hold_out_groups(labels, groups, 0.2, seed)
        assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(84))
        assert not set(groups[kept].tolist()) & set(groups[held].tolist())
        # 20 % of 4 is 1, and the groups have 2: one of them goes, as something should.
        assert labels[held].bincount(minlength=3).tolist() == [10, 6, 2]
        assert torch.equal(hold_out_groups(labels, groups, 0.2, seed)[1], held)
    assert len({tuple(hold_out_groups(labels, groups, 0.2, seed)[1].tolist()) for seed in range(5)}) == 5
    assert hold_out_groups(labels, groups, 0)[1].numel() == 0


def test_a_group_that_is_all_of_a_class_stays():
    labels, groups = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([7, 7, 7, 1, 2, 7])
    kept, held = hold_out_groups(labels, groups, 0.5)
    assert labels[held].tolist() == [1] or labels[held].tolist() == [1, 1]
    assert {0, 1, 2, 5} <= set(kept.tolist())


def test_the_real_images(real_data):
    root = real_data / "busi"
    if not root.is_dir():
        pytest.skip(f"{root}: not there")
    with (root / "annotations.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    splits = load_data("busi", root, image_size=224, cache=0)
    parts = (splits.train, splits.validation, splits.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[295, 142, 90], [33, 16, 10], [109, 52, 33]]
    groups = [{rows[name]["group"] for name in part.names} for part in parts]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    # benign (100) has two lesions.
    for name in ("benign/benign (100).jpg", "malignant/malignant (1).jpg", "normal/normal (2).jpg"):
        part = next(part for part in parts if name in part.names)
        sample, row = part[part.names.index(name)], rows[name]
        assert sample["image"].shape == (3, int(row["height"]), int(row["width"]))
        assert sample["mask"].float().mean().item() == pytest.approx(float(row["mask_fraction"]), abs=1e-4)
        if row["x"]:
            boxes = sample["boxes"]
            assert len(boxes) == int(row["n_masks"])
            x, y, w, h = (int(row[side]) for side in "xywh")
            assert [*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist()] == [x, y, x + w, y + h]
        else:
            assert len(sample["boxes"]) == 0


def test_only_classes_whose_copies_are_torn_are_drawn_anew():
    labels = torch.arange(60) % 6
    drawn = hold_out(labels, 0.2)[1]
    held = torch.isin(torch.arange(60), drawn)

    def copies(*pairs):
        groups = torch.arange(60)
        for one, other in pairs:
            groups[other] = groups[one]
        return groups

    def of(label, taken):
        return ((labels == label) & taken).nonzero().flatten().tolist()

    whole = copies(of(0, held), of(1, ~held)[:2])
    assert torch.equal(hold_out_copies(labels, whole, 0.2)[1], drawn)
    # classes 2 and 3 share a picture, on two sides; 4 shares one with 3 that is on one side
    torn = copies((of(2, held)[0], of(3, ~held)[0]), (of(3, ~held)[1], of(4, ~held)[0]))
    kept, again = hold_out_copies(labels, torn, 0.2)
    assert sorted([*kept.tolist(), *again.tolist()]) == list(range(60))
    assert not set(torn[kept].tolist()) & set(torn[again].tolist())
    same = torch.isin(labels[drawn], torch.tensor([0, 1, 5]))
    assert set(drawn[same].tolist()) <= set(again.tolist()) and labels[again].bincount().tolist() == [2] * 6
    nothing = hold_out_copies([], torch.empty(0, dtype=torch.long), 0.2)
    assert [len(part) for part in nothing] == [0, 0]


def test_copies_in_many_classes_need_no_table_of_groups_and_classes(monkeypatch):
    labels, groups = torch.arange(4000) % 1000, torch.arange(4000)
    groups[2000:3000] = groups[:1000]
    sizes, real = [], splitting.hold_out_groups
    monkeypatch.setattr(
        splitting, "hold_out_groups", lambda labels, *more: sizes.append(len(labels)) or real(labels, *more)
    )
    kept, held = hold_out_copies(labels, groups, 0.25)
    assert len(sizes) > 400 and set(sizes) == {4}
    assert labels[held].bincount(minlength=1000).max() <= 2 and not set(groups[kept].tolist()) & set(
        groups[held].tolist()
    )
