"""Whatever stands in a file or on the command line: data, or one InputError; never anything else."""

import json
import shutil

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protomask.cli import main
from protomask.data import load_data
from protomask.data.checking import check_data
from protomask.errors import InputError
from protomask.options import Options
from protomask.run_folder import read_options

FAST = settings(deadline=None, max_examples=40)
# Lines that nearly fit are likelier to reach deep into a reader than noise.
WORDS = st.sampled_from(
    [
        "1",
        "2",
        "9",
        "-1",
        "0",
        "2.5",
        "nan",
        "inf",
        "1e999",
        "001.Bird/1.png",
        "beak",
        "",
        " ",
        "\t",
        ",",
        '"',
        "\x00",
        "benign",
        "train",
        "test",
        "benign/benign (1).png",
        "../..",
        "é",
        "1_0",
        "١",
    ]
) | st.text(max_size=6)
LINES = st.lists(WORDS, max_size=6).flatmap(lambda words: st.sampled_from([" ", ","]).map(lambda gap: gap.join(words)))
CUB = [
    "images",
    "image_class_labels",
    "classes",
    "train_test_split",
    "bounding_boxes",
    "parts/parts",
    "parts/part_locs",
]


def opens(data, root):
    """Both ways of reading agree: check finds a problem exactly where opening fails."""
    try:
        load_data(data, root, image_size=16)
        failed = False
    except InputError as error:
        assert str(error)
        failed = True
    problems = check_data(data, root, workers=1).problems
    assert all(problem and "\n" not in problem for problem in problems)
    assert bool(problems) == failed, problems


def spoilt(root, name, content):
    """Writes ``content`` for the time of a test; the files are shared by all of its examples."""
    path = root / name
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        return opens(root.name, root)
    finally:
        path.write_bytes(before)


@FAST
@given(st.sampled_from(CUB), st.integers(0, 8), LINES, st.booleans())
@example("images", 0, "1 ../images/001.Bird/2.png", False)
@example("image_class_labels", 3, "3 7", False)
def test_a_line_of_cub(good, name, place, line, insert):
    path = good / "cub" / f"{name}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[place : place + (not insert)] = [line]
    spoilt(good / "cub", f"{name}.txt", "\n".join(lines).encode("utf-8", "surrogatepass"))


@FAST
@given(st.integers(0, 8), LINES)
@example(1, "train/red kites/bird 0.png,99,99,199,199")
def test_a_line_of_boxes(good, place, line):
    lines = (good / "folder" / "boxes.csv").read_text(encoding="utf-8").splitlines()
    lines[place : place + 1] = [line]
    spoilt(good / "folder", "boxes.csv", "\n".join(lines).encode("utf-8", "surrogatepass"))


@FAST
@given(st.integers(0, 12), LINES)
@example(1, '"')
@example(0, '"')
def test_a_line_of_annotations(good, place, line):
    lines = (good / "busi" / "annotations.csv").read_text(encoding="utf-8").splitlines()
    lines[place : place + 1] = [line]
    spoilt(good / "busi", "annotations.csv", "\n".join(lines).encode("utf-8", "surrogatepass"))


@FAST
@given(
    st.sampled_from(["Data_Entry_2017.csv", "BBox_List_2017.csv", "test_list.txt", "train_val_list.txt"]),
    st.integers(0, 7),
    LINES,
)
def test_a_line_of_chestxray(good, name, place, line):
    lines = (good / "chestxray" / name).read_text(encoding="utf-8").splitlines()
    lines[place : place + 1] = [line]
    spoilt(good / "chestxray", name, "\n".join(lines).encode("utf-8", "surrogatepass"))


@FAST
@given(
    st.sampled_from([("cub", f"{name}.txt") for name in CUB] + [("folder", "boxes.csv"), ("busi", "annotations.csv")]),
    st.binary(max_size=60),
)
def test_any_bytes_for_annotations(good, place, content):
    spoilt(good / place[0], place[1], content)


@FAST
@given(
    st.sampled_from([0, 1, 8, 20, 40, 60, 100, 300]),
    st.binary(min_size=1, max_size=30),
    st.sampled_from(["png", "jpg", "gif", "tif", "bmp", "webp"]),
)
def test_any_bytes_in_an_image(good, tmp_path_factory, place, content, suffix):
    from PIL import Image

    from protomask.data.decoding import decode

    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    path = folder / f"image.{suffix}"
    with Image.open(good / "cub" / "images" / "001.Bird" / "1.png") as image:
        image.save(path)
    whole = bytearray(path.read_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(whole)
    try:
        assert decode(path)[0].shape[2] == 3
    except InputError as error:
        assert str(path) in str(error)
    shutil.rmtree(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(sorted(Options.__dataclass_fields__)) | st.text(max_size=5)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_options_from_any_values(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "options.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    try:
        options = read_options(path)
        mean, std = options.mean_and_std()
        assert mean is None or (len(mean) == len(std) == 3 and min(std) > 0)
    except InputError as error:
        assert "options.json" in str(error) or str(error).startswith("normalization is")


ARGUMENTS = st.lists(
    st.sampled_from(
        [
            "train",
            "project",
            "explain",
            "evaluate",
            "prune",
            "report",
            "check",
            "import-official",
            "localize",
            "--root",
            "--output",
            "--data",
            "--epochs",
            "--config",
            "--resume",
            "--seed",
            "--image-size",
            "--samples",
            "--weights",
            "--crop",
            "--no-crop",
            "--help",
            "-h",
            "--quiet",
            "--top",
            "--workers",
            "--project",
            "--classes",
            "--device",
            "--format",
            "folder",
            "cub",
            "3",
            "-1",
            "nan",
            "1e400",
            "=",
            "--",
            "",
            "\x00",
            "/nowhere",
            "ünï cödé",
            "a b",
        ]
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(ARGUMENTS)
@example(["train", "--config", "\x00"])
@example(["check", "folder", "--root", "\x00"])
@example(["check", "cub", "--root", "x" * 5000])
@example(["project", "x" * 5000])
@example(["import-official", "\x00", "--output", "/nowhere/a"])
@example(["train", "--data", "folder", "--root", "/nowhere", "--normalization", "nan,0,0,1,1,1"])
@example(["explain", "/nowhere", "\x00"])
def test_any_words_end_well(tmp_path_factory, words):
    """Nothing real is done: no data set and no run is named, and ``train`` alone would train, so it gets a root that is
    none."""
    words = list(words)
    if words[:1] == ["train"]:
        words += ["--data", "folder", "--root", "/nowhere"]
    if "check" in words or "import-official" in words:
        words += ["--root", "/nowhere"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        try:
            assert main(words) in (0, 2)
        except SystemExit as end:  # argparse's own --help
            assert end.code == 0
