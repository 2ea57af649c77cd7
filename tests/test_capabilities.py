import torch
from torch import nn

from protomask.capabilities import HasScoreKind, HasSimilarityMaps, class_of_index, score_kind
from protomask.explainable import Classifier
from protomask.prototype_network import PrototypeNetwork


class Plain:
    def score(self, images, index):
        return images.mean((1, 2, 3))


class Owned(Plain):
    prototype_classes = torch.tensor([2, 0])

    def similarity_maps(self, images, index):
        return images[:, 0]


def test_what_is_offered_is_asked_by_type():
    classifier = Classifier(nn.Linear(2, 2), "logit")
    assert isinstance(classifier, HasScoreKind) and score_kind(classifier) == "logit"
    assert not isinstance(Plain(), HasScoreKind) and score_kind(Plain()) is None
    assert isinstance(Owned(), HasSimilarityMaps) and not isinstance(Plain(), HasSimilarityMaps)


def test_the_class_of_an_index_is_its_prototype_s_or_itself():
    network = PrototypeNetwork()
    network.declare_prototypes(torch.tensor([1, 1, 0]))
    assert class_of_index(network, 2).tolist() == [1, 1, 0]
    assert class_of_index(Owned(), 3).tolist() == [2, 0]
    assert class_of_index(Plain(), 3).tolist() == [0, 1, 2]
