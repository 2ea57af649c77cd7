"""What the documents promise."""

import re
from pathlib import Path

import pytest
import torch

import protomask

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_names_that_documents_import_exist():
    for page in PAGES:
        for line in re.findall(r"^from protomask import (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            for name in line.split(","):
                assert getattr(protomask, name.strip()), name


def test_the_localizer_of_the_document_works():
    source = next(block for block in code(ROOT / "docs" / "extending.md", "python") if "class InputGradient" in block)
    names: dict = {"__name__": "example"}
    exec(compile(source, "extending.md", "exec"), names)

    class Corner:
        def score(self, images, index):
            return images[:, 0, :2, :2].sum((1, 2))

    saliency = names["InputGradient"]()(Corner(), torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
    assert saliency.shape == (2, 8, 8)
    assert saliency[:, :2, :2].eq(1).all() and saliency.sum() == 8


def test_options_that_documents_name_exist(capsys):
    from protomask.cli import COMMANDS, main

    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    for page in PAGES:
        for block in code(page, "bash"):
            for line in block.splitlines():
                if line.startswith(("protomask ", "python train.py")):
                    assert set(re.findall(r"--[a-z][a-z-]+", line.partition("#")[0])) <= known, line


def test_the_test_command_of_the_readme_is_what_ci_runs():
    lines = [line for block in code(ROOT / "README.md", "bash") for line in block.splitlines()]
    assert len(lines[0].split("&&")) == 4 and lines[0].endswith("python train.py")
    assert sum("python -m pytest" in line for line in lines) == 1
    assert "grep -m1 'python -m pytest' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
