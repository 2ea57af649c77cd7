"""The oracle is first and maps that know nothing are last, on rendered scenes and a network whose causes are real."""

import pytest
import torch

from protomask.data.parts import load_parts
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation import Oracle, Pairs, evaluate
from protomask.localizers import CenterMap, RandomMap
from tests.evaluation.test_evaluate import Tiles

GROUND_TRUTH = (
    "energy_box",
    "energy_mask",
    "outside_inside",
    "part_correlation",
    "top_part",
    "causal_overlap",
    "causal_insertion",
)


class Reds:
    """A score that rests on the scene: how much red there is, where red stands out."""

    def score(self, images, index):
        red = (images[:, 0] - images[:, 1:].amax(1) - 0.15).relu()
        return 0.1 + red.mean((1, 2))


@pytest.fixture(scope="module")
def scenes():
    data = load_parts(classes=4, train_per_class=1, test_per_class=3, image_size=48, validation=0, cache=False).test
    return data.with_transform(evaluation_transform(48, (0, 0, 0), (1, 1, 1)))


def test_the_oracle_is_first_and_knowing_nothing_is_last(scenes):
    pairs = Pairs(torch.arange(12), torch.zeros(12))
    localizers = {"oracle": Oracle(), "random": RandomMap(), "center": CenterMap()}
    found = evaluate(Reds(), scenes, localizers, pairs, metrics=list(GROUND_TRUTH))
    means = {(row["localizer"], row["metric"]): row["mean"] for row in found.rows}
    for metric in GROUND_TRUTH:
        sign = -1 if metric == "outside_inside" else 1
        assert sign * means["oracle", metric] > sign * max(
            means["random", metric], means["center", metric], key=lambda x: sign * x
        ), metric
    assert means["oracle", "part_correlation"] > 0.95 and means["oracle", "top_part"] == 1
    assert means["oracle", "energy_mask"] == pytest.approx(1)


def test_scenes_without_several_parts(scenes):
    without = scenes.without_parts(0, range(6))["image"]
    assert not torch.equal(without, scenes[0]["image"]) and torch.equal(
        scenes.without_parts(0, ())["image"], scenes[0]["image"]
    )
    assert torch.equal(scenes.without_parts(0, [2])["image"], scenes.without_part(0, 2)["image"])


def test_the_oracle_needs_the_truth():
    with pytest.raises(InputError, match="oracle.*parts"):
        evaluate(Reds(), Tiles(), {"oracle": Oracle()}, Pairs([0], [0]), metrics=["gain"])
    with pytest.raises(InputError, match="oracle"):
        Oracle()(Reds(), torch.rand(1, 3, 8, 8), torch.tensor([0]))
