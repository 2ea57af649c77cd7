"""Small batches are recorded and replayed; large ones, and what cannot be recorded, run as usual."""

import pytest
import torch
from torch import nn

from protomask.explainable import Classifier
from protomask.localizers import MDM, Keep, Order
from protomask.localizers.engine.speed import graphs
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.engine.speed.graphs import GraphedScores, Recording, scores_and_gradients
from tests.support.scores import Network, pairs

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_scores_come_with_their_gradients():
    network, (images, index) = Network().eval(), pairs(3)
    scores, gradients = scores_and_gradients(network, images, index)
    images.requires_grad_()
    expected = network.score(images, index)
    torch.testing.assert_close(scores, expected.detach())
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.sum(), images)[0])
    assert not scores.requires_grad and not gradients.requires_grad


@pytest.mark.parametrize("possible", [True, False])
def test_each_shape_is_recorded_once(monkeypatch, possible):
    """With a recorder that only notes what it was asked for."""
    network, asked, replayed = Network().eval(), [], []

    def record_graph(explained, images, index, usual):
        asked.append(tuple(images.shape))

        def replay(images, index):
            replayed.append(len(images))
            return scores_and_gradients(explained, images, index)

        return replay if possible else None

    monkeypatch.setattr(graphs, "record_graph", record_graph)
    monkeypatch.setattr(graphs, "run_and_watch", lambda *pair: (scores_and_gradients(*pair), False))
    graphed = GraphedScores(network)
    for count in (2, 3, 2, 2, 3, 60):
        images, index = pairs(count)
        for found, expected in zip(
            scores_and_gradients(graphed, images, index), scores_and_gradients(network, images, index)
        ):
            torch.testing.assert_close(found, expected)
    large, index = pairs(2, 1, graphs.LARGEST)
    network.score = lambda images, index: images.sum((1, 2, 3))
    scores_and_gradients(graphed, large, index)
    assert asked == [(2, 3, 24, 24), (3, 3, 24, 24), (60, 3, 24, 24)]
    assert replayed == ([2, 2, 3] if possible else [])


def test_what_may_do_more_than_compute_is_not_recorded():
    class Noted(Classifier):
        """Somebody's own."""

    images, index = pairs(1)
    assert not isinstance(accelerate(Classifier(Network()), images, index), GraphedScores)  # on a processor
    if torch.cuda.is_available():
        images, index, network = images.cuda(), index.cuda(), Network().cuda()
        assert isinstance(accelerate(Classifier(network), images, index), GraphedScores)
        assert not isinstance(accelerate(Noted(network), images, index), GraphedScores)
        assert not isinstance(accelerate(network, images, index), GraphedScores)
        network.body[0].register_forward_hook(lambda *_: None)
        assert not isinstance(accelerate(Classifier(network), images, index), GraphedScores)


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_replay_gives_what_a_pass_gives(precision):
    graphed = accelerate(Classifier(Network().cuda(), "logit"), *(tensor.cuda() for tensor in pairs(3)), precision)
    for seed in range(4):
        images, index = (tensor.cuda() for tensor in pairs(3, seed=seed))
        index = (index + seed) % 4
        found, expected = (
            scores_and_gradients(graphed, images, index),
            scores_and_gradients(graphed.explained, images, index),
        )
        for one, two in zip(found, expected):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert isinstance(graphed.recorded[torch.Size([3, 3, 24, 24])], Recording)


@needs_cuda
def test_a_model_that_waits_for_the_device_runs_as_usual():
    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = Network()

        def forward(self, images):
            logits = self.network(images)
            return logits * (2.0 if logits.sum().item() > -1e9 else 1.0)

    images, index = (tensor.cuda() for tensor in pairs(3))
    model = Waiting().cuda().eval()
    graphed = accelerate(Classifier(model, "logit"), images, index)
    for _ in range(3):
        for found, expected in zip(
            scores_and_gradients(graphed, images, index),
            scores_and_gradients(Classifier(model, "logit"), images, index),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert graphed.recorded == {images.shape: None}
    saliency = MDM(keep=Keep(steps=3), order=Order(steps=3))(Classifier(model, "logit"), images, index)
    assert saliency.isfinite().all()
    assert torch.rand(3, device="cuda").isfinite().all()  # the device's generator works again
