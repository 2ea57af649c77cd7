import math
import warnings

import pytest
import torch

from protomask.errors import NothingToKeepWarning
from protomask.localizers import get_localizer
from protomask.localizers.engine.learning import MaskState
from protomask.localizers.engine.objective import (
    begin_objective,
    masked_images,
    probability,
    remaining_score,
    score_drop,
)
from tests.support.scores import Constant, Region


def entered(score, images, explained):
    index = torch.zeros(len(images), dtype=torch.long)
    pairs = MaskState(images, index, torch.tensor(score), index.clone(), index.clone())
    begin_objective(explained, pairs, "zero")
    return pairs


def test_the_range_is_what_there_is_to_lose():
    images = torch.ones(2, 3, 4, 4) * torch.tensor([2.0, 3.0]).view(2, 1, 1, 1)
    pairs = entered([2.0, 3.0], images, Region(slice(None), slice(None)))
    assert pairs.buffers["empty"].tolist() == [0, 0] and pairs.buffers["range"].tolist() == [2, 3]
    half = torch.tensor([1.0, 1.5])
    assert score_drop(pairs, half).tolist() == [0.5, 0.5] and remaining_score(pairs, half).tolist() == [0.5, 0.5]
    assert score_drop(pairs, half + 3).tolist() == [-1, -0.5] and remaining_score(pairs, -half).tolist() == [0, 0]


def test_a_score_that_the_empty_image_reaches_keeps_the_terms_finite():
    pairs = entered([-3.0], torch.ones(1, 3, 4, 4), Constant(-3.0))
    assert math.isclose(pairs.buffers["range"].item(), 0.03, rel_tol=1e-5)
    pairs = entered([0.0], torch.ones(1, 3, 4, 4), Constant(0.0))
    assert score_drop(pairs, torch.tensor([0.0])).isfinite().all() and pairs.buffers["range"] > 0


def test_shown_mixes_image_and_background():
    pairs = entered([1.0], torch.full((1, 3, 2, 2), 4.0), Constant(1.0))
    mask = torch.tensor([[0.0, 0.25], [0.5, 1.0]]).view(1, 1, 2, 2)
    assert masked_images(pairs, mask)[0, 1].tolist() == [[0, 1], [2, 4]]


def test_probabilities_are_those_of_a_classifier():
    class Kind:
        def __init__(self, kind):
            self.kind = kind

    scores = torch.tensor([0.5])
    assert torch.equal(probability(Kind("log-probability"), scores), scores.exp())
    assert torch.equal(probability(Kind("probability"), scores), scores)
    assert probability(Kind("logit"), scores) is None and probability(object(), scores) is None


@pytest.mark.parametrize("method", ["mdm", "hdm"])
def test_a_warning_where_there_is_nothing_to_keep(method):
    """Image 1 is darker than the empty image, where the score is the brightness."""
    localizer = get_localizer(f"{method}:keep.steps=2,order.steps=1")
    images = torch.ones(2, 3, 24, 24) * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    with pytest.warns(NothingToKeepWarning, match=r"no evidence to show, in image 1 \(index 3: -1, empty 0\)$") as seen:
        localizer(Region(slice(0, 12), slice(0, 12)), images, torch.tensor([2, 3]))
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        localizer(Region(slice(0, 12), slice(0, 12)), images[:1], torch.tensor([2]))
