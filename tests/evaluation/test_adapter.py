"""The adapter of docs/evaluation.md, with a prototype network that knows nothing of this project."""

from pathlib import Path

import pytest
import torch

from protomask.data.transforms import evaluation_transform
from protomask.evaluation import choose_pairs, choose_prototype_pairs, evaluate
from protomask.localizers import MDM, Destroy, Keep, RandomMap, Similarity
from tests.support.toy import ColourImages, ForeignPPNet

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def adapter():
    page = PAGE.read_text(encoding="utf-8")
    source = next(block for block in page.split("```python\n") if "class Adapter" in block).split("```")[0]
    assert len(source.splitlines()) < 30
    names: dict = {"__name__": "example"}
    exec(compile(source, "evaluation.md", "exec"), names)
    return names["Adapter"]


def test_a_foreign_network_is_evaluated(adapter):
    torch.manual_seed(0)
    model = ForeignPPNet()
    images = ColourImages(per_class=4).with_transform(evaluation_transform(16, (0.5,) * 3, (0.5,) * 3))
    network = adapter(model, images.classes, 16, (0.5,) * 3, (0.5,) * 3).eval()
    batch = torch.stack([images[place]["image"].as_subclass(torch.Tensor) for place in range(3)])
    torch.testing.assert_close(network(batch).logits, model(batch)[0])
    torch.testing.assert_close(
        network.score(batch, torch.tensor([0, 3, 5])), network(batch).similarities[range(3), [0, 3, 5]]
    )
    localizers = {
        "mdm": MDM(keep=Keep(sizes=(4,), steps=2), destroy=Destroy(steps=1)),
        "similarity": Similarity(),
        "random": RandomMap(),
    }
    found = evaluate(
        network,
        images,
        localizers,
        choose_pairs(network, images, 6),
        metrics=["all"],
        prototype_pairs=choose_prototype_pairs(network, images, 6),
    )
    assert {"insertion", "fidelity", "randomisation", "energy_box", "max_box", "misalignment"} <= set(found.metrics)
    undefined = {(row["localizer"], row["metric"]) for row in found.rows if row["mean"] is None}
    assert undefined <= {("mdm", "distinctiveness")}  # one of each class's two maps is blank: nothing to keep
    means = {(row["localizer"], row["metric"]): row["mean"] for row in found.rows}
    # A cell sees its own patch alone: what the similarity map shows is what is removed.
    assert means["similarity", "fidelity"] < means["random", "fidelity"]
