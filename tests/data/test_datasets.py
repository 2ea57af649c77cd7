"""Any torch Dataset of (image, label) becomes one of ours, or is refused in one line."""

import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from protomask.data import AnnotatedImages, collate, from_datasets
from protomask.data.pictures import as_picture
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.inputs import read_pictures


class Items(Dataset):
    """A plain Dataset that counts how often it is read."""

    def __init__(self, items, **known):
        self.items, self.reads = list(items), 0
        vars(self).update(known)

    def __getitem__(self, index):
        self.reads += 1
        return self.items[index]

    def __len__(self):
        return len(self.items)


def picture(seed, height=6, width=8):
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def pairs(count=12, classes=3):
    return [(picture(index), index % classes) for index in range(count)]


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = picture(100 * label + number).permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_image_folders_keep_their_classes_and_are_named_by_their_files(folder):
    splits = from_datasets(ImageFolder(folder / "train"), ImageFolder(folder / "test"), validation=0.25)
    assert splits.train.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 2, 4)
    assert splits.test.names == ("test/cat/0.png", "test/cat/1.png", "test/dog/0.png", "test/dog/1.png")
    assert splits.test.labels.tolist() == [0, 0, 1, 1]
    sample = splits.test[3]
    assert isinstance(sample["image"], tv_tensors.Image) and torch.equal(
        sample["image"].as_subclass(torch.Tensor), picture(101)
    )
    assert set(splits.train.names) | set(splits.validation.names) == {
        f"train/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)
    }


def test_the_fingerprint_is_the_same_each_time_and_another_for_other_files_or_pixels(folder):
    def prints():
        train, test = ImageFolder(folder / "train"), ImageFolder(folder / "test")
        return from_datasets(train, test, validation=0).train.fingerprint()

    before = prints()
    assert prints() == before
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / "train" / "cat" / "0.png")
    assert prints() != before
    items = pairs()
    first, again = (from_datasets(Items(items), Items(items), validation=0).train.fingerprint() for _ in range(2))
    items[0] = (255 - items[0][0], items[0][1])
    assert again == first != from_datasets(Items(items), Items(items), validation=0).train.fingerprint()


@pytest.mark.parametrize(
    "give",
    [
        lambda p: p,
        lambda p: p.permute(1, 2, 0),
        lambda p: p.permute(1, 2, 0).numpy(),
        lambda p: p.numpy(),
        lambda p: p.float() / 255,
        lambda p: (p.permute(1, 2, 0).numpy() / 255).astype(np.float64),
        lambda p: p.long(),
        lambda p: Image.fromarray(p.permute(1, 2, 0).numpy()),
        lambda p: Image.fromarray(p.permute(1, 2, 0).numpy()).convert("RGBA"),
        lambda p: torch.cat([p, torch.full_like(p[:1], 255)]),
        lambda p: tv_tensors.Image(p),
        lambda p: p.numpy()[:, :, ::-1].copy()[:, :, ::-1],
        lambda p: p.numpy().astype(">i4"),
        lambda p: (p.numpy() / 255).astype(">f4"),
        lambda p: p.numpy().astype(np.uint16),
    ],
)
def test_pictures_of_every_kind_are_the_same_picture(give):
    assert torch.equal(as_picture(give(picture(1)), "it"), picture(1))


@pytest.mark.parametrize("give", [lambda p: p[0], lambda p: p[:1], lambda p: Image.fromarray(p[0].numpy())])
def test_grey_pictures_get_three_equal_channels(give):
    assert torch.equal(as_picture(give(picture(1)), "it"), picture(1)[:1].expand(3, -1, -1))


def test_what_is_transparent_is_white():
    clear = torch.cat([picture(1), torch.zeros(1, 6, 8, dtype=torch.uint8)])
    assert (as_picture(clear, "it") == 255).all()
    assert (as_picture(Image.fromarray(clear.permute(1, 2, 0).numpy()), "it") == 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_pil_images_are_as_files_of_them_are(tmp_path, dtype):
    shades = (np.arange(256).reshape(16, 16) * 257).astype(dtype)
    image = Image.fromarray(shades)
    image.save(tmp_path / "deep.tif")
    if dtype != np.float32:
        assert torch.equal(as_picture(image, "it")[0], torch.arange(256).reshape(16, 16))
    expected = read_pictures(tmp_path / "deep.tif", (257, 257 * 204))[0].pixels
    assert (expected[0, :3, 0] == (0, 0, 1)).all() and (expected[12:, 12:] == 255).all()
    for given in (image, Image.open(tmp_path / "deep.tif")):
        assert np.array_equal(read_pictures(given, (257, 257 * 204))[0].pixels, expected)


@pytest.mark.parametrize(
    "values, message",
    [
        (
            np.arange(256, dtype=np.int32),
            r"it: a PIL image of mode I with values from 0 to 255, all black as 16 bits; give",
        ),
        (np.arange(-9, 9, dtype=np.int32), "it: pixels from -9 to 8, outside the 0 to 65535 of 16 bits"),
        (np.arange(9, dtype=np.float32), "it: pixels of type float have no fixed range; convert the image to 8 bits"),
    ],
)
def test_deep_pil_images_without_a_clear_range_are_refused(values, message):
    image = Image.fromarray(values[None])
    with pytest.raises(InputError, match=message):
        as_picture(image, "it")
    assert (as_picture(image, "it", (0, 8)) == 255).any()
    assert (as_picture(Image.new("I", (2, 2)), "it") == 0).all()  # black by any range


@pytest.mark.parametrize(
    "label",
    [lambda n: n, np.int64, np.uint8, float, torch.tensor, lambda n: torch.tensor([n]), lambda n: np.array([n])],
)
def test_labels_of_every_kind_are_numbers(label):
    splits = from_datasets(Items((image, label(number)) for image, number in pairs()), validation=0)
    assert sorted(splits.train.labels.tolist() + splits.test.labels.tolist()) == sorted(n for _, n in pairs())
    assert splits.train.classes == ("0", "1", "2") and splits.train[0]["label"] == splits.train.labels[0]


def test_vectors_of_ones_and_zeros_are_findings():
    rows = [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]] * 3
    data = Items((picture(index), torch.tensor(row, dtype=torch.float32)) for index, row in enumerate(rows))
    splits = from_datasets(data, data, classes=["mass", "node", "cyst"], validation=0)
    assert splits.train.multi_label and splits.train.labels.tolist() == [[float(one) for one in row] for row in rows]
    assert splits.train[0]["label"].tolist() == [1, 0, 1] and splits.train.truth(0) == ("mass", "cyst")
    single = Items((picture(index), [index % 2]) for index in range(6))
    assert from_datasets(single, single, classes=["mass"], validation=0).train.multi_label
    with pytest.warns(UserWarning, match="a single 1"):
        from_datasets(Items((picture(n), [int(n % 2 == c) for c in range(2)]) for n in range(6)), validation=0)


def test_labels_at_hand_are_not_read_from_the_items():
    numbers = [number for _, number in pairs(200)]
    for known in (
        {"targets": torch.tensor(numbers)},
        {"labels": numbers},
        {"targets": numbers, "target_transform": int},
    ):
        data = Items(pairs(200), **known)
        splits = from_datasets(data, data, validation=0)
        assert splits.train.labels.tolist() == numbers and data.reads < 60
    data = Items(pairs(200), targets=[f"label {number}.xml" for number in numbers])  # no labels, but called so
    assert from_datasets(data, data, validation=0).train.labels.tolist() == numbers
    data = Items(pairs(200), targets=[2 - number for number in numbers])  # those of the items hold
    assert from_datasets(data, data, validation=0).train.labels.tolist() == numbers


def test_parts_and_sums_of_data_sets_know_what_their_parts_know(folder):
    whole = ImageFolder(folder / "train")
    part = Subset(whole, [0, 1, 5, 7])
    splits = from_datasets(part, ConcatDataset([whole, ImageFolder(folder / "test")]), validation=0)
    assert splits.train.classes == ("cat", "dog") and splits.train.labels.tolist() == [0, 0, 1, 1]
    assert splits.train.names == ("train/cat/0.png", "train/cat/1.png", "train/dog/1.png", "train/dog/3.png")
    assert len(splits.test) == 12 and splits.test.labels[8:].tolist() == [0, 0, 1, 1]
    stacked = torch.stack([image for image, _ in pairs()])
    tensors = TensorDataset(stacked, torch.tensor([number for _, number in pairs()]))
    assert torch.equal(
        from_datasets(tensors, tensors, validation=0).train[4]["image"].as_subclass(torch.Tensor), picture(4)
    )


def test_a_sum_of_data_sets_with_other_classes_needs_names(folder, tmp_path):
    whole = ImageFolder(folder / "train")
    (tmp_path / "other").mkdir()
    for name, link in (("dog", "cat"), ("horse", "dog")):
        (tmp_path / "other" / name).symlink_to(folder / "train" / link)
    other = ImageFolder(tmp_path / "other")
    for mixed in (
        ConcatDataset([whole, other]),
        Subset(ConcatDataset([Subset(whole, [0]), ConcatDataset([other])]), [1]),
    ):
        with pytest.raises(InputError, match=r"train: its parts differ in their classes \(cat, dog; dog, horse\)"):
            from_datasets(mixed)
    splits = from_datasets(ConcatDataset([whole, other]), classes=["left", "right"], validation=0)
    assert splits.train.classes == ("left", "right")
    assert from_datasets(ConcatDataset([whole, Items(pairs())]), validation=0).train.classes == ("0", "1", "2")


def test_annotations_follow_the_picture_through_the_transform():
    def extras(index):
        return {
            "boxes": [[2, 0, 8, 6]] if index else [],
            "mask": np.arange(48).reshape(6, 8) % 8 >= 4,
            "points": [[4.0, 3.0], [float("nan"), 0.0]],
            "name": f"bird {index}",
        }

    data = Items((image, number, extras(index)) for index, (image, number) in enumerate(pairs()))
    as_dictionaries = Items({"image": i, "label": n, "url": "elsewhere", **e} for i, n, e in data.items)
    for given in (data, as_dictionaries):
        splits = from_datasets(given, given, part_names=["eye", "tail"], validation=0)
        train = splits.train.with_transform(evaluation_transform(16, (0.5,) * 3, (0.5,) * 3))
        assert train.part_names == ("eye", "tail") and train.names[3] == "bird 3"
        batch = next(iter(DataLoader(train, 4, collate_fn=collate, num_workers=2)))
        assert batch["images"].shape == (4, 3, 16, 16) and batch["mask"].shape == (4, 1, 16, 16)
        assert batch["boxes"][0].shape == (0, 4) and batch["boxes"][1].tolist() == [[4, 0, 16, 16]]
        assert batch["points"][0, 0].tolist() == [8, 8] and batch["visible"].tolist() == [[True, False]] * 4
        assert (batch["mask"][0, 0, :, 8:] == 1).all() and (batch["mask"][0, 0, :, :8] == 0).all()


def test_mirrored_and_big_endian_annotations_are_as_others():
    mask = np.arange(48).reshape(6, 8) % 8 >= 5
    boxes, points = np.array([[2, 0, 8, 6], [0, 1, 4, 4]]), np.array([[4.0, 3.0], [1.0, 0.0]])

    def extras(kind):
        wide = np.array([1, 0])
        return {
            "boxes": kind(boxes),
            "box_labels": kind(wide),
            "mask": kind(mask.astype(int)),
            "points": kind(points),
        } | {"visible": kind(wide)}

    def sample(kind):
        data = Items((image, number, extras(kind)) for image, number in pairs())
        return from_datasets(data, data, validation=0).train[4]

    plain = sample(lambda values: values)
    assert plain["mask"][0, 0].tolist() == [0] * 5 + [1] * 3 and plain["box_labels"].tolist() == [1, 0]
    assert plain["visible"].tolist() == [True, False]
    for kind in (
        lambda values: values[::-1].copy()[::-1],
        lambda values: values.astype(">i4"),
        lambda values: values.astype(">f8"),
        lambda values: values.astype("u2"),
        lambda values: values.tolist(),
        torch.from_numpy,
    ):
        found = sample(kind)
        assert all(torch.equal(found[key], plain[key]) for key in plain if isinstance(plain[key], torch.Tensor))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_that_lie_on_their_side_stand_upright_with_their_annotations(tmp_path, orientation):
    """What is annotated is the one bright patch, wherever it comes to lie."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[1:3, 4:7] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "0.png", exif=exif)
    whole = ImageFolder(tmp_path)
    upright = torch.tensor(read_pictures(tmp_path / "cat" / "0.png")[0].pixels).permute(2, 0, 1)
    assert torch.equal(from_datasets(whole, whole, validation=0).train[0]["image"].as_subclass(torch.Tensor), upright)
    extras = {
        "boxes": [[4, 1, 7, 3]],
        "mask": pixels[..., 0],
        "points": [[5.5, 2.0], [4.25, 1.25]],
    }
    data = Items([(*whole[place], extras) for place in range(2)])
    sample = from_datasets(data, data, validation=0).train[1]
    bright = upright[0] > 0
    assert torch.equal(sample["mask"][0].bool(), bright) and torch.equal(sample["image"][0], upright[0])
    x0, y0, x1, y1 = sample["boxes"][0].int().tolist()
    assert bright[y0:y1, x0:x1].all() and (x1 - x0) * (y1 - y0) == bright.sum() == 6
    assert sample["points"][0].tolist() == [(x0 + x1) / 2, (y0 + y1) / 2] and sample["visible"].all()
    corner = sample["points"][1] - sample["points"][0]
    assert sorted(corner.abs().tolist()) == [0.75, 1.25] and (corner[0].abs() == 1.25) == (orientation < 5)
    marked = pixels.copy()
    marked[1, 4] = 255
    image = Image.fromarray(marked)
    image.getexif()[0x0112] = orientation
    column, row = sample["points"][1].int().tolist()
    assert read_pictures(image)[0].pixels[row, column, 0] == 255


def test_one_data_set_is_split_class_by_class_the_same_for_the_same_seed():
    splits = from_datasets(Items(pairs(30)), 0.2, validation=0.25, seed=3)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 6]
    assert splits.test.labels.bincount().tolist() == [2, 2, 2]
    again = from_datasets(Items(pairs(30)), 0.2, validation=0.25, seed=3)
    assert again.test.names == splits.test.names
    assert from_datasets(Items(pairs(30)), 0.2, validation=0.25, seed=4).test.names != splits.test.names
    assert not set(splits.train.names) & (set(splits.test.names) | set(splits.validation.names))
    assert isinstance(splits.train, AnnotatedImages)
    given = from_datasets(splits.train, Items(pairs()), classes=["0", "1", "2"], validation=Items(pairs(6)))
    assert given.train is splits.train and len(given.validation) == 6


def test_a_data_set_that_augments_is_warned_of(folder):
    shaken = v2.Compose([v2.ToImage(), v2.RandomCrop(4)])
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="train item 0 is another picture each time it is read"):
        first = from_datasets(ImageFolder(folder / "train", shaken), ImageFolder(folder / "test"))
    drawn = torch.rand(())
    torch.manual_seed(5)
    assert torch.rand(()) == drawn  # reading has not moved the user's dice
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_datasets(ImageFolder(folder / "train", v2.Resize(4)), ImageFolder(folder / "test"))
    assert first.train[0]["image"].shape == (3, 4, 4)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs())


def changed(place, picture=None, label=None, extras=None):
    """Twelve items, of which one is not as it should be."""
    items = pairs()
    image, number = items[place]
    items[place] = (image if picture is None else picture, number if label is None else label)
    return Items([(*item, *((extras(index),) if extras else ())) for index, item in enumerate(items)])


def boxed(labels):
    return changed(0, extras=lambda n: {"boxes": [[0, 0, 4, 4]], "box_labels": labels})


NORMAL = v2.Normalize([0.5] * 3, [0.5] * 3)


@pytest.mark.parametrize(
    "data, message",
    [
        (Items([]), "the data set train is empty"),
        (Stream(), "train is a Stream, which is no map-style data set"),
        (DataLoader(Items(pairs())), "train is a DataLoader, which is no map-style data set; give its .dataset"),
        (None, "train is a NoneType"),
        (changed(3, label=-1), "train item 3: the label is -1; it must be at least 0"),
        (changed(3, label="cat"), "train item 3: the label 'cat' is text; give its number"),
        (changed(3, label=0.5), "train item 3: the label is 0.5; give a whole number"),
        (changed(3, label=[1, 0]), "train item 3: the label is (1, 0), that of item 0 0; give one kind"),
        (changed(0, picture=torch.zeros(2, 6, 8)), "train item 0: the picture has the shape (2, 6, 8)"),
        (changed(0, picture=torch.zeros(3, 0, 8)), "train item 0: the picture has no pixels"),
        (changed(0, picture="bird.jpg"), "train item 0: the picture is a str; give a PIL image"),
        (changed(0, picture=torch.full((3, 6, 8), float("nan"))), "train item 0: the picture holds NaN"),
        (changed(0, picture=NORMAL(torch.rand(3, 6, 8))), "so it is normalised already; leave Normalize out"),
        (changed(0, picture=255 * torch.rand(3, 6, 8)), "give floats in 0..1, or 0..255 as uint8"),
        (changed(0, picture=np.full((6, 8), 300)), "train item 0: whole numbers from 300 to 300; give 0 to 255"),
        (changed(0, picture=np.full((6, 8), "a")), "train item 0: the picture is an array of <U1"),
        (Items(picture(n) for n in range(9)), "train item 0: a Tensor; give (image, label)"),
        (Items([{"image": picture(0)}]), "train item 0: a dictionary without 'label' (it has image)"),
        (changed(0, extras=lambda n: 7), "train item 0: its third element is an int; give a dictionary"),
        (changed(0, extras=lambda n: {"box": 1}), "train item 0: the annotation 'box' is unknown; known: boxes"),
        (changed(0, extras=lambda n: {"boxes": [0.1, 0, 0.9, 1]}), "boxes are in pixels, not in shares of the image"),
        (changed(0, extras=lambda n: {"boxes": [4, 0, 2, 2]}), "train item 0: the box (4, 0, 2, 2) has no area"),
        (changed(0, extras=lambda n: {"mask": torch.ones(3, 3)}), "train item 0: the mask has the shape (3, 3)"),
        (changed(0, extras=lambda n: {"mask": torch.ones(6, 8)} if n < 5 else {}), "has no 'mask', though others have"),
        (changed(0, extras=lambda n: {"mask": "a_mask.png"}), "train item 0: the mask is a str; give its pixels"),
        (changed(0, extras=lambda n: {"mask": np.full((6, 8), "a")}), "train item 0: the mask is an array of <U1"),
        (changed(0, extras=lambda n: {"mask": [[1], [1, 2]]}), "train item 0: the mask is a list that is no array"),
        (
            changed(0, extras=lambda n: {"mask": torch.ones(6, 8, device="meta")}),
            "the mask is a tensor that is on the m",
        ),
        (boxed(["cat"]), "train item 0: box_labels is ['cat']; give whole numbers"),
        (boxed([0.9]), "train item 0: box_labels is [0.9]; give whole numbers"),
        (boxed([True]), "train item 0: box_labels is a mask of True and False; give numbers"),
        (boxed([7]), "train item 0: box_labels has the class 7; it must be at least 0 and less than 3"),
        (boxed([-1]), "train item 0: box_labels has the class -1; it must be at least 0"),
        (
            changed(0, extras=lambda n: {"points": [[0, 0]], "visible": ["yes"]}),
            "item 0: visible is ['yes']; give True",
        ),
        (Items([(picture(0), 0)] * 4), "only 1 class; a classifier needs two or more"),
        (Items((picture(n), 2 * (n % 2)) for n in range(8)), "class '1' has no training image"),
    ],
)
def test_bad_data_sets_are_refused_in_one_line(data, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        from_datasets(data, validation=0)
    assert "\n" not in str(caught.value)


def test_classes_must_fit_the_labels_and_one_another(folder):
    with pytest.raises(InputError, match="train item 2: the label is 2; it must be at least 0 and less than 2"):
        from_datasets(Items(pairs()), classes=["cat", "dog"])
    with pytest.raises(InputError, match="'cat' is named twice"):
        from_datasets(Items(pairs()), classes=["cat", "dog", "cat"])
    (folder / "test" / "dog").rename(folder / "test" / "wolf")
    with pytest.raises(InputError, match="train and test differ in their classes"):
        from_datasets(ImageFolder(folder / "train"), ImageFolder(folder / "test"))


def test_what_goes_wrong_later_names_the_item_too(folder):
    splits = from_datasets(ImageFolder(folder / "train"), ImageFolder(folder / "test"), validation=0)
    (folder / "train" / "cat" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"train item 1 \(train/cat/1.png\): the data set cannot read it") as caught:
        splits.train[1]
    assert "\n" not in str(caught.value)
    data = Items(pairs(40))
    later = from_datasets(data, data, validation=0).train
    data.items[7] = (picture(7) / 100, 1)
    with pytest.raises(InputError, match=r"train item 7 \(train/000007\): floats from"):
        later[7]
    data.items[7] = (picture(7), 0)
    with pytest.raises(InputError, match=r"the label is \[0\], but was \[1\] at first"):
        later[7]
    annotated = Items([(*item, {"boxes": [[0, 0, 4, 4]], "box_labels": [1]}) for item in pairs(40)])
    later = from_datasets(annotated, annotated, validation=0).train
    annotated.items[7] = (*annotated.items[7][:2], {"boxes": [[0, 0, 4, 4]], "box_labels": [3]})
    with pytest.raises(InputError, match=r"train item 7 \(train/000007\): box_labels has the class 3; .* less than 3"):
        later[7]


@pytest.mark.parametrize("error", [NotImplementedError(), TypeError("len() of a stream")])
def test_a_data_set_that_does_not_tell_its_length_is_refused(error):
    class Endless(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return torch.zeros(3, 8, 8), index % 2

        def __len__(self):
            raise error

    with pytest.raises(InputError, match=f"does not tell its length \\({type(error).__name__}: .*__len__"):
        from_datasets(Endless(), 0.25)
