"""Damaged files and words for every reader: a result or one InputError, in bounded time.

Found cases stay in ``corpus``. By hand, longer: ``PROTOMASK_FUZZING=10000 python -m pytest tests/fuzzing``.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.readers import all_readers, survives
from tests.support.alarm import at_most

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("PROTOMASK_FUZZING", 12))
SECONDS = 60  # far more than any of them takes
NAMES = [
    *(f"picture {suffix}" for suffix in ("png", "jpg", "gif", "tif", "bmp", "webp", "ppm", "dcm")),
    "mask",
    "hf train/state.json",
    "hf train/dataset_info.json",
    "hf train/data-00000-of-00001.arrow",
    "hf parquet",
    "options",
    "options.yaml",
    "config.json",
    "metrics.json",
    "log.jsonl",
    "evaluation.json",
    "prototypes.json",
    "prototypes/maps.npz",
    "prototypes/0000.png",
    "prototypes/nearest.npz",
    "prototypes/files.json",
    "inspection.json",
    "review.json",
    "refined.json",
    "forbidden.json",
    "model.json",
    "localizer.json",
    "safetensors",
    "weights safetensors",
    "weights pth",
    "torch file",
    "official",
    "checkpoint",
    "architecture",
    "names",
    "labels",
    "owners",
    "owners npy",
    "localizers",
    "backbone",
    "range",
]
# What is put into a file: numbers at the edges of their types, and pieces of the formats' own grammars.
EDGES = [
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for order in ("little", "big")
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size) - 1)
]
WORDS = (
    *("null", "true", "NaN", "-Infinity", "1e999", "-1", "1e308", '""', "[]", "{}", "[" * 3000, '{"a":', "\\ud800"),
    *(
        "\0",
        "\n",
        ",",
        ":",
        "=",
        "+",
        ".",
        "(",
        "٣",
        "é",
        "9" * 30,
        "9" * 5000,
        "none",
        "&a *a",
        "../",
        "cos\nsystem\n",
    ),
    "!!python/object:os.system",
)
PIECES = st.sampled_from([*EDGES, *(word.encode() for word in WORDS), b"\xff\xfe", b"\x80\x04"]) | st.binary(max_size=8)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "cut", "end", "repeat", "flip"]), st.floats(0, 1), PIECES, st.integers(0, 64)
    ),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits) -> bytes:
    found = bytearray(content)
    for kind, where, piece, length in edits:
        place = int(where * len(found))
        if kind == "set":
            found[place : place + len(piece)] = piece
        elif kind == "insert":
            found[place:place] = piece
        elif kind == "cut":
            del found[place : place + length]
        elif kind == "end":
            del found[place:]
        elif kind == "repeat":
            found[place:place] = found[place : place + length] * 3
        elif place < len(found):
            found[place] ^= 1 << length % 8
    return bytes(found)


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return all_readers(tmp_path_factory.mktemp("examples"))


def test_every_reader_has_its_test(readers):
    assert sorted(readers) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_good_examples_are_read(name, readers, tmp_path):
    for example in readers[name].examples:
        if b"nan" not in example:
            assert survives(readers[name], tmp_path, example)


@pytest.mark.parametrize("name", NAMES)
def test_damaged(name, readers, tmp_path_factory):
    reader, folder = readers[name], tmp_path_factory.mktemp("damaged")

    @settings(suppress_health_check=list(HealthCheck), max_examples=EXAMPLES, deadline=None)
    @given(st.sampled_from(reader.examples), EDITS)
    def damaged(example, edits):
        with at_most(SECONDS):
            survives(reader, folder, edited(example, edits))

    damaged()


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_found_before(path, readers, tmp_path):
    """``corpus/NAME OF READER/what went wrong``, with a slash as ``_``."""
    reader = next(reader for name, reader in readers.items() if name.replace("/", "_") == path.parent.name)
    with at_most(SECONDS):
        survives(reader, tmp_path, path.read_bytes())
