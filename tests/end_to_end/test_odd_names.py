"""Names that are no UTF-8, too long, or like our own files; the official recipe of a single epoch."""

import os
import shutil

import pytest

from protomask.cli import main
from protomask.run_folder import RunFolder
from tests.end_to_end.conftest import SMALL, write_folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    base = tmp_path_factory.mktemp("odd")
    root = write_folder(base / "pictures", 4)
    for split in ("train", "test"):
        os.rename(os.fsencode(root / split / "colour 0"), os.fsencode(root / split) + b"/caf\xe9")
        os.rename(root / split / "colour 1", root / split / ("x" * 250))
    words = [*SMALL, "--recipe", "official", "--localizer", "center"]
    words[words.index("--epochs") + 1] = "1"
    assert main(["train", "--data", "folder", "--root", str(root), "--output", str(base / "run"), *words]) == 0
    picture = next(iter(sorted((root / "test").rglob("*.png"))))
    for name in ("localize.json.png", "...png"):
        shutil.copy(picture, base / name)
    return base


def test_every_class_has_a_gallery_of_its_own(odd):
    run = RunFolder(odd / "run")
    assert len(list((run / "prototypes").glob("gallery_*.png"))) == 3
    assert {row["class_name"] for row in run.read("prototypes.json")} == {"caf\udce9", "x" * 250, "colour 2"}
    assert run.read("metrics.json")["seconds"]["joint"] == 0 and (run / "report.html").stat().st_size > 10_000


def test_panels_and_maps_stay_in_their_folders(odd, capsys):
    images = [str(odd / "localize.json.png"), str(odd / "...png")]
    before = set(odd.iterdir())
    assert main(["explain", str(odd / "run"), *images, "--localizer", "center", "--quiet"]) == 0
    words = ["--model", "test_resnet", "--localizer", "center", "--output", str(odd / "out" / "maps"), "--quiet"]
    assert main(["localize", *images, *words]) == 0
    assert set(odd.iterdir()) - before == {odd / "out"}
    assert [path.name for path in (odd / "out").iterdir()] == ["maps"]
    assert (odd / "out" / "maps" / "localize.json").is_file()
    assert (odd / "out" / "maps" / "localize.json-2" / "record.json").is_file()
    assert len(list((odd / "run" / "explanations").glob("*.png"))) == 2
    capsys.readouterr()


def test_loops_of_links_are_named(odd, capsys):
    (odd / "loop").symlink_to("loop")
    for words in (["evaluate", str(odd / "loop")], ["train", "--data", "folder", "--root", str(odd / "loop")]):
        assert main([*words, "--quiet", *(["--output", str(odd / "other")] if words[0] == "train" else [])]) == 2
        assert "loop" in capsys.readouterr().err.splitlines()[-1]
