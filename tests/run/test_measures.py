"""What ``metrics.json`` says of a network is measured on that network, not on what it was before."""

import pytest
import torch

from protomask.run.measures import AT_THE_END, training_metrics, validated, with_test_accuracy
from protomask.training import Action, TrainingSet, train
from protopnet import ProtoPNet
from tests.support.toy import ColourImages, ToyBackbone


def test_the_validation_accuracy_is_that_of_the_network_at_the_end():
    torch.manual_seed(0)
    data = ColourImages()
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=2, channels=6)
    setup = TrainingSet(data, data, data.subset(range(12)))

    def always(number):
        def answer(network, setup):
            with torch.no_grad():
                network.last_layer.weight.zero_()[number] = 1
            return {}

        return answer

    first, last = (int(data.labels[:12].bincount().argsort()[place]) for place in (0, -1))
    stages = [Action("projection", always(first)), Action("refit", always(last))]
    rows = train(net, with_test_accuracy(stages, data), setup)
    assert [row["stage"] for row in rows if "validation_accuracy" in row] == [AT_THE_END]
    expected = (data.labels[:12] == last).double().mean().item()
    epoch = {"stage": "joint", "epoch": 1, "validation_accuracy": 0.987, "seconds": 1.0}
    assert training_metrics([epoch, *rows])["validation_accuracy"] == pytest.approx(expected)
    assert validated(net, setup)["validation_accuracy"] == pytest.approx(expected)

    none = TrainingSet(data, data, data.subset([]))
    assert validated(net, none) == {}
    before = [{key: value for key, value in row.items() if key != "validation_accuracy"} for row in rows]
    assert training_metrics(before)["validation_accuracy"] is None  # a log of before, or no validation images
