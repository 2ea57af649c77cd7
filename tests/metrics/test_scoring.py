"""Metrics that ask for scores: the model's state stays, answers are one per image, no images are no question."""

import functools

import pytest
import torch
from torch import nn

import protomask
from protomask import metrics
from protomask.errors import InputError

IMAGES = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0)) + 0.1
INDEX, MAPS = torch.tensor([0, 1, 2]), torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(1))
PARTS = torch.ones(3, 2, dtype=torch.bool)

ASKING = {
    "insertion": lambda score, images, index, maps: metrics.insertion(score, images, index, maps).auc,
    "deletion": lambda score, images, index, maps: metrics.deletion(score, images, index, maps).auc,
    "region_deletion": lambda score, images, index, maps: metrics.region_deletion(score, images, index, maps).auc,
    "relevance_ordering": lambda score, images, index, maps: metrics.relevance_ordering(score, images, index, maps).auc,
    "masked_scores": metrics.masked_scores,
    "kept_by_first": metrics.kept_by_first,
    "road": metrics.road,
    "infidelity": metrics.infidelity,
    "misalignment": lambda score, images, index, maps: metrics.misalignment(
        score, images, index, metrics.outside_top(maps)
    ),
    "move_evidence": lambda score, images, index, maps: metrics.move_evidence(score, images, index, maps, reach=0.1),
    "part_importance": lambda score, images, index, maps: metrics.part_importance(
        score, maps.mean((1, 2)), images[:, None].expand(-1, 2, -1, -1, -1), index, PARTS[: len(images)]
    ),
}


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, 3))


class Judge:
    def __init__(self, model):
        self.model = model

    def judge_score(self, images, index):
        return self.model(images).softmax(1).gather(1, index[:, None])[:, 0]


def scores_of(model):
    """The ways in which people give a score."""
    judge, classifier = Judge(model), protomask.Classifier(model, "probability")
    return [
        classifier.score,
        judge.judge_score,
        lambda images, index: model(images).softmax(1).gather(1, index[:, None])[:, 0],
        lambda images, index: classifier.score(images, index),
        functools.partial(lambda model, images, index: model(images).softmax(1)[:, 0], model),
    ]


@pytest.mark.parametrize("name", ASKING)
def test_a_network_in_training_mode_is_measured_at_rest_and_left_as_it_was(name):
    model, resting = network().train(), network().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for score, expected in zip(scores_of(model), scores_of(resting)):
        found = ASKING[name](score, IMAGES, INDEX, MAPS)
        torch.testing.assert_close(found, ASKING[name](expected, IMAGES, INDEX, MAPS), rtol=0, atol=0, equal_nan=True)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert all(module.training for module in model.modules())
        assert all(each.requires_grad and each.grad is None for each in model.parameters())


def test_similarity_maps_and_renderings_are_asked_of_a_network_at_rest_too():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def similarity_maps(self, images, index):
            return self.norm(images)[:, 0] + 3

        def shown(self, image, parts):
            return float(self.norm(IMAGES[image : image + 1]).detach().mean()) + len(parts) + 3

    model = Maps().train()
    metrics.fidelity(model.similarity_maps, IMAGES, INDEX, MAPS)
    metrics.causal_insertion(model.shown, MAPS[:, 0, :2], PARTS, torch.ones(3))
    assert model.training and int(model.norm.num_batches_tracked) == 0
    expected = metrics.fidelity(lambda x, i: x.mean(1), IMAGES, INDEX, MAPS).auc
    assert torch.equal(metrics.fidelity(lambda x, i: x.mean(1, keepdim=True), IMAGES, INDEX, MAPS).auc, expected)
    for wrong in (lambda x, i: x, lambda x, i: x[:1, 0], lambda x, i: x.sum(), lambda x, i: 1.0):
        with pytest.raises(InputError, match="<lambda> gave .* for 3 images; it must give one map per image"):
            metrics.fidelity(wrong, IMAGES, INDEX, MAPS)


@pytest.mark.parametrize("name", ASKING)
def test_scores_are_one_per_image_and_those_of_another_shape_refused(name):
    class Column(nn.Linear):
        def score(self, images, index):
            return self(images.mean((2, 3)))

    with pytest.raises(InputError, match=r"Column.score gave the shape .* it must give one score per image, \("):
        ASKING[name](Column(3, 3).score, IMAGES, INDEX, MAPS)
    one = Column(3, 1).score
    expected = ASKING[name](lambda images, index: one(images, index)[:, 0], IMAGES, INDEX, MAPS)
    torch.testing.assert_close(ASKING[name](one, IMAGES, INDEX, MAPS), expected, rtol=0, atol=0, equal_nan=True)
    for wrong in (lambda x, i: x.sum(), lambda x, i: 1.0, lambda x, i: x.mean((1, 2, 3))[:1]):
        with pytest.raises(InputError, match="one score per image"):
            ASKING[name](wrong, IMAGES, INDEX, MAPS)


def test_a_score_without_a_gradient_is_refused_where_one_is_needed():
    for name in ("misalignment", "move_evidence"):
        with pytest.raises(InputError, match="no gradient with respect to the images"):
            ASKING[name](lambda x, i: x.detach().mean((1, 2, 3)), IMAGES, INDEX, MAPS)


@pytest.mark.parametrize("name", ASKING)
def test_of_no_images_there_are_no_values_and_no_question(name):
    def refuse(images, index):
        raise AssertionError("asked for no images")

    assert len(ASKING[name](refuse, IMAGES[:0], INDEX[:0], MAPS[:0])) == 0


def test_networks_whose_weights_take_no_gradient_are_measured():
    with torch.inference_mode():
        model = network().eval()
    score = protomask.Classifier(model, "probability").score
    assert metrics.insertion(score, IMAGES, INDEX, MAPS).auc.isfinite().all()
