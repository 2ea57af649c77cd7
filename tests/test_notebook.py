"""The tutorial runs from top to bottom: as printed where there is time, else with smaller numbers in its first cell."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


AS_PRINTED = "SIZE, PER_CLASS, EPOCHS, SAMPLES = 64, 80, 20, 12"
# The last layer is fitted on fewer passes, too.
SMALLER = """SIZE, PER_CLASS, EPOCHS, SAMPLES = 48, 32, 8, 2
from protomask.training import last_layer
last_layer.PASSES = 3"""


@pytest.fixture(
    scope="module", params=[SMALLER, pytest.param(AS_PRINTED, marks=pytest.mark.slow)], ids=["smaller", "as printed"]
)
def cells(request, tmp_path_factory):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing the notebook"
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source.count(AS_PRINTED) == 1
    first.source = first.source.replace(AS_PRINTED, request.param)
    folder = str(tmp_path_factory.mktemp("notebook"))
    nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_tutorial_runs_and_shows_what_it_says(cells):
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2 and kinds.count("image/gif") == 1
    text = "\n".join(map(printed, cells))
    for words in (
        "test accuracy before projection",
        "looks like prototype",
        "insertion",
        "mdm ahead of similarity",
        "prototypes removed",
    ):
        assert words in text
    before, after = map(float, re.search(r"before projection (\S+), after it (\S+)", text).groups())
    assert 0.25 <= before <= 1 and 0.25 <= after <= 1, "no better than chance"
    assert len(re.findall(r"^prototype \d+: purity", text, re.MULTILINE)) == 12
    removed, count, pruned = re.search(r"(\d+) of (\d+) prototypes removed; .* (\S+) after", text).groups()
    assert int(removed) <= 8 and int(count) == 12 and 0.25 <= float(pruned) <= 1
