"""A file that was trained with the linear similarity is told by its answers."""

import pytest
import torch
from torch import nn

from protomask.errors import InputError
from protomask.prototype_network import Prediction
from protomask.training import TrainingSet
from protopnet.linear_similarity import linear_is_better, refuse_linear_similarity
from protopnet.prototypes import log_similarity
from tests.support.toy import ColourImages


class TwoPerClass(nn.Module):
    """For each image one class has a very near and a far prototype, another two of middling distance.

    By the log similarity the former is the answer, by the linear one the latter.
    """

    def __init__(self, right_by):
        super().__init__()
        self.right_by = right_by
        self.last_layer = nn.Linear(6, 3, bias=False)
        self.last_layer.weight.data = torch.eye(3).repeat_interleave(2, 1)

    def forward(self, images):
        label = images.mean((2, 3)).argmax(1)
        other = (label + 1) % 3
        by_log, by_sum = (label, other) if self.right_by == "log" else (other, label)
        distances = torch.full((len(images), 3, 2), 9.0)
        rows = torch.arange(len(images))
        distances[rows, by_log], distances[rows, by_sum] = torch.tensor([0.001, 3.0]), torch.tensor([1.0, 1.0])
        distances = distances.flatten(1)
        similarities = log_similarity(distances)
        return Prediction(self.last_layer(similarities), similarities, distances)


@pytest.mark.parametrize("right_by", ["log", "linear"])
def test_a_network_of_the_linear_similarity_is_refused_and_no_other(right_by, tmp_path):
    data = ColourImages(6, seed=0)
    setup = TrainingSet(data, data, data.subset([]), batch_size=7)
    network = TwoPerClass(right_by)
    if right_by == "log":
        return refuse_linear_similarity(network, data, setup, "file.pth")
    with pytest.raises(InputError, match=r"file.pth: .*'linear'.* 18 of 18 .* log similarity 0;"):
        refuse_linear_similarity(network, data, setup, "file.pth")


def test_a_small_difference_says_nothing():
    log = torch.zeros(100, dtype=torch.bool)
    linear = torch.arange(100) < 9
    assert not linear_is_better(log, linear) and linear_is_better(log, torch.arange(100) < 10)
    assert not linear_is_better(log, log) and not linear_is_better(linear, log)
