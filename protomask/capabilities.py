"""What an explained model may offer beside its score: small protocols, asked by type.

>>> from torch import nn
>>> from protomask.explainable import Classifier
>>> isinstance(Classifier(nn.Linear(2, 2)), HasScoreKind), isinstance(Classifier(nn.Linear(2, 2)), HasSimilarityMaps)
(True, False)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from protomask.prototype_network import Candidates, PrototypeNetwork

if TYPE_CHECKING:
    from protomask.backbones import Backbone


@runtime_checkable
class HasScoreKind(Protocol):
    """Says what its scores are."""

    kind: str | None
    """``"log-probability"``, ``"probability"``, ``"logit"``; None: not known"""


@runtime_checkable
class HasScore(Protocol):
    """Gives what is explained; see :class:`protomask.Explainable`."""

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Give one score (B,) per image."""
        ...


@runtime_checkable
class HasSimilarityMaps(Protocol):
    """Compares prototypes with every cell of a feature map."""

    def similarity_maps(self, images: Tensor, index: Tensor) -> Tensor:
        """Give (B, h, w) similarity of one prototype per image, from images (B, 3, H, W) and index (B,)."""
        ...


class SimilarityShares(NamedTuple):
    """Hold which features a similarity comes from."""

    similarities: Tensor
    """(B,)"""
    features: Tensor
    """(B, C, h, w), computed from the images by layers alone, differentiable"""
    shares: Tensor
    """(B, C, h, w) share of each feature in the similarity, sums to 1 for each image; detached"""


@runtime_checkable
class SharesSimilarity(Protocol):
    """Says which of its features a similarity comes from, so that relevance can be handed on to the pixels."""

    def similarity_shares(self, images: Tensor, index: Tensor) -> SimilarityShares:
        """Share one prototype's similarity per image, from images (B, 3, H, W) and index (B,)."""
        ...


@runtime_checkable
class HasOutlineLevel(Protocol):
    """Says where pictures of its similarity maps are outlined."""

    outline_level: float | None
    """share of the maximum; None: there is no such rule (:class:`protomask.prototype_network.PrototypeNetwork`)"""


@runtime_checkable
class HasBackbone(Protocol):
    """Sees images through a backbone alone, so that its feature maps can take their place."""

    backbone: Backbone
    """:class:`protomask.backbones.Backbone`"""
    grid: tuple[int, int]
    """(h, w) of its feature map"""


@runtime_checkable
class HasJudge(Protocol):
    """Has a second network of the same classes beside it, which judges maps made for the first."""

    def judge_score(self, images: Tensor, index: Tensor) -> Tensor:
        """Give (B,) the second network's probability of one class per image; images as the first one takes them."""
        ...

    def without_judge(self) -> HasScore:
        """Give the first network alone, whose maps do not depend on who judges them."""
        ...


@runtime_checkable
class HasPrototypeClasses(Protocol):
    """Knows the class of each prototype."""

    prototype_classes: Tensor
    """(P,) long"""


def class_of_index(explained: object, classes: int) -> Tensor:
    """Give the class of each index that ``explained`` is asked for, on the CPU: a prototype's, or the class itself."""
    # A module's buffers are not seen by isinstance of a protocol in every Python.
    if isinstance(explained, PrototypeNetwork | HasPrototypeClasses):
        return explained.prototype_classes.cpu()
    return torch.arange(classes)


def classes_of(explained: object, classes: int, index: Tensor) -> Tensor:
    """Give the class (B,) of each index (B,), on the CPU; -1 where a score of somebody's own has more indices than
    there are classes."""
    owners, index = class_of_index(explained, classes), index.cpu()
    known = index < len(owners)
    return torch.where(known, owners[torch.where(known, index, 0)], -1)


def score_kind(explained: object) -> str | None:
    """Tell what the scores of ``explained`` are, where it says so."""
    return explained.kind if isinstance(explained, HasScoreKind) else None


def gives_probabilities(explained: object) -> bool:
    """Tell whether the scores of ``explained`` are measured as probabilities, which log-probabilities are, too."""
    return score_kind(explained) in ("probability", "log-probability")


def compares_by_cosine(network: object) -> bool:
    """Tell whether a network's distances to its prototypes are cosine distances; the default."""
    return getattr(network, "similarity_kind", "cosine") == "cosine"


@runtime_checkable
class ChoosesAmongPatches(Protocol):
    """Can be told which patches its prototypes may become, or be pooled from."""

    grid: tuple[int, ...]
    """(h, w) of the feature map"""
    prototypes: Tensor
    """(P, D, k, k), of patches of k x k cells; (P, D), of single cells"""

    def candidates_among(self, images: Tensor, allowed: Tensor | None) -> Candidates:
        """Find the patches from which projection chooses, of those ``allowed`` (B, h, w) bool; of all where None.

        Where prototypes are patches, distances are infinite in an image of which none is allowed.
        """
        ...


@runtime_checkable
class ComparesPatches(ChoosesAmongPatches, Protocol):
    """Has prototypes that are patches of one feature map which all prototypes share."""

    def patch_similarities(self, patches: Tensor) -> Tensor:
        """Compute the similarity (N, P) of cut patches (N, D, k, k) to every prototype."""
        ...
