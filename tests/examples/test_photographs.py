"""The notebook on photographs runs from top to bottom, with a small network without training in its first cell."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "photographs.ipynb"
AS_PRINTED, SMALLER = 'MODEL, PRETRAINED = "resnet50", True', 'MODEL, PRETRAINED = "test_resnet", False'


def test_the_notebook_on_photographs(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing the notebook"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].source.count(AS_PRINTED) == 1
    small = "import warnings; warnings.simplefilter('ignore')\n" + cells[0].source.replace(AS_PRINTED, SMALLER)
    cells[0].source = small.replace("skimage.data, name)()", "skimage.data, name)()[::4, ::4]").replace(
        ', "rocket", "astronaut")', ', "rocket")'
    )
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    text = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    for words in ("chelsea - ", "rocket - ", "localised by gradcam", "insertion", "mdm", "center"):
        assert words in text
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 1
