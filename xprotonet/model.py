"""XProtoNet on any backbone, with the occurrence activations and the read-outs of both public re-implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from protomask.backbones import Backbone, build_backbone
from protomask.backbones.own import checked_backbone
from protomask.capabilities import SimilarityShares
from protomask.errors import InputError
from protomask.given import as_names
from protomask.precision import as_float, as_weights, float32_by_default
from protomask.prototype_network import Candidates, Prediction, PrototypeNetwork, class_of_each
from xprotonet.heads import build_heads, last_convolution
from xprotonet.pooling import cosine_distances, pool

ACTIVATIONS = ("abs", "sigmoid")
READOUTS = ("relu", "shifted")


class Maps(NamedTuple):
    """Hold what XProtoNet computes at each position of the feature map."""

    features: Tensor
    """(B, D, h, w)"""
    occurrences: Tensor
    """(B, P, h, w) >= 0: where each prototype is looked for"""


class XProtoNet(PrototypeNetwork):
    """Classify by features pooled under learned occurrence maps (Kim, Kim, Seo, Yoon, CVPR 2021).

    On the backbone's map, a feature module gives F (B, D, h, w) and an occurrence module M (B, P, h, w) >= 0, both of
    1x1 convolutions; f_p = sum of M_p * F over all positions; similarity from cos(f_p, prototype_p); a linear layer
    without bias over the similarities (known). No official code is public; what the paper leaves open follows the two
    public re-implementations, hooman007/ProtoASNet and aywi/mprotonet (each a reconstruction):

    - ``activation`` of the occurrence module: ``"abs"`` (as ProtoASNet, last convolution without bias; can be exactly
      zero) or ``"sigmoid"`` (as mprotonet, whose BatchNorm before it is a bias here; bounded by 1).
    - ``readout``: ``"relu"``, similarity relu(cos), the same as our ProtoPNet's; or ``"shifted"``, (cos + 1) / 2, as
      ProtoASNet, whose gradient does not vanish for negative cosines, while unrelated images have 0.5.
    - The feature module ends linear (as ProtoASNet), so that cosines use the whole range.
    - The last layer starts as our ProtoPNet's, see
    :meth:`~protomask.prototype_network.PrototypeNetwork.reset_last_layer`.

    Args:
        backbone: gives (B, C, h, w); of your own, it has what :data:`protomask.backbones.own.NEEDED` says.
        classes: names; prototype j belongs to class ``j // prototypes_per_class``.
        image_size: side in pixels of the square input.
        prototypes_per_class: at least 1.
        channels: D, length of a prototype.
        activation: ``"abs"`` or ``"sigmoid"``.
        readout: ``"relu"`` or ``"shifted"``.
        scale: None for 3 with ``relu`` and 6 with ``shifted``: equally steep in the cosine.
        multi_label: findings, each with a sigmoid (known), instead of one class per image. The last layer then has a
            bias (ours), since a similarity in [0, 1] alone could not say that a finding is absent.
        evidence: ``"signed"`` as published, or ``"positive"``: a prototype speaks for its own class alone, with a
            weight >= 0 (ours).
        prototype_classes: the class of each prototype, in place of ``prototypes_per_class`` for every class; what
            pruning leaves.

    Raises:
        InputError: no backbone, no names of classes, an unknown activation or read-out, a number below 1.
    """

    registered_as = "xprotonet"
    outline_level = 0.3
    """of the upsampled occurrence map's maximum (known)"""

    @float32_by_default()
    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        image_size: int = 224,
        prototypes_per_class: int = 5,
        channels: int = 128,
        activation: str = "abs",
        readout: str = "relu",
        scale: float | None = None,
        multi_label: bool = False,
        evidence: str = "signed",
        prototype_classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        backbone, classes = checked_backbone(backbone), as_names(classes, "classes")
        for name, word, known in (("occurrence activation", activation, ACTIVATIONS), ("read-out", readout, READOUTS)):
            if word not in known:
                raise InputError(f"{name} {word!r} is unknown; choose one of {', '.join(known)}")
        for name, value in (
            ("prototypes per class", prototypes_per_class),
            ("prototype channels", channels),
            ("number of classes", len(classes)),
        ):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        self.grid = tuple(backbone.grid(image_size))
        self.classes = classes
        self.image_size = image_size
        self.mean, self.std = backbone.mean, backbone.std
        self.similarity_kind = "cosine"
        self.prototypes_per_class = prototypes_per_class
        self.activation, self.readout = activation, readout
        self.scale = scale if scale is not None else {"relu": 3.0, "shifted": 6.0}[readout]

        owners = class_of_each(len(self.classes), prototypes_per_class, prototype_classes)
        count = len(owners)
        self.backbone = backbone
        self.add_on, self.occurrence = build_heads(backbone.channels, channels, count, bias=activation == "sigmoid")
        self.prototypes = nn.Parameter(F.normalize(torch.randn(count, channels), dim=1))
        self.declare_prototypes(owners)
        self.declare_last_layer(multi_label, evidence)

    def settings(self) -> dict:
        return {
            "backbone": self.backbone.settings(),
            "classes": list(self.classes),
            "image_size": self.image_size,
            "prototypes_per_class": self.prototypes_per_class,
            "channels": self.prototypes.shape[1],
            "activation": self.activation,
            "readout": self.readout,
            "scale": self.scale,
            "multi_label": self.multi_label,
            "evidence": self.evidence,
            **self.uneven_classes(self.prototypes_per_class),
        }

    @classmethod
    def from_settings(cls, settings: dict) -> XProtoNet:
        """Rebuild a network from :meth:`settings`, with random weights."""
        settings = dict(settings)
        return cls(build_backbone(**settings.pop("backbone")), settings.pop("classes"), **settings)

    def maps(self, images: Tensor, index: Tensor | None = None) -> Maps:
        """Compute features and occurrence maps of images (B, 3, H, W).

        With ``index`` (B,) the maps of one prototype per image, (B, 1, h, w).
        """
        grid = self.backbone(as_weights(images, self.prototypes))
        return Maps(self.add_on(grid), self._occurrences(grid, index))

    def _occurrences(self, grid: Tensor, index: Tensor | None) -> Tensor:
        hidden, last = self.occurrence[:-1](grid), last_convolution(self.occurrence)
        if index is None:
            raw = last(hidden)
        else:
            # One row of the last convolution per image, instead of all P maps of which one is kept.
            raw = torch.einsum("bk,bkhw->bhw", last.weight[index, :, 0, 0], hidden)[:, None]
            if last.bias is not None:
                raw = raw + last.bias[index, None, None, None]
        return raw.abs() if self.activation == "abs" else raw.sigmoid()

    def similarity(self, distances: Tensor) -> Tensor:
        """Compute the similarity in [0, 1] of a distance 1 - cos, elementwise."""
        return F.relu(1 - distances) if self.readout == "relu" else 1 - distances / 2

    def predict(self, maps: Maps) -> Prediction:
        """Predict from the maps of all prototypes."""
        distances = cosine_distances(pool(*maps), self.prototypes)
        similarities = self.similarity(distances)
        with torch.autocast(distances.device.type, enabled=False):
            return Prediction(self.weigh(similarities), similarities, distances)

    def forward(self, images: Tensor) -> Prediction:
        return self.predict(self.maps(images))

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        index = self.one_each(images, index)
        pooled = pool(*self.maps(images, index))
        return self.similarity(cosine_distances(pooled, self.prototypes[index, None])).squeeze(1)

    def similarity_maps(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        """Give the occurrence maps, as the paper shows them (known).

        They say where a prototype is looked for, not how similar it is.
        """
        index = None if index is None else self.one_each(images, index)
        occurrences = as_float(self._occurrences(self.backbone(as_weights(images, self.prototypes)), index))
        return occurrences if index is None else occurrences.squeeze(1)

    def similarity_shares(self, images: Tensor, index: Tensor) -> SimilarityShares:
        """Share a similarity among the features before the last convolution, by the positive terms of the dot product
        of the pooled feature and the prototype; the occurrence map counts as a weight that is given (ours)."""
        grid = self.backbone(as_weights(images, self.prototypes))
        features = self.add_on[:-1](grid)
        with torch.no_grad():
            values, occurrences = features.detach(), self._occurrences(grid.detach(), index)
            pooled = pool(self.add_on[-1](values), occurrences)
            similarities = self.similarity(cosine_distances(pooled, self.prototypes[index, None])).squeeze(1)
            weights = self.prototypes[index] @ last_convolution(self.add_on).weight[:, :, 0, 0]
            terms = values * occurrences * weights[:, :, None, None]
            # Where all terms speak against it, a shifted similarity is still above 0: by their sizes.
            terms = torch.where((terms > 0).any(3).any(2).any(1).view(-1, 1, 1, 1), terms.relu(), terms.abs())
            shares = terms / terms.sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
        return SimilarityShares(similarities, features, shares)

    def candidates(self, images: Tensor) -> Candidates:
        """Give the pooled features as unit vectors (B, P, D): their length depends on M's scale and no cosine sees it.

        A location is the first maximum of the prototype's occurrence map.
        """
        return self.candidates_among(images, None)

    def candidates_among(self, images: Tensor, allowed: Tensor | None) -> Candidates:
        """Give the features that are pooled over the cells ``allowed``, (B, h, w) bool with at least one in each image,
        or over all (ours).

        Where an occurrence map is zero on all of these, their mean feature.
        """
        maps = self.maps(images)
        if allowed is not None:
            cells = allowed.to(maps.occurrences.device)[:, None]
            inside = maps.occurrences * cells
            nothing = inside.sum((2, 3), keepdim=True) == 0
            maps = maps._replace(occurrences=torch.where(nothing, cells.to(inside), inside))
        pooled = pool(*maps)
        where = maps.occurrences.flatten(2).argmax(2)
        width = maps.occurrences.shape[3]
        return Candidates(
            cosine_distances(pooled, self.prototypes),
            torch.stack((where // width, where % width), -1),
            F.normalize(pooled, dim=2),
        )

    def cut(self, candidates: Candidates, images: Tensor, prototypes: Tensor) -> Tensor:
        """Take the pooled features (N, D) that N prototypes become."""
        return candidates.patches[images, prototypes]

    @torch.no_grad()
    def keep(self, index: Tensor | Sequence[int]) -> None:
        chosen, last = self.checked_selection(index), last_convolution(self.occurrence)
        super().keep(chosen)
        for name, parameter in list(last.named_parameters()):
            setattr(last, name, nn.Parameter(parameter[chosen], requires_grad=parameter.requires_grad))
        last.out_channels = len(chosen)

    @torch.no_grad()
    def add_copies(self, index: Tensor | Sequence[int]) -> None:
        chosen, last = self._existing(index), last_convolution(self.occurrence)
        super().add_copies(chosen)
        for name, parameter in list(last.named_parameters()):
            rows = torch.cat([parameter, parameter[chosen]])
            setattr(last, name, nn.Parameter(rows, requires_grad=parameter.requires_grad))
        last.out_channels = self.prototype_count

    @torch.no_grad()
    def set_prototypes(self, index: Tensor, vectors: Tensor) -> None:
        """Replace the prototypes ``index`` (N,) by ``vectors`` (N, D)."""
        self.prototypes[index] = vectors.to(self.prototypes)

    def patch_box(self, location: tuple[int, int]) -> tuple[int, int, int, int]:
        """Draw the box of one cell: where the occurrence is greatest.

        The pooled feature itself may come from the whole image.
        """
        row, column = location
        rows, columns = self.grid
        return (
            column * self.image_size // columns,
            row * self.image_size // rows,
            -(-(column + 1) * self.image_size // columns),
            -(-(row + 1) * self.image_size // rows),
        )
