"""The settings of learned masks, in parts that MDM, HDM and others share.

A field that is not given (None) is chosen by what is explained, a class or a prototype: see ``for_classes`` and
``for_prototypes`` of each localizer. Each part checks what it is given. Its repr names only what was given and builds
the same part again.

>>> Order(damping=1.0)
Order(damping=1.0)
>>> Order(damping=1.0).completed(Order(steps=14, damping=0.0))
Order(steps=14, damping=1.0)
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from operator import index
from typing import TypeVar

import numpy as np

from protomask.errors import InputError
from protomask.given import short
from protomask.localizers.engine.objective import CONSISTENCY, OBJECTIVE_BACKGROUNDS
from protomask.localizers.engine.speed.folding import PRECISIONS

WIDEST = 1000
"""pixels at 224 that a blur or a kernel may have, so that a slip does not fill the memory"""
ORDER_VALUES = ("mask", "sufficient")
T = TypeVar("T", bound="Settings")
V = TypeVar("V")


def require_value(value: V | None) -> V:
    """Give back a setting that ``for_model`` of the localizer has chosen.

    Raises:
        InputError: it has not.
    """
    if value is None:
        raise InputError("a setting of the localizer is still open; give it, or complete the settings by for_model")
    return value


@dataclass(frozen=True, repr=False)
class Settings:
    """Share what parts and localizers made of parts have in common; a base of frozen dataclasses."""

    def __repr__(self) -> str:
        given = (
            f"{each.name}={getattr(self, each.name)!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"{type(self).__name__}({', '.join(given)})"

    def completed(self: T, preset: T) -> T:
        """Replace None by the value of ``preset``, in parts too."""
        missing = {}
        for each in fields(self):
            own, other = getattr(self, each.name), getattr(preset, each.name)
            if own is None and other is not None:
                missing[each.name] = other
            elif isinstance(own, Settings):
                missing[each.name] = own.completed(other)
        return replace(self, **missing)

    def require(self, valid: bool, name: str, wanted: str) -> None:
        """Raise InputError that names the field ``name`` unless it is ``valid``, or None where that is its default.

        A number of numpy becomes Python's: the repr shows it so, and torch's generators take no other seed.
        """
        value = getattr(self, name)
        left_open = value is None and any(each.name == name and each.default is None for each in fields(self))
        if not (valid or left_open):
            raise InputError(f"{type(self).__name__}: {name} is {short(value)}; give {wanted}")
        if isinstance(value, tuple) and any(isinstance(each, np.generic) for each in value):
            plain: object = tuple(_plain(each) for each in value)
        else:
            plain = _plain(value)
        if plain is not value:
            object.__setattr__(self, name, plain)  # the dataclass is frozen

    def require_positive(self, *names: str) -> None:
        for name in names:
            self.require(within(getattr(self, name), 0, above=True), name, "a positive number")

    def require_not_negative(self, *names: str) -> None:
        for name in names:
            self.require(within(getattr(self, name), 0), name, "0 or more")

    def require_share(self, name: str, most: float = 1, of: str = "a share between 0 and 1") -> None:
        """Raise InputError unless the field is a number above 0 and up to ``most``, or None."""
        self.require(within(getattr(self, name), 0, most, above=True), name, of)

    def require_steps(self, least: int, *names: str) -> None:
        for name in names or ("steps",):
            self.require(_is_count(getattr(self, name), least), name, f"a whole number of at least {least}")

    def require_seed(self, name: str = "seed") -> None:
        self.require(_is_count(getattr(self, name), -(2**63), 2**63 - 1), name, "a whole number of 64 bits")

    def require_runtime(self) -> None:
        """Raise InputError unless the fields ``batch_size`` and ``precision`` are known."""
        self.require_steps(1, "batch_size")
        self.require_known("precision", PRECISIONS)

    def require_sizes(self, name: str = "sizes") -> None:
        sizes = getattr(self, name)
        valid = isinstance(sizes, tuple) and sizes and all(_is_count(size, 1) for size in sizes)
        self.require(bool(valid), name, "a tuple of at least one whole number, each at least 1")

    def require_known(self, name: str, known: tuple[str, ...]) -> None:
        self.require(getattr(self, name) in known, name, f"one of {', '.join(known)}")


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _is_count(value: object, least: int, most: int = 2**31 - 1) -> bool:
    try:
        return not isinstance(value, bool) and least <= index(value) <= most  # type: ignore[arg-type]
    except TypeError:  # no whole number, of numpy neither
        return False


def within(value: object, low: float, high: float = float("inf"), *, above: bool = False) -> bool:
    """Tell whether a setting is a finite number from ``low`` (with ``above``: more than that) to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(low <= value <= high and not (above and value == low) and value != float("inf"))


@dataclass(frozen=True, repr=False)
class Keep(Settings):
    """Set how the mask that keeps the score is learned.

    Args:
        sizes: cells along the image's shorter side, one mask vector each.
        size_weights: the price lambda of showing everything, at the first and at the last step; it grows geometrically.
        steps, rate: Adam's steps and learning rate.
        settle: share of the steps before the mask's mean begins; 1 takes the last mask alone.
        consistency: ``"signed"`` (a score above the image's is a gain), ``"one-sided"`` (only a fall of the score
            counts), ``"absolute"``, ``"squared"``.
        joint: learn all vectors as one mask; False: each alone, the masks averaged afterwards, at len(sizes) times the
            cost.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    sizes: tuple[int, ...] | None = None
    size_weights: tuple[float, float] | None = None
    steps: int | None = None
    rate: float = 0.1
    settle: float | None = None
    consistency: str | None = None
    joint: bool = True

    def __post_init__(self) -> None:
        self.require_sizes()
        self.require(isinstance(self.joint, bool), "joint", "True or False")
        weights = self.size_weights
        valid = (
            isinstance(weights, tuple) and len(weights) == 2 and all(within(each, 0, above=True) for each in weights)
        )
        self.require(valid, "size_weights", "the first and the last, both positive")
        self.require_steps(1)
        self.require_positive("rate")
        self.require(within(self.settle, 0, 1), "settle", "a share from 0 to 1")
        self.require_known("consistency", CONSISTENCY)


@dataclass(frozen=True, repr=False)
class Destroy(Settings):
    """Set how the masks that destroy the score by hiding it are learned, each size alone.

    Args:
        sizes: cells along the image's shorter side.
        size_weight: the price of hiding everything.
        steps, rate: Adam's steps and learning rate; 0 steps leave it out.
        share: weight of the destroying mask in the map.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    sizes: tuple[int, ...] = (7, 14, 28)
    size_weight: float = 1.0
    steps: int | None = None
    rate: float = 0.15
    share: float = 0.05

    def __post_init__(self) -> None:
        self.require_sizes()
        self.require_steps(0)
        self.require_positive("size_weight", "rate")
        self.require_not_negative("share")


@dataclass(frozen=True, repr=False)
class Order(Settings):
    """Set how the order of the pixels is learned (:class:`protomask.localizers.engine.order.OrderProblem`).

    Args:
        sizes: cells along the image's shorter side; those up to the image's own give single pixels a say.
        steps, rate: Adam's steps and learning rate; of MDM, 0 steps leave it out.
        damping: of its Adam (:class:`protomask.localizers.engine.optimisers.Adam`). More of it, up to 1 or so, gives
            maps that change less with what cannot be seen and lie better on the object, but whose pixels bring the
            score back later.
        areas, softness: shares of the image at which the mask is cut, and how softly, in units of the mask.
        values: what the ordered pixels are shown with: ``"mask"``, the shades of the mask that keeps the score, or
            ``"sufficient"``, as many pixels as the score needs, fading out.
        contrast: power to which the shades of the mask are raised; more than 1 darkens what is shown faintly.
        area_weight: price of a larger share of the image when it is chosen how many suffice.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    sizes: tuple[int, ...] | None = None
    steps: int | None = None
    rate: float | None = None
    damping: float | None = None
    areas: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16, 0.32, 0.5)
    softness: float = 0.05
    values: str | None = None
    contrast: float | None = None
    area_weight: float | None = None

    def __post_init__(self) -> None:
        self.require_sizes()
        self.require_steps(0)
        self.require_positive("rate", "softness", "contrast")
        self.require_not_negative("damping", "area_weight")
        self.require_known("values", ORDER_VALUES)
        valid = (
            isinstance(self.areas, tuple)
            and self.areas
            and all(within(area, 0, 1, above=True) and area < 1 for area in self.areas)
        )
        self.require(bool(valid), "areas", "a tuple of shares between 0 and 1")


@dataclass(frozen=True, repr=False)
class Views(Settings):
    """How what the network sees is varied at each step (:class:`protomask.localizers.engine.variation.Variation`).

    Args:
        noise: standard deviation of Gaussian noise, as a share of that of the image's values.
        shift: greatest shift in each direction, as a share of the image's shorter side.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    noise: float | None = None
    shift: float | None = None

    def __post_init__(self) -> None:
        self.require_not_negative("noise")
        self.require(within(self.shift, 0, 0.5), "shift", "a share from 0 to 0.5")


@dataclass(frozen=True, repr=False)
class Cascade(Settings):
    """Set how the modules of HDM follow each other.

    Args:
        modules: at most.
        rest: share of the score's range below which nothing is left to find.
        in_probability: measure what is left in probabilities where the score is a log-probability.
        benchmarks: rough masks of each module, learned on views of their own, whose mean guides the fine one.
        guide: how much a module's coarse mask holds its fine one to its regions; 0: not at all.
        leeway: what the fine mask counts outside the coarse mask's regions.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    modules: int = 2
    rest: float | None = None
    in_probability: bool | None = None
    benchmarks: int | None = None
    guide: float = 0.75
    leeway: float = 0.5

    def __post_init__(self) -> None:
        self.require_steps(1, "modules")
        self.require_steps(1, "benchmarks")
        self.require(isinstance(self.in_probability, bool), "in_probability", "True or False")
        self.require_not_negative("rest", "guide", "leeway")


@dataclass(frozen=True, repr=False)
class Fusion(Settings):
    """Set how the weights of HDM's modules are learned.

    Args:
        steps, rate: Adam's steps and learning rate; 0 steps: all weights 1.
        complete: the first module counts wholly, and each later one's weight says how much of its mask keeps the
            score of what the modules before have left; else all weights together keep the score of the whole image,
            and a region that is not needed, because another one suffices, loses its weight.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    steps: int | None = None
    rate: float | None = None
    complete: bool | None = None

    def __post_init__(self) -> None:
        self.require_steps(0)
        self.require_positive("rate")
        self.require(isinstance(self.complete, bool), "complete", "True or False")


@dataclass(frozen=True, repr=False)
class Runtime(Settings):
    """Set how a localizer runs: how many pairs at a time, how exactly, from which seed.

    Args:
        batch_size: (image, index) pairs learned together, see :func:`protomask.localizers.engine.learning.learn_masks`;
            None: as fits; on a processor one, and up to 8 prototypes of small images, each group on one thread, see
            :func:`protomask.localizers.stages.one_thread_a_group`. Does not change the result, but for rounding, which
            the many steps of a class's map amplify.
        precision: ``"fp32"``, or ``"bf16"`` autocast of the model.
        seed: of the noise.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    batch_size: int | None = None
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        self.require_runtime()
        self.require_seed()


def check_parts(settings: Settings) -> None:
    """Raise InputError unless every part is of its kind, and the field ``background`` is known, or None."""
    for field in fields(settings):
        plain, given = field.default, getattr(settings, field.name)
        if isinstance(plain, Settings) and not isinstance(given, type(plain)):
            kind = type(plain).__name__
            raise InputError(
                f"{type(settings).__name__}: {field.name} is {given!r}; give {kind}(...), as in "
                f"{type(settings).__name__}({field.name}={kind}())"
            )
    settings.require_known("background", OBJECTIVE_BACKGROUNDS)
