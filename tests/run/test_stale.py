"""Of what a command writes anew nothing of before is left beside it, wherever it is stopped."""

import shutil

import pytest

import protomask
from protomask.errors import InputError
from protomask.localizers import get_localizer
from protomask.run import pictures as writing


@pytest.fixture
def own(in_memory, tmp_path):
    run, (train, test) = in_memory
    shutil.copytree(run.folder, tmp_path / "run")
    return protomask.open_run(tmp_path / "run", data=(train, test))


def test_an_evaluation_without_classes_takes_their_table_of_before_away(own):
    table = own.folder / "evaluation_classes.csv"
    own.evaluate("center", metrics="deletion", samples=3, per_class=True)
    assert table.is_file()
    own.evaluate("center", metrics="deletion", samples=3)
    assert not table.exists() and (own.folder / "evaluation.csv").is_file()


def test_figures_of_a_report_before_go_and_those_of_others_stay(own):
    own.report(explained=3, figures="svg")
    folder = own.folder / "figures"
    for name in ("mine.svg", "panel_2.pdf"):
        (folder / name).write_text("mine")
    assert (folder / "panel_2.svg").is_file()
    written = own.report(explained=1, figures="svg").figures
    assert {path.name for path in folder.iterdir()} == {"mine.svg", "panel_2.pdf", *(path.name for path in written)}
    assert not (folder / "panel_2.svg").exists()


def test_pictures_count_as_made_only_with_their_galleries(own, in_memory, monkeypatch):
    """Stopped while galleries are drawn, a training that is resumed draws them; before, it took them for done."""

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "save_galleries", stopped)
    with pytest.raises(KeyboardInterrupt):
        own.project()
    assert not (own.folder / "prototypes.json").exists()
    monkeypatch.undo()
    words = {"classes": ["red", "green", "blue"], "output": own.folder, "resume": True, "progress": False}
    again = protomask.train(data=in_memory[1], **words)
    assert (again.folder / "prototypes.json").is_file() and list((again.folder / "prototypes").glob("gallery_*.png"))


def test_pictures_by_a_localizer_that_no_name_makes_say_so(own, caplog):
    caplog.set_level("INFO", "protomask")
    own.project({"mine": get_localizer("center")})
    assert "pictures by 'mine', a localizer given in Python" in caplog.text
    with pytest.raises(InputError, match=r"are by mine, similarity, .* make them anew: protomask project .*center"):
        own.report(explained=1)
    own.project({"mdm": get_localizer("center")})
    assert "under the name 'mdm'" in caplog.text
    caplog.clear()
    own.project({"center": get_localizer("center")})
    assert "given in Python" not in caplog.text and "usual settings" not in caplog.text
