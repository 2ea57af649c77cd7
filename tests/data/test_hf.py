"""Data sets of Hugging Face ``datasets``, offline."""

import io
import os
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.cli import main
from protomask.data import load_data, remembered, reopen_data
from protomask.data.arrow_contents import TableContent
from protomask.data.contents import SPLITS, content_of, data_change, split_contents
from protomask.data.hf_splits import refuse_tests
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.options import Options
from protomask.run.start import absolute_paths
from tests.data.hf_folders import CLASSES, encoded, table, write_hf, write_parquet

datasets = pytest.importorskip("datasets")


def pixels_of(image):
    return np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB"))


@pytest.mark.parametrize("write", [write_hf, write_parquet])
def test_what_was_written_is_read(tmp_path, write):
    write(tmp_path)
    splits = load_data(f"hf:{tmp_path}", validation=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 0, 4)
    assert splits.train.classes == tuple(CLASSES) and splits.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert splits.test.names[3] == "test/000003"
    sample = splits.test[3]
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0).numpy(), pixels_of(encoded(9)))
    assert sample["label"] == 1 and sample["boxes"].shape == (0, 4)


def test_a_moved_folder_is_the_same_data_set_and_a_changed_one_is_not(tmp_path):
    one = load_data("hf", write_hf(tmp_path / "one"))
    two = load_data(f"hf:{write_hf(tmp_path / 'two')}")
    assert one.train.fingerprint() == two.train.fingerprint()
    images = [encoded(row) for row in range(6)]
    images[1] = encoded(1, size=(25, 16))
    other = write_hf(tmp_path / "three", train=table(6, image=(datasets.Image(), images)), test=table(4, start=6))
    assert load_data(f"hf:{other}").train.fingerprint() != one.train.fingerprint()


def many(changed=()):
    images = [encoded(row + 100 * (row in changed), kind="BMP") for row in range(20)]  # all of one length
    return table(20, image=(datasets.Image(), images))


def known(root):
    splits = load_data(f"hf:{root}", validation=0)
    return {"fingerprint": splits.train.fingerprint(), "contents": split_contents(splits)}


def test_one_changed_image_of_the_same_length_is_noticed_wherever_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = known(write_hf(tmp_path / "one", train=many(), test=many()))
    after = load_data(f"hf:{write_hf(tmp_path / 'two', train=many(), test=many([10]))}", validation=0)
    assert data_change(before, after) == "images or annotations for test differ"
    older = {**before, "contents": {split: content_of(getattr(after, split), True) for split in SPLITS}}
    assert data_change(older, after) == ""  # of a run that did not know every byte
    datasets.DatasetDict(train=many(), test=many()).save_to_disk(
        str(tmp_path / "cut"), num_shards={"train": 3, "test": 2}
    )
    assert known(tmp_path / "cut") == before
    changed = write_hf(tmp_path / "three", train=many([10]))
    drawn = known(write_hf(tmp_path / "four", train=many()))
    assert (
        data_change(drawn, load_data(f"hf:{changed}", validation=0))
        == "images or annotations for train and test differ"
    )


def test_a_table_is_read_once_while_its_files_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    datasets.DatasetDict(train=many()).save_to_disk(str(tmp_path / "one"), num_shards={"train": 3})
    read, real = [], TableContent._read
    monkeypatch.setattr(TableContent, "_read", lambda self: read.append(1) or real(self))
    first = known(tmp_path / "one")
    assert known(tmp_path / "one") == first and len(read) == 1  # train and test are parts of one table
    file = sorted((tmp_path / "one" / "train").glob("*.arrow"))[1]
    os.utime(file, ns=(1, 1))
    assert known(tmp_path / "one") == first and len(read) == 2


def test_each_column_of_a_table_is_remembered_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_SETTLED_NS", -(10**12))
    rows = datasets.Dataset.from_dict({name: [{"bytes": name.encode(), "path": None}] * 3 for name in ("a", "b")})
    rows.save_to_disk(str(tmp_path / "two"))
    rows = datasets.load_from_disk(str(tmp_path / "two"))
    assert TableContent(rows, "a").digest() != TableContent(rows, "b").digest()
    assert TableContent(rows, "a").digest() == TableContent(rows, "a").digest()


def test_missing_splits_are_drawn(tmp_path):
    splits = load_data(f"hf:{write_hf(tmp_path, train=table(20))}", validation=0.2, seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 4, 4)
    assert splits.test.labels.bincount().tolist() == [2, 2]
    names = [*splits.train.names, *splits.validation.names, *splits.test.names]
    assert len(set(names)) == 20
    assert len(load_data(f"hf:{tmp_path}", test=0.5).test) == 10


@pytest.mark.parametrize("form", [("torch", ["label"]), ("arrow", None), ("pandas", None)])
def test_a_format_that_was_saved_with_the_rows_changes_nothing(tmp_path, form):
    name, columns = form
    write_hf(tmp_path / "plain")
    write_hf(tmp_path / "other", **{split: table(6).with_format(name, columns) for split in ("train", "test")})
    plain, other = (load_data(f"hf:{tmp_path / each}") for each in ("plain", "other"))
    assert torch.equal(other.train[1]["image"], plain.train[1]["image"])
    assert other.train.fingerprint() == plain.train.fingerprint()


def test_validation_images_whose_labels_are_secret_are_drawn_anew(tmp_path):
    secret = {"label": (datasets.ClassLabel(names=CLASSES), [-1] * 4)}
    write_hf(tmp_path, train=table(20), validation=table(4, start=20, **secret), test=table(4, start=24))
    splits = load_data(f"hf:{tmp_path}", validation=0.2)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 4, 4)
    assert set(splits.validation.labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("kind", "values", "none"),
    [("int64", [0, 2, -1, 2, 0, 2], "-1"), ("int32", [3, 7, -100, 3, 7, 3], "-100"), ("string", "ab ab", "' '")],
)
def test_rows_without_a_label_are_no_class_of_their_own(tmp_path, kind, values, none):
    labels = (datasets.Value(kind), [*values, *values][:6])
    whole = (datasets.Value(kind), [value for value in labels[1] if repr(value) != none] * 2)
    rows = table(len(whole[1]), label=whole)
    for split in ("train", "test"):
        root = write_hf(tmp_path / split, **{"train": rows, "test": rows, split: table(6, label=labels)})
        with pytest.raises(
            InputError, match=rf"{split} row 2: no label in column 'label'; remove the row \({none} says"
        ):
            load_data(f"hf:{root}")
        if split == "train":
            again = reopen_data(f"hf:{root}")
            assert len(again.train.classes) == 3
            assert f"{none} in column 'label' is learned as a class; where it says" in again.remarks()[-1]
    secret = table(4, label=(datasets.Value(kind), [labels[1][2]] * 4))
    splits = load_data(f"hf:{write_hf(tmp_path / 'secret', train=rows, test=secret)}", validation=0)
    assert len(splits.train) + len(splits.test) == len(rows) and len(splits.train.classes) == 2
    with pytest.raises(InputError, match="train: no row has a label in column 'label'; give labels"):
        load_data(f"hf:{write_hf(tmp_path / 'none', train=secret, test=rows)}")


@pytest.mark.parametrize(
    ("values", "doubtful"),
    [([-1, 1], True), ([-1, 0, 1], True), ([-2, -1, 0, 1], False), ([-2, -1], False), ([0, 1], False)],
)
def test_signs_are_classes_and_a_remark_says_so_where_they_may_mean_none(tmp_path, values, doubtful):
    rows = table(12, label=(datasets.Value("int64"), values * (12 // len(values))))
    root = write_hf(tmp_path, train=rows, test=rows)
    for load in (load_data, reopen_data):
        splits = load(f"hf:{root}", validation=0)
        assert splits.test.classes == tuple(map(str, values)) and len(splits.train) == 12
        said = [remark for remark in splits.remarks() if "-1 in column 'label' is learned as a class" in remark]
        assert bool(said) == doubtful


def test_a_run_that_learned_a_blank_class_keeps_its_test_images(tmp_path):
    kind = datasets.Value("string")
    rows, blank = table(6, label=(kind, ["", "x"] * 3)), table(2, start=6, label=(kind, ["", ""]))
    splits = reopen_data(f"hf:{write_hf(tmp_path, train=rows, test=blank)}", validation=0)
    assert splits.train.classes == ("", "x") and (len(splits.train), len(splits.test)) == (6, 2)


def test_a_single_table_is_divided_and_other_names_of_validation_are_known(tmp_path):
    table(10).save_to_disk(str(tmp_path / "single"))
    assert len(load_data(f"hf:{tmp_path / 'single'}").test) == 2
    write_hf(tmp_path / "dev", train=table(6), dev=table(2, start=6), test=table(2, start=8))
    splits = load_data(f"hf:{tmp_path / 'dev'}")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 2, 2)
    secret = table(4, label=(datasets.ClassLabel(names=CLASSES), [-1] * 4))
    splits = load_data(f"hf:{write_hf(tmp_path / 'secret', train=table(10), test=secret)}", validation=0)
    assert (len(splits.train), len(splits.test)) == (8, 2)


def test_splits_are_called_as_folders_are_and_none_is_lost_without_a_word(tmp_path):
    write_hf(tmp_path / "one", Training=table(6), Testing=table(4, start=6), VAL=table(2, start=10))
    splits = load_data(f"hf:{tmp_path / 'one'}")
    assert splits.text().endswith("6 to train, 2 to validate, 4 to test") and splits.remarks() == []
    write_hf(tmp_path / "two", train=table(6), test=table(4, start=6), extra=table(3, start=10))
    (remark,) = load_data(f"hf:{tmp_path / 'two'}").remarks()
    assert "two: a split that is not read: extra (3 rows); read are train, test and validation" in remark
    secret = table(4, label=(datasets.ClassLabel(names=CLASSES), [-1] * 4))
    (remark,) = load_data(f"hf:{write_hf(tmp_path / 'three', train=table(10), test=secret)}").remarks()
    assert "test (4 rows)" in remark
    both = write_hf(tmp_path / "four", train=table(6), valid=table(2, start=6), dev=table(2, start=8))
    with pytest.raises(InputError, match="has both valid and dev, which mean the same split; save it with one of them"):
        load_data(f"hf:{both}")
    tests = write_hf(tmp_path / "five", train=table(10), public_eval=table(4, start=10))
    with pytest.raises(
        InputError, match=r"public_eval seems to hold test images.*by test_share= \(test= of load_data\)"
    ):
        load_data(f"hf:{tests}")
    refuse_tests(["latest", "retrieval", "medieval", "contest", "household", "test"], "data")
    for name in ("testA", "HELD-OUT", "test2", "hold_out", "final evaluation", "TESTS"):
        with pytest.raises(InputError, match=f"the split {name} seems"):
            refuse_tests(["latest", name], "data")
    splits = load_data(f"hf:{tests}", test=0.2, validation=0)  # as is said
    assert len(splits.test) == 2 and "public_eval (4 rows)" in splits.remarks()[0]


def test_columns_are_named_where_their_types_do_not_tell(tmp_path):
    kinds = (datasets.Value("string"), ["b", "a"] * 3)
    second = (datasets.Image(), [encoded(row + 50) for row in range(6)])
    rows = table(6, label=None, other=second, kind=kinds)
    root = write_hf(tmp_path, train=rows)
    splits = load_data(f"hf:{root}", image_column="other", label_column="kind", validation=0)
    assert splits.train.classes == ("a", "b")
    row = int(splits.train.names[0].rsplit("/")[1])
    np.testing.assert_array_equal(splits.train[0]["image"].permute(1, 2, 0).numpy(), pixels_of(encoded(50 + row)))


def test_findings_are_lists_of_classes(tmp_path):
    several = datasets.Sequence(datasets.ClassLabel(names=["mass", "scar"]))
    rows = table(6, label=(several, [[], [0], [1], [0, 1], [0], [1]]))
    train = load_data(f"hf:{write_hf(tmp_path, train=rows, test=rows)}", validation=0).train
    assert train.multi_label and train.labels.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [1, 0], [0, 1]]


def test_grey_cmyk_and_large_images_are_read(tmp_path):
    images = [
        encoded(0, "L"),
        encoded(1, "CMYK", "JPEG"),
        encoded(2, "P"),
        encoded(3, "RGBA"),
        encoded(4, kind="JPEG", size=(640, 320)),
        encoded(5),
    ]
    splits = load_data(f"hf:{write_hf(tmp_path, train=table(6, image=(datasets.Image(), images)))}", image_size=32)
    sides = {tuple(splits.train[place]["image"].shape) for place in range(len(splits.train))}
    assert all(shape[0] == 3 for shape in sides) and (3, 320, 640) not in sides
    shown = splits.train.with_transform(evaluation_transform(32, (0.5,) * 3, (0.5,) * 3))[0]["image"]
    assert shown.shape == (3, 32, 32)


def test_rows_are_read_by_loading_processes(tmp_path):
    train = load_data(f"hf:{write_hf(tmp_path)}", validation=0).train
    loader = torch.utils.data.DataLoader(train, batch_size=None, num_workers=1)
    found = [sample["image"] for sample in loader]
    assert len(found) == 6 and torch.equal(found[5], train[5]["image"])


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="needs the package datasets; pip install datasets"):
        load_data(f"hf:{tmp_path}")


def test_a_run_learns_from_it_and_finds_it_again(tmp_path, monkeypatch):
    write_hf(tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    assert absolute_paths(Options(data="hf:birds")).data == f"hf:{tmp_path / 'birds'}"
    assert absolute_paths(Options(data="hf:no/folder")).data == "hf:no/folder"
    assert absolute_paths(Options(data="hf:")).data == "hf:"  # not the working folder
    words = ["train", "--data", "hf:birds", "--output", "run", "--backbone", "test_resnet", "--features", "8"]
    words += ["--image-size", "32", "--epochs", "1", "--batch-size", "2", "--prototypes-per-class", "1"]
    words += ["--localizer", "center", "--samples", "2", "--workers", "0", "--validation", "0", "--quiet"]
    assert main(words) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "ProtoPNet on birds" in page
    (tmp_path / "birds").rename(tmp_path / "moved")
    assert main(["report", "run", "--explained", "1", "--quiet"]) == 2
    assert main(["report", "run", "--explained", "1", "--root", "moved", "--quiet"]) == 0


def test_the_first_cause_is_told(tmp_path):
    """Not the library's own words, that an error occurred."""
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as packed:
        for name in CLASSES:
            for number in range(2):
                packed.writestr(f"{name}/{number}.png", encoded(number)["bytes"])
    with pytest.raises(InputError, match=f"Invalid string class label {tmp_path.name}"):
        load_data(f"hf:{tmp_path}", validation=0)
