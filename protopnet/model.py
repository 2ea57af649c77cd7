"""ProtoPNet on any backbone, with the official L2 similarity or the cosine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from protomask.backbones import Backbone, build_backbone
from protomask.backbones.own import checked_backbone
from protomask.capabilities import SimilarityShares
from protomask.errors import InputError
from protomask.given import as_names
from protomask.precision import as_weights, float32_by_default
from protomask.prototype_network import Candidates, Prediction, PrototypeNetwork, class_of_each
from protopnet.add_on import build_add_on, usual_add_on
from protopnet.prototypes import cosines, log_similarity, squared_distances
from protopnet.relevance import distance_shares, dot_shares, place_patches

SIMILARITIES = ("cosine", "l2-log")


class ProtoPNet(PrototypeNetwork):
    """Classify by similarity to prototypical patches (Chen et al., "This Looks Like That", NeurIPS 2019).

    features -> add-on layers (1x1 convolutions) -> distance of every patch to every prototype -> similarity of the
    nearest patch -> linear layer without bias, 1 to the prototype's own class and -0.5 to the others (0 with positive
    evidence).

    - ``similarity="l2-log"`` (known, official): two add-on convolutions that end in a sigmoid, d = squared L2,
      similarity log((d+1)/(d+1e-4)).
    - ``similarity="cosine"`` (after ProtoPNeXt, 2024; the details are ours): one linear add-on convolution, similarity
      relu(max cosine) in [0, 1], distance 1 - max cosine. A cosine cannot exceed 1, so the last layer starts at
      ``scale`` times (1, -0.5), or a softmax could not tell classes apart. A large scale lets tiny differences of
      similarity decide: at 10, prototypes stayed far from all patches and projection cost 9 points of accuracy on the
      embedded data; at 3, under 2.

    Args:
        backbone: gives (B, C, h, w); of your own, it has what :data:`protomask.backbones.own.NEEDED` says.
        classes: names; prototype j belongs to class ``j // prototypes_per_class``.
        image_size: side in pixels of the square input.
        prototypes_per_class: 10 in the paper.
        channels: D, depth of a prototype; 128 in the paper.
        patch: k, a prototype is (D, k, k).
        similarity: ``"cosine"`` or ``"l2-log"``.
        scale: factor on the initial last layer; 1 for ``l2-log`` as published, 3 for ``cosine`` when None.
        multi_label: findings instead of one class per image (ours; the last layer then has a bias).
        evidence: ``"signed"`` as published, or ``"positive"``: a prototype speaks for its own class alone, with a
            weight >= 0 (ours).
        prototype_classes: the class of each prototype, in place of ``prototypes_per_class`` for every class; what
            pruning leaves.
        add_on: layers between backbone and prototypes, as :func:`protopnet.add_on.build_add_on` reads them; the
            similarity's own when None.

    Raises:
        InputError: no backbone, no names of classes, an unknown similarity, no class, a patch larger than the feature
            map.
    """

    registered_as = "protopnet"

    @float32_by_default()
    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        *,
        image_size: int = 224,
        prototypes_per_class: int = 10,
        channels: int = 128,
        patch: int = 1,
        similarity: str = "cosine",
        scale: float | None = None,
        multi_label: bool = False,
        evidence: str = "signed",
        prototype_classes: Sequence[int] | None = None,
        add_on: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        backbone, classes = checked_backbone(backbone), as_names(classes, "classes")
        if similarity not in SIMILARITIES:
            raise InputError(f"similarity {similarity!r} is unknown; choose one of {', '.join(SIMILARITIES)}")
        for name, value in (
            ("prototypes per class", prototypes_per_class),
            ("prototype channels", channels),
            ("prototype size", patch),
            ("number of classes", len(classes)),
        ):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        self.grid = tuple(backbone.grid(image_size))
        if patch > min(self.grid):
            raise InputError(
                f"prototype size {patch} does not fit on the {self.grid[0]}x{self.grid[1]} feature map of "
                f"{getattr(backbone, 'name', 'the backbone')} at {image_size} px; choose at most {min(self.grid)}"
            )
        self.classes = classes
        self.image_size = image_size
        self.mean, self.std = backbone.mean, backbone.std
        self.similarity_kind = similarity
        self.prototypes_per_class = prototypes_per_class
        self.scale = scale if scale is not None else {"cosine": 3.0, "l2-log": 1.0}[similarity]

        self.backbone = backbone
        self.add_on_words = None if add_on is None else tuple(add_on)
        words = usual_add_on(similarity, channels) if add_on is None else add_on
        self.add_on = build_add_on(words, backbone.channels, channels)
        for layer in self.add_on:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        owners = class_of_each(len(self.classes), prototypes_per_class, prototype_classes)
        count = len(owners)
        # Unit length for the cosine, which sees directions only: Adam's steps then turn a prototype at a useful pace.
        start = (
            torch.rand(count, channels, patch, patch)
            if similarity == "l2-log"
            else F.normalize(torch.randn(count, channels * patch * patch), dim=1).view(count, channels, patch, patch)
        )
        self.prototypes = nn.Parameter(start)
        self.declare_prototypes(owners)
        self.declare_last_layer(multi_label, evidence)

    def settings(self) -> dict:
        return {
            "backbone": self.backbone.settings(),
            "classes": list(self.classes),
            "image_size": self.image_size,
            "prototypes_per_class": self.prototypes_per_class,
            "channels": self.prototypes.shape[1],
            "patch": self.prototypes.shape[2],
            "similarity": self.similarity_kind,
            "scale": self.scale,
            "multi_label": self.multi_label,
            "evidence": self.evidence,
            **self.uneven_classes(self.prototypes_per_class),
            **({} if self.add_on_words is None else {"add_on": list(self.add_on_words)}),
        }

    @classmethod
    def from_settings(cls, settings: dict) -> ProtoPNet:
        """Rebuild a network from :meth:`settings`, with random weights."""
        settings = dict(settings)
        return cls(build_backbone(**settings.pop("backbone")), settings.pop("classes"), **settings)

    def features(self, images: Tensor) -> Tensor:
        """Compute the feature map after the add-on layers: (B, 3, H, W) -> (B, D, h, w)."""
        return self.add_on(self.backbone(as_weights(images, self.prototypes)))

    def _distance_maps(self, features: Tensor, index: Tensor | None = None) -> Tensor:
        prototypes = self.prototypes if index is None else self.prototypes[index]
        return self.patch_distances(features, prototypes, each=index is not None)

    def patch_distances(self, features: Tensor, prototypes: Tensor, each: bool = False) -> Tensor:
        """Compute the distance of every patch of ``features`` to ``prototypes``; shapes as
        :func:`protopnet.prototypes.squared_distances`."""
        if self.similarity_kind == "l2-log":
            return squared_distances(features, prototypes, each)
        return 1 - cosines(features, prototypes, each)

    def similarity(self, distances: Tensor) -> Tensor:
        """Turn distances into similarities, elementwise."""
        return log_similarity(distances) if self.similarity_kind == "l2-log" else F.relu(1 - distances)

    def forward(self, images: Tensor) -> Prediction:
        return self.predict(self._distance_maps(self.features(images)).flatten(2).amin(2))

    def predict(self, distances: Tensor) -> Prediction:
        """Predict from the least distances (B, P)."""
        similarities = self.similarity(distances)
        with torch.autocast(distances.device.type, enabled=False):
            return Prediction(self.weigh(similarities), similarities, distances)

    def predict_among(self, images: Tensor, allowed: Tensor) -> tuple[Prediction, Tensor]:
        """Predict, and give the least distances (B, P) of the patches ``allowed`` (B, h, w) bool alone."""
        maps = self._distance_maps(self.features(images))
        among = maps.masked_fill(~allowed.to(maps.device)[:, None], torch.inf).flatten(2).amin(2)
        return self.predict(maps.flatten(2).amin(2)), among

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        index = self.one_each(images, index)
        return self.similarity(self._distance_maps(self.features(images), index).flatten(1).amin(1))

    def similarity_maps(self, images: Tensor, index: Tensor | None = None) -> Tensor:
        index = None if index is None else self.one_each(images, index)
        maps = self.similarity(self._distance_maps(self.features(images), index))
        return maps if index is None else maps.squeeze(1)

    def patch_similarities(self, patches: Tensor) -> Tensor:
        """Compute the similarity of cut patches (N, D, k, k) to every prototype: (N, P)."""
        return self.similarity(self._distance_maps(patches.to(self.prototypes)).flatten(2)[:, :, 0])

    def similarity_shares(self, images: Tensor, index: Tensor) -> SimilarityShares:
        """Share a similarity among the features of the most similar patch, see :mod:`protopnet.relevance`.

        The features are those that the prototypes see, or, for a cosine after a linear convolution, those before it.
        """
        layers = list(self.add_on)
        last = layers[-1] if layers else None
        linear = last if isinstance(last, nn.Conv2d) and self.similarity_kind == "cosine" else None
        layers = layers if linear is None else layers[:-1]
        features = self.backbone(as_weights(images, self.prototypes))
        for layer in layers:
            features = layer(features)
        with torch.no_grad():
            values = features.detach()
            distances = self._distance_maps(values if linear is None else linear(values), index)[:, 0]
            where, prototypes = distances.flatten(1).argmin(1), self.prototypes[index]
            if self.similarity_kind == "l2-log":
                shares = place_patches(values, where, prototypes, distance_shares)
            else:
                if linear is not None:
                    prototypes = torch.einsum("dc,bdkl->bckl", linear.weight[:, :, 0, 0], prototypes)
                shares = place_patches(values, where, prototypes, dot_shares)
            return SimilarityShares(self.similarity(distances.flatten(1).amin(1)), features, shares)

    def candidates(self, images: Tensor) -> Candidates:
        return self.candidates_among(images, None)

    def candidates_among(self, images: Tensor, allowed: Tensor | None) -> Candidates:
        """Find the nearest patches of those ``allowed``, (B, h, w) bool, or of all; at infinity where none is."""
        features = self.features(images)
        distances = self._distance_maps(features)
        if allowed is not None:
            distances = distances.masked_fill(~allowed.to(distances.device)[:, None], torch.inf)
        width = distances.shape[3]
        flat = distances.flatten(2)
        # The first of equal minima, as the official projection: argmin promises that, min does not.
        where = flat.argmin(2)
        return Candidates(
            flat.gather(2, where[..., None]).squeeze(2), torch.stack((where // width, where % width), -1), features
        )

    def cut(self, candidates: Candidates, images: Tensor, prototypes: Tensor) -> Tensor:
        rows, columns = candidates.locations[images, prototypes].unbind(1)
        height, width = self.prototypes.shape[2:]
        rows = rows[:, None, None] + torch.arange(height, device=rows.device)[:, None]
        columns = columns[:, None, None] + torch.arange(width, device=columns.device)
        # Indexed dimensions around a slice come first: (N, k, k, D).
        return candidates.patches[images[:, None, None], :, rows, columns].permute(0, 3, 1, 2).float()

    @torch.no_grad()
    def set_prototypes(self, index: Tensor, vectors: Tensor) -> None:
        self.prototypes[index] = vectors.to(self.prototypes)

    def patch_box(self, location: tuple[int, int]) -> tuple[int, int, int, int]:
        row, column = location
        rows, columns = self.grid
        high, wide = self.prototypes.shape[2:]
        return (
            column * self.image_size // columns,
            row * self.image_size // rows,
            -(-(column + wide) * self.image_size // columns),
            -(-(row + high) * self.image_size // rows),
        )
