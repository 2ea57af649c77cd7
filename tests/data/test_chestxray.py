"""NIH ChestX-ray14 as published, on a small folder of its shape."""

import shutil

import pytest
import torch
from PIL import Image

from protomask.data import collate, contents, load_data, remembered, reopen_data
from protomask.data.problems import collecting
from protomask.data.splitting import hold_out, hold_out_groups
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.errors import InputError
from tests.data.chestxray_folder import FINDINGS, PLACES, PUBLISHED, SIDE, write_chestxray

BOX = PUBLISHED * SIDE


@pytest.fixture
def root(tmp_path):
    return write_chestxray(tmp_path / "ChestX-ray 14")


def patients(images):
    return {name.split("_")[0] for name in images.names}


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_findings_lists_and_validation_by_patients(root):
    splits = load_data("chestxray", root, validation=0.25)
    assert splits.train.classes == FINDINGS and splits.train.multi_label
    assert len(splits.train) + len(splits.validation) == 32 and len(splits.test) == 16
    assert 0 < len(splits.validation) <= 10
    sides = [patients(part) for part in (splits.train, splits.validation, splits.test)]
    assert not sides[0] & sides[1] and not sides[1] & sides[2] and not sides[0] & sides[2]
    assert splits.train.labels.sum(0).min() > 0
    # Patient 4 has Effusion and Mass, patient 5 nothing; both are for training or validation.
    every = {
        name: part.truth(place) for part in (splits.train, splits.validation) for place, name in enumerate(part.names)
    }
    assert every["00000004_001.png"] == ("Effusion", "Mass") and every["00000005_000.png"] == ()
    assert len(load_data("chestxray", root, validation=0).validation) == 0
    assert load_data("chestxray", root, seed=1).test.fingerprint() == splits.test.fingerprint()


def test_images_are_grey_in_three_channels_and_boxes_belong_to_findings(root):
    test = load_data("chestxray", root).test
    place = test.names.index("00000012_000.png")
    sample = test[place]
    assert sample["image"].shape == (3, 64, 64) and (sample["image"][0] == sample["image"][2]).all()
    assert sample["label"].tolist() == [0, 1, 1]
    boxes = {FINDINGS[int(label)]: box.tolist() for label, box in zip(sample["box_labels"], sample["boxes"])}
    for finding in ("Effusion", "Mass"):
        top, left = PLACES[finding]
        assert boxes[finding] == [left, top, left + SIDE, top + SIDE]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    batch = collate([test.with_transform(evaluation_transform(32, mean, std))[at] for at in (place, 0)])
    assert batch["labels"].shape == (2, 3) and batch["labels"].dtype == torch.float32
    assert len(batch["box_labels"][0]) == len(batch["boxes"][0]) == 2 and len(batch["box_labels"][1]) == len(
        batch["boxes"][1]
    )
    # Grey is the same grey in every channel, whatever the normalisation.
    raw = batch["images"] * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    torch.testing.assert_close(raw[:, 0], raw[:, 2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (2048, 512)])
def test_boxes_are_scaled_to_images_of_another_size_than_the_published(root, size):
    name = "00000012_000.png"
    file = next(root.rglob(name))
    Image.open(file).resize(size, Image.Resampling.NEAREST).save(file)
    test = load_data("chestxray", root).test
    sample = test[test.names.index(name)]
    mass = sample["boxes"][FINDINGS.index("Mass") == sample["box_labels"]].squeeze(0)
    (top, left), wide, high = PLACES["Mass"], size[0] / 64, size[1] / 64
    assert mass.tolist() == [left * wide, top * high, (left + SIDE) * wide, (top + SIDE) * high]


def test_a_box_outside_the_published_image_is_refused_at_any_size(root):
    lines = (root / "BBox_List_2017.csv").read_text().splitlines()
    name, finding = lines[1].split(",")[:2]
    edit(root / "BBox_List_2017.csv", lines[1], f"{name},{finding},1024,0,90,90,,,")
    with pytest.raises(InputError, match=f"BBox_List_2017.csv:2: the box .* of {name} lies outside its image"):
        load_data("chestxray", root)


def test_labels_of_boxes_follow_boxes_out_of_the_frame(root):
    test = load_data("chestxray", root).test
    torch.manual_seed(0)
    moved = test.with_transform(training_transform(32, (0.5,) * 3, (0.5,) * 3))
    for _turn in range(20):
        sample = moved[test.names.index("00000012_000.png")]
        assert len(sample["boxes"]) == len(sample["box_labels"])


def test_one_folder_of_images_and_no_boxes(tmp_path):
    root = write_chestxray(tmp_path / "flat", folders=False)
    (root / "BBox_List_2017.csv").unlink()
    (root / "Data_Entry_2017.csv").rename(root / "Data_Entry_2017_v2020.csv")
    sample = load_data("chestxray", root).test[0]
    assert len(sample["boxes"]) == 0 and len(sample["box_labels"]) == 0


def test_the_list_of_boxes_calls_infiltration_infiltrate(root):
    edit(root / "Data_Entry_2017.csv", "00000001_000.png,Atelectasis", "00000001_000.png,Infiltration")
    edit(root / "Data_Entry_2017.csv", "00000006_000.png,Effusion", "00000006_000.png,Infiltration")
    edit(root / "BBox_List_2017.csv", "00000006_000.png,Effusion", "00000006_000.png,Infiltrate")
    test = load_data("chestxray", root, validation=0).test
    assert test.classes == ("Atelectasis", "Effusion", "Infiltration", "Mass")
    assert test[test.names.index("00000006_000.png")]["box_labels"].tolist() == [2]


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("Data_Entry_2017.csv", "Finding Labels", "Findings", r"Data_Entry_2017.csv:1: no column 'Finding Labels'"),
        ("Data_Entry_2017.csv", "Atelectasis,0,1,", "Gout,0,1,", r"Data_Entry_2017.csv:2: finding 'Gout' is unknown"),
        (
            "Data_Entry_2017.csv",
            "Atelectasis,0,1,",
            "Atelectasis,0,one,",
            r"csv:2: Patient ID 'one' is no whole number",
        ),
        ("Data_Entry_2017.csv", "00000001_001.png", "00000001_000.png", r"csv:3: 00000001_000.png occurs twice"),
        ("Data_Entry_2017.csv", ",Atelectasis,0,1,58,M,PA,2682,2749,0.143,0.143,", "", r"csv:2: 1 cells"),
        (
            "train_val_list.txt",
            "00000001_000.png",
            "99999999_000.png",
            r"train_val_list.txt:1: 99999999_000.png is not in .*Data_Entry",
        ),
        (
            "train_val_list.txt",
            "00000001_001.png",
            "00000001_000.png",
            r"train_val_list.txt:2: 00000001_000.png occurs twice",
        ),
        (
            "train_val_list.txt",
            "00000001_001.png",
            "00000003_000.png",
            r"patient 3 of 00000003_000.png is in train_val_list.txt too",
        ),
        ("BBox_List_2017.csv", f"{BOX}.0,{BOX}", f"{BOX}.0", r"BBox_List_2017.csv:2: malformed row"),
        ("BBox_List_2017.csv", f"{BOX}.0,{BOX}", f"-1,{BOX}", r"BBox_List_2017.csv:2: the box of .* is empty"),
        ("BBox_List_2017.csv", "0000", "9900", r"BBox_List_2017.csv:2: 9900.* is not in the file of labels"),
    ],
)
def test_faults_are_named_by_file_and_line(root, file, old, new, message):
    edit(root / file, old, new)
    with pytest.raises(InputError, match=message):
        load_data("chestxray", root)


def test_missing_pieces_are_named(root, tmp_path):
    (root / "images_001" / "images" / "00000002_000.png").unlink()
    with pytest.raises(
        InputError,
        match="train_val_list.txt: 1 of its 32 images are in none of the image folders, first 00000002_000.png",
    ):
        load_data("chestxray", root)
    (root / "test_list.txt").unlink()
    with pytest.raises(InputError, match="has no test_list.txt"):
        load_data("chestxray", root)
    with pytest.raises(InputError, match="needs a root"):
        load_data("chestxray")
    with pytest.raises(InputError, match="no such folder"):
        load_data("chestxray", tmp_path / "nowhere")


def test_two_images_of_one_name_are_named_unless_they_are_copies(root):
    name = "00000002_000.png"
    first = next(root.rglob(name))
    second = root / "images_099" / "images" / name
    second.parent.mkdir(parents=True)
    before = load_data("chestxray", root)
    second.write_bytes(first.read_bytes())
    assert load_data("chestxray", root).train.fingerprint() == before.train.fingerprint()
    Image.new("L", (64, 64)).save(second)
    with pytest.raises(
        InputError,
        match="^1 listed image lies in .*images_001/images and in .*images_099/images, and differs; move one",
    ):
        load_data("chestxray", root)
    second.rename(second.with_name("00009999_000.png"))  # that no list names
    Image.new("L", (64, 64), 9).save(first.with_name("00009999_000.png"))
    load_data("chestxray", root)


def test_resized_copies_beside_the_originals_are_named_once_and_are_a_remark_of_a_run(root):
    before = load_data("chestxray", root)
    small = root / "images_32"
    small.mkdir()
    originals = [path for path in root.glob("images_0*/images/*.png") if path.stem.endswith("_000")]
    for path in originals:
        Image.open(path).resize((32, 32)).save(small / path.name)
    with pytest.raises(
        InputError, match=r"^12 listed images lie in .*images_001/images and in .*images_32, and differ;"
    ):
        load_data("chestxray", root)
    with collecting() as found:
        load_data("chestxray", root)
    assert len(found) == 2
    again = reopen_data("chestxray", root)
    assert list(again.train.paths) == list(before.train.paths)
    assert [remark.partition("; ")[2] for remark in again.remarks()] == ["those in the first are read"] * 2
    assert not before.remarks()


def test_copies_are_read_once(root, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    shutil.copytree(root / "images_001", root / "images_099")
    read, digest = [], contents.content_digest
    monkeypatch.setattr(contents, "content_digest", lambda path, *given: read.append(path) or digest(path, *given))
    load_data("chestxray", root)
    assert len(read) == 2 * len(list((root / "images_099").rglob("*.png")))
    read.clear()
    load_data("chestxray", root)
    assert not read


def test_held_out_groups_of_findings_keep_their_share_of_images_without_any():
    labels = torch.zeros(100, 2)
    labels[:20, 0], labels[10:30, 1] = 1, 1
    groups = torch.arange(100) // 2
    kept, held = hold_out_groups(labels, groups, 0.2)
    assert set(groups[kept].tolist()).isdisjoint(groups[held].tolist())
    assert labels[held].sum(0).tolist() == [4, 4] and (labels[held].sum(1) == 0).sum() == 14
    kept, held = hold_out(labels, 0.2)
    assert len(held) == 20 and labels[held].sum(0).tolist() == [4, 4]
