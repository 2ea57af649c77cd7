"""Explanations as records: which prototypes spoke, how strongly, and where they looked.

:mod:`protomask.explanations.predictions` fills them, :mod:`protomask.report` draws them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from protomask.errors import NOTHING_TO_KEEP

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PrototypeRecord:
    """Record one prototype after projection, as ``prototypes.json`` keeps it."""

    prototype: int
    class_name: str
    source: str
    """name of the training image that it was projected to"""
    location: tuple[int, int]
    """row and column on the feature map"""
    similarity: float
    """similarity to its source image"""
    patch_box: Box
    """x0, y0, x1, y1 in pixels of the network's input, end-exclusive: the feature-map cells of the patch"""
    weight: float
    """last-layer weight to its own class"""
    boxes: dict[str, Box] = field(default_factory=dict)
    """per localizer: the box around the 95th percentile of its map, or around what reaches its level"""
    levels: dict[str, float] = field(default_factory=dict)
    """localizer to the share of a map's maximum at which its published picture is outlined, where there is such a
    rule"""
    empty_similarity: float | None = None
    """similarity to an empty image, see :mod:`protomask.explanations.empty_image`; None in files of before"""

    def nothing_to_keep(self, similarity: float) -> bool:
        """Tell whether an image of this similarity is no more like the prototype than an empty one: its map shows no
        evidence."""
        return self.empty_similarity is not None and similarity <= self.empty_similarity

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict) -> PrototypeRecord:
        row = dict(row, location=tuple(row["location"]), patch_box=tuple(row["patch_box"]))
        row["boxes"] = {name: tuple(box) for name, box in row["boxes"].items()}
        return cls(**row)


@dataclass(frozen=True)
class Neighbour:
    """Record a test image that is among the most similar to a prototype."""

    name: str
    position: int
    """in the test images"""
    class_name: str
    own: bool
    """whether it is of the prototype's class"""
    similarity: float


@dataclass(frozen=True)
class Inspection:
    """Record what speaks against a prototype, and which other images it is found in, as in ``inspection.json``.

    :func:`protomask.explanations.inspection.inspect_prototypes` fills it.
    """

    prototype: int
    activated: int | None
    """test images that are at least ``ACTIVE`` times as similar to it as its own source image; None without test
    images"""
    images: int
    """test images that were looked at"""
    purity: float | None
    """share of its class among the ``ranked`` most similar test images, in [0, 1]"""
    ranked: int
    nearest: tuple[Neighbour, ...] = ()
    """the most similar test images, best first"""
    outside: dict[str, float] = field(default_factory=dict)
    """per localizer: share of the map's sum outside the object in the source image, without blank maps; empty where the
    object is not known, or the first localizer's map is blank"""
    twin: int | None = None
    """another prototype of its class that is nearly the same and has the greater weight"""
    flags: tuple[str, ...] = ()
    """of ``FLAGS``"""
    discrimination: float | None = None
    """AUROC of its similarity for its class among the test images, in [0, 1]; 0.5 says nothing. None where all or none
    of them are of its class"""

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict) -> Inspection:
        return cls(
            **{**row, "nearest": tuple(Neighbour(**each) for each in row["nearest"]), "flags": tuple(row["flags"])}
        )


@dataclass(frozen=True)
class PrototypePicture:
    """Hold a prototype's source image with the maps of its localizers."""

    record: PrototypeRecord
    image: np.ndarray
    """(H, W, 3) uint8, the training image in its own proportions, see :mod:`protomask.explanations.photographs`"""
    maps: dict[str, np.ndarray]
    """localizer name to (h, w) float32 in [0, 1], at the network's input size; to be stretched over the image"""
    inspection: Inspection | None = None

    @property
    def nothing_to_keep(self) -> bool:
        """Tell whether there is no evidence to show in the source image."""
        return self.record.nothing_to_keep(self.record.similarity)

    def changed(self, **changes: Any) -> PrototypePicture:
        """Give the same picture with another ``record`` or ``inspection``."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Match:
    """Record one line of "this looks like that": a prototype and its share of a class's logit."""

    prototype: PrototypePicture
    similarity: float
    weight: float
    points: float
    """similarity * weight"""
    maps: dict[str, np.ndarray]
    """localizer name to (h, w) float32 in [0, 1], at the network's input size, on the explained image"""

    @property
    def nothing_to_keep(self) -> bool:
        """Tell whether there is no evidence to show in the explained image."""
        return self.prototype.record.nothing_to_keep(self.similarity)

    def text(self) -> str:
        record = self.prototype.record
        return (
            f"prototype {record.prototype} ({record.class_name}, from {record.source}): "
            f"similarity {self.similarity:.3f} x weight {self.weight:.3f} = {self.points:.3f} points"
        )

    def to_json(self) -> dict:
        record = self.prototype.record
        return {
            "prototype": record.prototype,
            "class": record.class_name,
            "source": record.source,
            "similarity": self.similarity,
            "weight": self.weight,
            "points": self.points,
        }


@dataclass(frozen=True)
class Explanation:
    """Record why the network gave an image its class; ``sum(points) + other_points == logit``.

    And what speaks against it: the same sum for the runner-up, ``sum(counter points) + counter_other_points ==
    runner_up_logit``. Logits have no zero of their own; what decides is which of the two is larger, and by how much.

    With several findings per image each finding is a question of its own: ``finding`` is the one that the points speak
    for, found above 0 points, and ``probability`` is its own, also where it is not found. ``predicted`` and
    ``true_class`` are it or "no " with it; ``runner_up`` is the other answer, with 0 points.
    """

    name: str
    image: np.ndarray
    """(H, W, 3) uint8, in its own proportions where it was given so"""
    true_class: str | None
    predicted: str
    probability: float
    logit: float
    matches: tuple[Match, ...]
    """strongest first, for the predicted class"""
    other_points: float
    """points of every prototype that is not shown, and the bias"""
    runner_up: str
    runner_up_logit: float
    other_own_points: float = 0.0
    """the part of ``other_points`` that comes from prototypes of the predicted class"""
    counter: tuple[Match, ...] = ()
    """strongest first, for the runner-up: their weights and points are those for that class"""
    counter_other_points: float = 0.0
    against: tuple[Match, ...] = ()
    """the prototypes that cost the predicted class most, largest loss first; part of ``other_points``, without maps"""
    shown_share: float | None = None
    """share of the absolute points for the subject that ``matches`` carry, in [0, 1]; the bias counts as nobody's. None
    where it is not known or nothing has points"""
    evidence: str = "signed"
    """``positive`` where prototypes speak for their own class alone, ``signed`` where also for and against others"""
    finding: str | None = None
    bias: float = 0.0
    """points that a finding starts with; 0 for one class per image"""
    classes: tuple[str, ...] = ()
    """all that the network knows: two that are written alike are told apart by it"""

    @property
    def subject(self) -> str:
        """Name the class or finding that the points speak for."""
        return self.finding or self.predicted

    @property
    def found(self) -> bool:
        """Tell whether the image is taken for the subject; false for a finding that is not found."""
        return not self.finding or self.logit > 0

    @property
    def right(self) -> bool | None:
        """Tell whether the answer is the true one; None where that is not known."""
        return None if self.true_class is None else self.true_class == self.predicted

    @property
    def answer(self) -> str:
        """Say what the image is taken for, or whether the finding is found."""
        if not self.finding:
            return self.predicted
        return f"{self.finding}: {self.verdict}"

    @property
    def verdict(self) -> str:
        """Say whether a finding is found."""
        return "found" if self.found else "not found"

    @property
    def presence(self) -> str:
        """Say whether a finding is there, where that is known."""
        return "it is there" if self.true_class == self.finding else "it is not there"

    def text(self) -> str:
        """Write the reasoning in words, one line per prototype."""
        from protomask.report.wording import chance

        truth = self.presence if self.finding else f"true class {self.true_class}"
        of = f" of {self.finding}" if self.finding else ""
        lines = [
            f"{self.name}: {self.answer} (probability{of} {chance(self.probability, 2)}"
            + (f"; {truth}" if self.true_class is not None else "")
            + ")"
        ]
        lines += [] if self.found else [f"  what speaks for {self.subject}, but is not enough:"]
        lines += [f"  looks like {_with_caution(match)}" for match in self.matches]
        if self.evidence == "positive":
            lines.append(f"  other prototypes of {self.subject}: {self.other_own_points:.3f} points")
        else:
            lines.append(
                f"  all other prototypes: {self.other_points - self.bias:.3f} points, {self.other_own_points:.3f} from "
                f"those of {self.subject}"
            )
        if self.finding:
            lines.append(f"  {self.finding} starts with: {self.bias:.3f} points")
        lines += [f"    most against it: {match.text()}" for match in self.against]
        if self.finding:
            lines.append(f"  together: {self.logit:.3f} points; {self.finding} is found above 0")
        else:
            lines.append(
                f"  together: {self.logit:.3f} points; next is {self.runner_up} with {self.runner_up_logit:.3f}"
            )
        lines += [f"  for {self.runner_up}: {_with_caution(match)}" for match in self.counter]
        return "\n".join(lines)

    def to_json(self) -> dict:
        """Give numbers and names, without pictures."""
        return {
            "name": self.name,
            "true_class": self.true_class,
            "predicted": self.predicted,
            "probability": self.probability,
            "logit": self.logit,
            "other_points": self.other_points,
            "other_own_points": self.other_own_points,
            "runner_up": self.runner_up,
            "runner_up_logit": self.runner_up_logit,
            "counter_other_points": self.counter_other_points,
            "finding": self.finding,
            "bias": self.bias,
            "shown_share": self.shown_share,
            **{name: [match.to_json() for match in getattr(self, name)] for name in ("matches", "against", "counter")},
        }


def _with_caution(match: Match) -> str:
    return f"{match.text()} (careful: {NOTHING_TO_KEEP})" if match.nothing_to_keep else match.text()
