"""One small run, trained once, that the tests of the commands share."""

import shutil

import pytest
from PIL import Image

from protomask.cli import main
from protomask.run_folder import RunFolder
from tests.support.once import made_once
from tests.support.toy import ColourImages

SMALL = [
    "--backbone",
    "test_resnet",
    "--features",
    "8",
    "--image-size",
    "48",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--prototypes-per-class",
    "2",
    "--prototype-channels",
    "16",
    "--samples",
    "6",
    "--workers",
    "0",
    "--quiet",
]


def write_folder(root, per_class=10):
    for split, count, seed in (("train", per_class, 0), ("test", 4, 1)):
        data = ColourImages(count, seed=seed)
        for place, label in enumerate(data.labels.tolist()):
            folder = root / split / f"colour {label}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (data.pixels[place].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).resize((48, 48)).save(folder / f"{place}.png")
    return root


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return made_once(tmp_path_factory, "pictures of end_to_end", write_folder)


@pytest.fixture(scope="session")
def run(folder, tmp_path_factory):
    words = ["train", "--data", "folder", "--root", str(folder), *SMALL, "--black-box"]

    def make(place):
        assert main([*words, "--output", str(place / "a run")]) == 0

    # Trained once; every process of the tests writes to a copy of its own.
    made = made_once(tmp_path_factory, "run of end_to_end", make)
    return copied(RunFolder(made / "a run"), tmp_path_factory.mktemp("runs") / "a run")


def copied(run, folder):
    """A copy of a run to work on, because other tests use the shared one."""
    shutil.copytree(run.folder, folder)
    return RunFolder(folder)


# How a run becomes one whose pictures, evaluation and page cost little.
CHEAP = {
    "project": ["project", "{run}", "--localizer", "center"],
    "evaluate": ["evaluate", "{run}", "--localizers", "center,similarity", "--metrics", "deletion", "--samples", "2"],
    "report": ["report", "{run}", "--explained", "1"],
}


@pytest.fixture(scope="session")
def cheap(run, tmp_path_factory):
    """A run whose pictures, evaluation and page cost little; to be copied, not changed."""

    def make(place):
        copy = copied(run, place / "run")
        shutil.rmtree(copy / "evaluation")
        for words in CHEAP.values():
            assert main([*(word.format(run=copy.folder) for word in words), "--quiet"]) == 0

    return RunFolder(made_once(tmp_path_factory, "cheap run of end_to_end", make) / "run")
