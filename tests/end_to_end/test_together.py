"""Commands that two processes share leave the files that one process leaves, byte for byte."""

import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import protomask
from protomask import distributed
from protomask.cli import main
from protomask.errors import InputError
from tests.distributed.forks import all_done, together
from tests.end_to_end.conftest import copied

PICTURES = [
    ["project", "RUN", "--localizer", "mdm:keep.steps=3,center", "--quiet", "--device", "cpu"],
    ["report", "RUN", "--explained", "3", "--figures", "svg", "--quiet", "--device", "cpu"],
]
LOCALIZE = [
    *[
        "localize",
        "PICTURES",
        "--output",
        "OUTPUT",
        "--model",
        "test_resnet",
        "--weights",
        "WEIGHTS",
        "--image-size",
        "32",
    ],
    *["--localizer", "mdm:keep.steps=3,gradcam", "--batch-size", "2", "--top", "2", "--quiet", "--device", "cpu"],
]
DISTILL = [
    *["distill", "RUN", "--steps", "4", "--imitation", "2", "--maps", "3", "--batch-size", "4", "--quiet"],
    *["--device", "cpu"],
]


def run_all(commands):
    """Run commands one after the other, in all processes of a job."""
    with distributed.job(torch.device("cpu")):  # joined once: the addresses of the processes are good for one time
        for words in commands:
            assert main(words) == 0, words


def filled(commands, **words):
    return [[words.get(word, word) for word in each] for each in commands]


@pytest.fixture(scope="module")
def localized(folder, tmp_path_factory):
    """A plain classifier's weights, and five pictures."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("classifier")
    save_file(timm.create_model("test_resnet", num_classes=12).state_dict(), place / "weights.safetensors")
    for number, path in enumerate(sorted(folder.rglob("*.png"))[::4][:5]):
        shutil.copy(path, place / f"picture {number}.png")
    return {"PICTURES": str(place), "WEIGHTS": str(place / "weights.safetensors")}


@pytest.fixture(scope="module")
def both(run, tmp_path_factory, localized):
    """The same run, its pictures and its page made by one process and by two; likewise maps of a plain classifier."""
    folders = []
    for name in ("one", "two"):
        copy = copied(run, tmp_path_factory.mktemp(name) / "run")
        config = copy.read("config.json")
        config["options"]["batch_size"] = 3  # so that the six prototypes are more than one piece
        copy.write("config.json", config)
        output = str(copy.folder.parent / "out")
        commands = filled([*PICTURES, LOCALIZE, DISTILL], RUN=str(copy.folder), OUTPUT=output, **localized)
        if name == "one":
            run_all(commands)
        else:
            all_done(together(2, run_all, commands))
        folders.append(copy)
    return folders


def test_pictures_and_inspection(both):
    one, two = both
    names = sorted(path.name for path in (one / "prototypes").iterdir())
    assert names == sorted(path.name for path in (two / "prototypes").iterdir())
    assert {"0005.png", "maps.npz", "nearest.npz", "files.json"} <= set(names) and "pieces" not in names
    for name in (*(f"prototypes/{each}" for each in names), "prototypes.json", "inspection.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert one.read("metrics.json")["reasoning"] == two.read("metrics.json")["reasoning"]


def test_the_page_and_its_figures(both):
    one, two = both
    pages = [(run / "report.html").read_text(encoding="utf-8").replace(str(run.folder), "RUN") for run in both]
    assert pages[0] == pages[1] and "data:image/webp" in pages[0]
    assert {path.name for path in (one / "figures").iterdir()} == {path.name for path in (two / "figures").iterdir()}


def test_maps_of_a_plain_classifier(both):
    folders = [run.folder.parent / "out" for run in both]
    names = [sorted(str(path.relative_to(each)) for path in each.rglob("*") if path.is_file()) for each in folders]
    names = [[name for name in each if name != ".lock"] for each in names]  # says which process it was
    assert names[0] == names[1] and len([name for name in names[0] if name.endswith(".npy")]) == 5 * 2 * 2
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_one_process_finishes_what_two_have_left(both, localized):
    output = both[1].folder.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.npy")}
    gone = output / "picture 3"
    shutil.rmtree(gone)
    assert main(filled([LOCALIZE], OUTPUT=str(output), **localized)[0]) == 0
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.npy")}
    assert before.keys() == after.keys()
    assert {path.parent for path in before if before[path] != after[path]} == {gone}


def test_an_explainer_is_distilled_the_same_but_for_rounding(both):
    one, two = (load_file(run / "localizer.safetensors") for run in both)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3, msg=name)
    first, second = (run.read("localizer.json") for run in both)
    assert [row["step"] for row in first["training"]["log"]] == [row["step"] for row in second["training"]["log"]]
    assert first["held_out"] == pytest.approx(second["held_out"], abs=1e-3)


def test_a_batch_that_is_too_small_for_the_processes(run, monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 5)
    with pytest.raises(InputError, match="a batch of 4 images cannot be shared by 5 processes"):
        protomask.open_run(run.folder, progress=False).distill(batch_size=4, maps=0)
