import numpy as np
import pytest
import torch
from PIL import Image

from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from tests.data.conftest import DOT, object_mask, scene


def _edit(root, name, change):
    path = root / name
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def test_ids_with_gaps_become_labels_in_their_order(cub_root):
    splits = load_data("cub", cub_root, validation=0)
    assert splits.train.classes == ("003.Blue_Bird", "007.Löffler", "012.Two Words")
    assert splits.train.labels.tolist() == splits.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert splits.test.names[2] == "007.Löffler/bird 2.png"
    assert splits.train.part_names == ("red dot", "tail")
    assert len(splits.validation) == 0 and splits.validation.classes == splits.train.classes


def test_the_order_of_lines_does_not_matter(cub_root):
    before = load_data("cub", cub_root, validation=0).train
    for name in ("image_class_labels", "classes", "train_test_split", "bounding_boxes", "parts/part_locs"):
        _edit(cub_root, f"{name}.txt", lambda lines: [lines[-1], "", *lines[:-1]])
    after = load_data("cub", cub_root, validation=0).train
    assert before.fingerprint() == after.fingerprint() and before.classes == after.classes
    assert torch.equal(before[3]["points"], after[3]["points"])


def test_the_root_may_be_the_parent(cub_root):
    assert load_data("cub", cub_root.parent).train.fingerprint() == load_data("cub", str(cub_root)).train.fingerprint()


def test_uncropped_samples_are_as_on_disk(cub_root):
    sample = load_data("cub", cub_root, crop=False, validation=0).train[0]
    assert torch.equal(sample["image"], torch.from_numpy(scene()).permute(2, 0, 1))
    assert torch.equal(sample["mask"][0], torch.from_numpy(object_mask() // 255))
    assert sample["boxes"].tolist() == [[12, 8, 44, 30]] and sample["boxes"].canvas_size == (40, 60)
    assert sample["points"][0].tolist() == [20.5, 14.5] and sample["visible"].tolist() == [True, False]


def test_cropping_moves_everything(cub_root):
    sample = load_data("cub", cub_root, validation=0).train[0]
    assert torch.equal(sample["image"], torch.from_numpy(scene()[8:30, 12:44]).permute(2, 0, 1))
    assert sample["mask"].shape == (1, 22, 32) and sample["mask"].all()
    assert sample["boxes"].tolist() == [[0, 0, 32, 22]]
    x, y = sample["points"][0].int().tolist()
    assert sample["image"][:, y, x].tolist() == list(DOT)
    assert sample["visible"].tolist() == [True, False]


def test_the_crop_is_that_of_the_official_code_within_the_image(cub_root):
    _edit(cub_root, "bounding_boxes.txt", lambda lines: ["5 25.7 -3.4 40.6 20.8", *lines[1:]])
    sample = load_data("cub", cub_root, validation=0).train[0]
    x0, y0, x1, y1 = int(25.7), 0, 60, int(-3.4 + 20.8)  # int(x), int(y), int(x + w), int(y + h), clipped to 60 x 40
    assert torch.equal(sample["image"], torch.from_numpy(scene()[y0:y1, x0:x1]).permute(2, 0, 1))
    assert sample["visible"].tolist() == [False, False]  # the dot is outside
    assert sample["boxes"][0].tolist() == pytest.approx([0.7, 0, 35, 17], rel=1e-5)


def test_a_grey_image_and_no_parts_or_segmentations(cub_root):
    Image.fromarray(scene()).convert("L").save(cub_root / "images" / "003.Blue_Bird" / "bird 0.png")
    for folder in ("segmentations", "parts"):
        (cub_root / folder).rename(cub_root.parent / f"{folder}-away")
    sample = load_data("cub", cub_root, validation=0).train[0]
    assert sample["image"].shape == (3, 22, 32) and torch.equal(sample["image"][0], sample["image"][2])
    assert not {"mask", "points", "visible"} & sample.keys()


def test_without_boxes_only_uncropped(cub_root):
    (cub_root / "bounding_boxes.txt").unlink()
    assert load_data("cub", cub_root, crop=False).train[0]["boxes"].shape == (0, 4)
    with pytest.raises(InputError, match="bounding_boxes.txt: no such file.*cannot be cropped"):
        load_data("cub", cub_root)


BAD_LINES = [
    ("images.txt", lambda lines: ["x y", *lines], "images.txt:1: malformed line 'x y'"),
    ("images.txt", lambda lines: [*lines, "5 other.png"], "images.txt:13: image 5 occurs twice"),
    ("images.txt", lambda lines: [*lines, "99 lost.png"], "image 99 of images.txt is missing"),
    ("image_class_labels.txt", lambda lines: [*lines, "999 3"], "labels.txt:13: image 999 is not in images.txt"),
    ("image_class_labels.txt", lambda lines: ["5 4", *lines[1:]], "image 5 has class 4, not in classes.txt"),
    ("image_class_labels.txt", lambda lines: ["5", *lines[1:]], "image_class_labels.txt:1: malformed line '5'"),
    ("train_test_split.txt", lambda lines: ["5 2", *lines[1:]], "train_test_split.txt:1: malformed line '5 2'"),
    ("train_test_split.txt", lambda lines: lines[1:], "train_test_split.txt: image 5 of images.txt is missing"),
    ("train_test_split.txt", lambda lines: ["5 0", "12 0", *lines[2:]], "class '003.Blue_Bird' has no training image"),
    ("train_test_split.txt", lambda lines: [line[:-1] + "1" for line in lines], "no test images"),
    ("bounding_boxes.txt", lambda lines: ["5 1 1 0 9", *lines[1:]], "boxes.txt:1: the box of image 5 is empty"),
    ("bounding_boxes.txt", lambda lines: ["5 -9 1 9 9", *lines[1:]], "boxes.txt:1: the box of image 5 is empty or out"),
    ("bounding_boxes.txt", lambda lines: ["5 1 1 nan 9", *lines[1:]], "boxes.txt:1: malformed line"),
    ("bounding_boxes.txt", lambda lines: ["5 60 1 9 9", *lines[1:]], "(60, 1, 69, 10) of 003.Blue_Bird/bird 0.png"),
    ("parts/part_locs.txt", lambda lines: ["5 9 1 1 1", *lines], "part_locs.txt:1: part 9 is not in parts.txt"),
    ("parts/part_locs.txt", lambda lines: ["6 2 1 1 1", *lines], "part_locs.txt:1: image 6 is not in images.txt"),
    ("parts/part_locs.txt", lambda lines: [*lines, "5 2 1 1 1"], "part_locs.txt:25: part 2 of image 5 occurs twice"),
    ("classes.txt", lambda lines: [*lines, "20 020.Nobody"], "class '020.Nobody' has no training image"),
]


@pytest.mark.parametrize("name, change, says", BAD_LINES, ids=[says for *_, says in BAD_LINES])
def test_bad_lines_are_found_on_opening_and_named_in_one_line(cub_root, name, change, says):
    _edit(cub_root, name, change)
    with pytest.raises(InputError) as caught:
        load_data("cub", cub_root)
    assert says in str(caught.value) and str(cub_root) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt", "parts/part_locs.txt"]
)
def test_missing_files_are_named(cub_root, name):
    (cub_root / name).unlink()
    with pytest.raises(InputError, match=name.split("/")[-1]):
        load_data("cub", cub_root)


def test_missing_images_and_segmentations_are_found_on_opening(cub_root):
    (cub_root / "segmentations" / "003.Blue_Bird" / "bird 1.png").unlink()
    with pytest.raises(InputError, match="bird 1.png: no such segmentation"):
        load_data("cub", cub_root)
    (cub_root / "images" / "012.Two Words" / "bird 3.png").unlink()
    (cub_root / "segmentations" / "003.Blue_Bird" / "bird 1.png").write_bytes(b"")
    with pytest.raises(InputError, match="bird 3.png: no such image file"):
        load_data("cub", cub_root)


def test_a_wrong_root_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match="needs a root"):
        load_data("cub")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load_data("cub", tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected images.txt and images/ in it or in CUB_200_2011/"):
        load_data("cub", tmp_path)


def test_one_class_is_not_enough(cub_root):
    _edit(cub_root, "classes.txt", lambda lines: lines[:1])
    _edit(cub_root, "image_class_labels.txt", lambda lines: [line.split()[0] + " 3" for line in lines])
    with pytest.raises(InputError, match="only 1 class"):
        load_data("cub", cub_root)


@pytest.fixture(scope="module")
def birds(real_data):
    if not (real_data / "cub20" / "images.txt").exists():
        pytest.skip(f"no cub20 in {real_data}")
    return load_data("cub", real_data / "cub20", crop=False, validation=0)


def test_real_birds(birds):
    assert (len(birds.train), len(birds.test), len(birds.train.classes)) == (600, 582, 20)
    assert birds.train.classes[3] == "010.Red_winged_Blackbird" and len(birds.train.part_names) == 15
    assert np.bincount(birds.train.labels.numpy()).tolist() == [30] * 20
    parts = inside = 0
    for data in (birds.train, birds.test):
        for position in range(0, len(data), 7):
            sample = data[position]
            x0, y0, x1, y1 = sample["boxes"][0].tolist()
            for x, y in sample["points"][sample["visible"]].tolist():
                parts += 1
                inside += x0 - 1 <= x <= x1 + 1 and y0 - 1 <= y <= y1 + 1
    assert parts > 1500 and inside >= 0.99 * parts


def test_real_birds_cropped_and_resized(real_data, birds):
    cropped = load_data("cub", real_data / "cub20", validation=0, image_size=224).test
    sample = cropped.with_transform(evaluation_transform(224, (0.5,) * 3, (0.5,) * 3))[100]
    assert sample["image"].shape == (3, 224, 224)
    x0, y0, x1, y1 = sample["boxes"][0].tolist()
    assert min(x1 - x0, y1 - y0) > 215  # the crop is the box
    whole = birds.test[100]
    assert sample["visible"].sum() >= whole["visible"].sum() - 1
    scale = torch.tensor(cropped[100]["image"].shape[:0:-1]) / 224
    origin = whole["boxes"][0, :2].floor()
    seen = sample["visible"]
    assert torch.allclose(sample["points"][seen] * scale + origin, torch.as_tensor(whole["points"][seen]), atol=1e-3)
