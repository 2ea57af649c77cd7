"""Localizers with settings, wherever a command names them."""

import json

import numpy as np
import pytest
from PIL import Image

from protomask.cli import main
from tests.end_to_end.conftest import copied

NARROW, WIDE = "center:width=0.1", "center:width=0.5"
LIST = f"{NARROW},{WIDE},random:seed=3"


@pytest.fixture(scope="module")
def own(run, tmp_path_factory):
    """A copy of the run with pictures by localizers that have settings."""
    copy = copied(run, tmp_path_factory.mktemp("settings") / "run")
    assert main(["project", str(copy.folder), "--localizer", LIST, "--quiet"]) == 0
    return copy


def test_pictures_explanations_and_report(own, folder, tmp_path, capsys):
    rows = own.read("prototypes.json")
    assert all(set(row["boxes"]) == {NARROW, WIDE, "random:seed=3", "similarity"} for row in rows)
    area = [[(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (row["boxes"][NARROW], row["boxes"][WIDE])] for row in rows]
    assert all(small <= large for small, large in area)
    picture = next(iter(sorted((folder / "test").rglob("*.png"))))
    words = ["explain", str(own.folder), str(picture), "--localizer", f"{NARROW},{WIDE}", "--json", "--quiet"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["report", str(own.folder), "--explained", "1", "--quiet"]) == 0
    page = (own / "report.html").read_text(encoding="utf-8")
    assert "Centre (width=0.1)" in page and "Centre (width=0.5)" in page and "Random (seed=3)" in page


def test_evaluation_compares_a_method_with_itself(own, capsys):
    words = ["--localizers", f"{NARROW},{WIDE}", "--metrics", "deletion", "--samples", "4", "--quiet"]
    assert main(["evaluate", str(own.folder), *words]) == 0
    table = capsys.readouterr().out
    assert NARROW in table and WIDE in table
    found = own.read("evaluation.json")
    assert [row["localizer"] for row in found["rows"]] == [NARROW, WIDE]
    assert found["rows"][0]["mean"] != found["rows"][1]["mean"]
    assert main(["evaluate", str(own.folder), "--localizers", "center:widht=1", "--quiet"]) == 2
    error = capsys.readouterr().err.strip()
    assert "did you mean width?" in error and len(error.splitlines()) == 1


def test_file_names_are_safe_everywhere(own, tmp_path, capsys):
    picture = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(picture)
    words = ["--model", "test_resnet", "--image-size", "32", "--localizer", LIST, "--quiet", "--output"]
    assert main(["localize", *words, str(tmp_path / "out"), str(picture)]) == 0
    [record] = json.loads((tmp_path / "out" / "localize.json").read_text())
    maps = record["classes"][0]["maps"]
    assert list(maps) == [NARROW, WIDE, "random:seed=3"]
    assert not np.array_equal(*(np.load(tmp_path / "out" / "x" / maps[name]["map"]) for name in (NARROW, WIDE)))
    main(["evaluate", str(own.folder), "--localizers", LIST, "--metrics", "deletion", "--samples", "2", "--quiet"])
    for path in (*own.folder.rglob("*"), *(tmp_path / "out").rglob("*")):
        assert not set(path.name) & set(':,=*?"<>|\\'), path


@pytest.mark.parametrize("words", [["project"], ["explain"], ["evaluate"]])
def test_a_list_without_a_localizer_is_refused_by_its_option(own, folder, words, capsys):
    picture = [str(next(iter(sorted((folder / "test").rglob("*.png")))))] if words == ["explain"] else []
    option = "--localizers" if words == ["evaluate"] else "--localizer"
    assert main([*words, str(own.folder), *picture, option, " ,", "--quiet"]) == 2
    error = capsys.readouterr().err.strip()
    assert f"{option} names no localizer" in error and len(error.splitlines()) == 1
