"""Figures one by one, and a mask that grows, out of a run."""

import pytest
from PIL import Image

from protomask.cli import main
from tests.end_to_end.conftest import copied


@pytest.fixture(scope="module")
def own(run, tmp_path_factory):
    copy = copied(run, tmp_path_factory.mktemp("own") / "run")
    assert main(["project", str(copy.folder), "--localizer", "mdm", "--quiet"]) == 0
    return copy


def test_the_report_writes_its_figures_one_by_one(own, capsys):
    assert main(["report", str(own.folder), "--figures", "svg", "--explained", "2", "--quality", "30", "--quiet"]) == 0
    names = {path.name for path in (own / "figures").iterdir()}
    assert {"panel_1.svg", "panel_2.svg", "localizers.svg", "official.svg", "training.svg"} <= names
    assert (own / "report.html").read_text().count('<article class="panel"') == 2
    assert main(["report", str(own.folder), "--quality", "0", "--quiet"]) == 2
    assert "quality is 0" in capsys.readouterr().err


def test_explain_animates_the_strongest_prototype(own, folder, tmp_path, capsys):
    picture = str(next((folder / "test").rglob("*.png")))
    words = ["explain", str(own.folder), picture, "--top", "1", "--output", str(tmp_path), "--quiet"]
    assert main([*words, "--animate", "--format", "pdf"]) == 0
    (panel,), (animation,) = tmp_path.glob("*.pdf"), tmp_path.glob("*.gif")
    assert panel.read_bytes().startswith(b"%PDF") and panel.stem == animation.stem
    with Image.open(animation) as gif:
        assert gif.n_frames > 2
    before = set(tmp_path.iterdir())
    assert main([*words, "--localizer", "similarity", "--animate"]) == 2  # no panel is drawn before that is known
    assert "has no steps" in capsys.readouterr().err and set(tmp_path.iterdir()) == before
    assert main([*words, "--localizer", "center"]) == 2
    assert f"protomask project {own.folder} --localizer center,similarity" in capsys.readouterr().err
