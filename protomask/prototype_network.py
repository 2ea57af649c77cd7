"""The base of prototype networks: a classifier by similarity to learned prototypes, whose prototypes can be
explained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from protomask.errors import InputError
from protomask.given import as_flag
from protomask.options import CHOICES
from protomask.places import as_index, as_places, check_numbers
from protomask.precision import as_float

EVIDENCE = CHOICES["evidence"]
"""What prototypes may say of classes: ``positive``, each speaks for its own class alone, with a weight >= 0 (ours); or
``signed``, any for or against any (known)."""


class Prediction(NamedTuple):
    """Hold what a prototype network's forward pass gives, for B images, C classes and P prototypes."""

    logits: Tensor
    """(B, C)"""
    similarities: Tensor
    """(B, P), larger is more similar"""
    distances: Tensor
    """(B, P) >= 0, what the cluster and separation terms pull and push"""


class Candidates(NamedTuple):
    """Hold the best patch that projection could choose, per image and prototype."""

    distances: Tensor
    """(B, P) distance of the image's nearest patch"""
    locations: Tensor
    """(B, P, 2) long: row and column of that patch on the feature map"""
    patches: Tensor
    """(B, D, h, w) features out of which :meth:`PrototypeNetwork.cut` cuts a patch"""


def class_of_each(classes: int, per_class: int, given: Sequence[int] | None = None) -> Tensor:
    """Compute the class of each prototype, (P,) long: ``j // per_class``, or what was ``given``.

    Raises:
        InputError: a given class that is not one of 0 to ``classes - 1``, or none given.
    """
    if given is None:
        return torch.arange(classes * per_class) // per_class
    owners = as_places(given, "prototype classes").cpu()
    if not len(owners) or owners.min() < 0 or owners.max() >= classes:
        raise InputError(f"prototype classes must be numbers from 0 to {classes - 1}, at least one")
    return owners


class PrototypeNetwork(nn.Module):
    """Classify by similarity to learned prototypes: logits = similarities @ last_layer.weight.T.

    Subclasses set ``classes``, ``image_size``, ``mean``, ``std``, ``scale``, call :meth:`declare_prototypes` and
    :meth:`declare_last_layer`, and implement the methods below; training, projection, localizers, metrics and the
    report use nothing else.
    """

    registered_as: str = ""
    """name of its entry point in the group ``protomask.networks``, by which a saved network is rebuilt"""
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    prototype_classes: Tensor
    """(P,) long, the class of each prototype"""
    source_positions: Tensor
    """(P,) long, the training image that each prototype was projected to; -1 before a projection"""
    source_locations: Tensor
    """(P, 2) long, row and column of its patch on the feature map; -1 before a projection"""
    prototypes: nn.Parameter
    """(P, ...)"""
    last_layer: nn.Linear
    scale: float
    """weight of a prototype's own class in a fresh last layer"""
    multi_label: bool = False
    """several findings per image, each with a sigmoid, instead of one class; see :mod:`protomask.labels`"""
    evidence: str = "signed"
    """of :data:`EVIDENCE`"""
    outline_level: float | None = None
    """Where :meth:`similarity_maps` are >= 0 and 0 means "nothing here": the share of its maximum at which such a map's
    published picture is outlined. None: maps have no zero of their own; their picture is scaled by least and greatest
    value, and its box is drawn around the 95th percentile."""

    def declare_prototypes(self, classes: Tensor) -> None:
        """Register buffers for each prototype's class (``classes``, (P,) long) and its source patch."""
        self.register_buffer("prototype_classes", classes)
        self.register_buffer("source_positions", torch.full((len(classes),), -1))
        self.register_buffer("source_locations", torch.full((len(classes), 2), -1))

    def uneven_classes(self, per_class: int) -> dict:
        """Give the prototypes' classes for :meth:`settings` where they are not ``j // per_class`` any more."""
        usual = class_of_each(len(self.classes), per_class).tolist()
        owners = self.prototype_classes.tolist()
        return {} if owners == usual else {"prototype_classes": owners}

    def own_class(self) -> Tensor:
        """Tell which prototype belongs to which class: (C, P) bool."""
        classes = torch.arange(len(self.classes), device=self.prototype_classes.device)
        return self.prototype_classes[None, :] == classes[:, None]

    def declare_last_layer(self, multi_label: bool = False, evidence: str = "signed") -> None:
        """Add a fresh linear layer from similarities to classes; with a bias for findings.

        Raises:
            InputError: an ``evidence`` that is not of :data:`EVIDENCE`, or a ``multi_label`` that is no flag.
        """
        if evidence not in EVIDENCE:
            raise InputError(f"evidence is {evidence!r}; choose one of {', '.join(EVIDENCE)}")
        self.multi_label, self.evidence = as_flag(multi_label, "multi_label"), evidence
        self.last_layer = nn.Linear(self.prototype_count, len(self.classes), bias=multi_label)
        self.reset_last_layer()

    @torch.no_grad()
    def reset_last_layer(self) -> None:
        """Reset the last layer: ``scale`` to a prototype's own class, -0.5 ``scale`` to others (known, for scale 1).

        With positive evidence (ours) nothing to others. Findings (ours): likewise, since one does not speak against
        another; the bias puts the probability of 0.5 where its prototypes' mean similarity is 0.5.
        """
        own = self.own_class()
        others = 0.0 if self.multi_label or self.evidence == "positive" else -0.5
        self.last_layer.weight.copy_(self.scale * torch.where(own, 1.0, others))
        if self.multi_label:
            self.last_layer.bias.copy_(-0.5 * self.scale * own.sum(1))

    def weigh(self, similarities: Tensor) -> Tensor:
        """Compute the logits (B, C) in float32 (float64 stays) of similarities (B, P), which are of a higher precision
        than a half last layer."""
        return as_float(self.last_layer(similarities.to(self.last_layer.weight.dtype)))

    @torch.no_grad()
    def keep_evidence(self) -> None:
        """Put the last layer back, in place, to where the evidence allows it: for steps that know of no constraint.

        With positive evidence nothing to other classes, and at least 0 to the own one; signed evidence allows all.
        """
        if self.evidence == "positive":
            self.last_layer.weight.masked_fill_(~self.own_class(), 0).clamp_(min=0)

    @torch.no_grad()
    def keep(self, index: Tensor | Sequence[int]) -> None:
        """Remove, in place, every prototype that is not in ``index``; the others are numbered anew in ascending order.

        Similarities and last-layer weights of the kept ones do not change; logits lose the points of the others. A
        network with further tensors of one row per prototype overrides this, cuts them, too, and says in
        :meth:`settings` which class each prototype has.

        Args:
            index: (N,) numbers of prototypes.

        Raises:
            InputError: a number that no prototype has, a mask, or a class that would be left without one; nothing was
                changed.
        """
        chosen = self.checked_selection(index)
        for name in ("prototype_classes", "source_positions", "source_locations"):
            setattr(self, name, getattr(self, name)[chosen])
        self.prototypes = nn.Parameter(self.prototypes[chosen], requires_grad=self.prototypes.requires_grad)
        self.last_layer.weight = nn.Parameter(
            self.last_layer.weight[:, chosen], requires_grad=self.last_layer.weight.requires_grad
        )
        self.last_layer.in_features = len(chosen)

    @torch.no_grad()
    def add_copies(self, index: Tensor | Sequence[int]) -> None:
        """Add, in place, a copy of every prototype in ``index`` behind all others; each shares its weights with it.

        Logits do not change. A network with further tensors of one row per prototype overrides this, and says in
        :meth:`settings` which class each prototype has.

        Args:
            index: (N,) numbers of prototypes, each once.

        Raises:
            InputError: a number that no prototype has, or a mask; nothing was changed.
        """
        chosen = self._existing(index)
        for name in ("prototype_classes", "source_positions", "source_locations"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(self, name)[chosen]]))
        self.prototypes = nn.Parameter(
            torch.cat([self.prototypes, self.prototypes[chosen]]), requires_grad=self.prototypes.requires_grad
        )
        weight = self.last_layer.weight.clone()
        weight[:, chosen] /= 2
        self.last_layer.weight = nn.Parameter(
            torch.cat([weight, weight[:, chosen]], dim=1), requires_grad=self.last_layer.weight.requires_grad
        )
        self.last_layer.in_features = self.prototype_count

    def checked_selection(self, index: Tensor | Sequence[int]) -> Tensor:
        """Sort ``index``, each number once, on the network's device; the errors of :meth:`keep`."""
        chosen = self._existing(index).unique()
        lost = set(self.prototype_classes.tolist()) - set(self.prototype_classes[chosen].tolist())
        if lost:
            names = ", ".join(self.classes[each] for each in sorted(lost))
            what = "class" if len(lost) == 1 else "classes"
            raise InputError(f"{what} {names} would be left without a prototype; keep at least one of each class")
        return chosen

    def _existing(self, index: Tensor | Sequence[int]) -> Tensor:
        """Bring ``index`` to the network's device; InputError for a mask, or a number that no prototype has."""
        chosen = as_places(index, "index").to(self.prototype_classes.device)
        check_numbers(chosen, self.prototype_count, "prototype")
        return chosen

    def one_each(self, images: Tensor, index: Tensor) -> Tensor:
        """Check the prototypes that images (B, ...) are asked for, and return their numbers as (B,) long.

        Subclasses call it first in :meth:`score` and in all else that takes an index: torch itself counts negative
        numbers from the end and shares one image among several numbers, both of which would be another answer.

        Raises:
            InputError: not one number per image, or one that no prototype has.
        """
        index = as_index(index, images)
        # On an accelerator a look at the numbers would wait for it in every step: once, before the learning, is enough.
        if index.device.type == "cpu" or not torch.is_grad_enabled():
            check_numbers(index, self.prototype_count, "prototype")
        return index.long()

    @property
    def prototype_count(self) -> int:
        return len(self.prototype_classes)

    def forward(self, images: Tensor) -> Prediction:
        raise NotImplementedError

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Compute the similarity (B,) of prototype ``index[b]`` in image b, which learned masks keep."""
        raise NotImplementedError

    def similarity_maps(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute the maps that pictures enlarge: (B, P, h, w), or (B, h, w) where ``index`` (B,) is given."""
        raise NotImplementedError

    def candidates(self, images: Tensor) -> Candidates:
        """Find the patches from which :func:`protomask.projection.project` chooses."""
        raise NotImplementedError

    def cut(self, candidates: Candidates, images: Tensor, prototypes: Tensor) -> Tensor:
        """Cut the candidates of N pairs of an image and a prototype (both (N,) long): (N, D, k, k)."""
        raise NotImplementedError

    def set_prototypes(self, index: Tensor, vectors: Tensor) -> None:
        """Replace the prototypes ``index`` (N,) by ``vectors`` (N, D, k, k)."""
        raise NotImplementedError

    def patch_box(self, location: tuple[int, int]) -> tuple[int, int, int, int]:
        """Draw the box x0, y0, x1, y1 (pixels, end-exclusive) of a patch's cells, not of its receptive field."""
        raise NotImplementedError

    def save(self, folder: str | Path, registered_as: str | None = None) -> None:
        """Write ``model.safetensors`` and ``model.json``, together or not at all, with checksums.

        :func:`protomask.load_network` reads them; in a run's folder they take the place of the run's own, whose
        pictures are to be made again where the prototypes are others (``run.project()``).

        Args:
            folder: made where it is missing.
            registered_as: name of the network's entry point; its own by default.

        Raises:
            InputError: the network says no such name, or one by which a network that answers otherwise would be read;
                its last layer holds what its evidence does not allow; ``folder`` cannot be written to.
        """
        from protomask.networks import UNCHECKED, write_network
        from protomask.rebuilding import hindrance

        name = registered_as or self.registered_as
        reason = None if UNCHECKED.get() else hindrance(self, name)
        write_network(self, name, folder)
        if reason:
            warnings.warn(f"{folder} holds a network that load_network cannot read: {reason}", stacklevel=2)

    def settings(self) -> dict:
        """Give the JSON-able arguments that rebuild this network without its weights."""
        raise NotImplementedError
