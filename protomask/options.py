"""The options of a training run: what the command line, ``config.json`` and the recipes share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protomask.errors import InputError
from protomask.given import short

if TYPE_CHECKING:  # --help answers without any other package
    from typing_extensions import Self

CHOICES = {
    "recipe": ("default", "official", "frozen"),
    "similarity": ("cosine", "l2-log"),
    "precision": ("fp32", "bf16"),
    "evidence": ("positive", "signed"),
}
GROUPS = {
    "data": (
        *("data", "root", "crop", "intensity_range", "balance", "validation", "test_share", "image_size", "seed"),
        *("batch_size", "repeat", "image_column", "label_column"),
    ),
    "network": (
        *("network", "backbone", "features", "weights", "pretrained", "normalization", "freeze_norm", "similarity"),
        *("prototypes_per_class", "prototype_channels", "prototype_size", "evidence"),
    ),
    "training": ("recipe", "on_object", "epochs", "lr", "black_box", "checkpoint_minutes"),
    "pictures and their evaluation": ("localizer", "samples"),
    "machine": ("device", "precision", "workers", "memory"),
}
"""What the options are about: the groups in which the command line lists them"""
METAVARS = {
    **dict.fromkeys(("network", "data", "backbone", "device"), "NAME"),
    "root": "DIR",
    "weights": "FILE",
    "localizer": "NAMES",
    "image_column": "NAME",
    "label_column": "NAME",
    "intensity_range": "LOW,HIGH",
    "normalization": "KIND",
}
"""How the command line calls the values of options that are text"""
RANGES = {
    "epochs": (1, 100_000),
    "image_size": (16, 4096),
    "batch_size": (2, 65_536),
    "workers": (0, 256),
    "samples": (1, 10**9),
    "repeat": (1, 10_000),
    "checkpoint_minutes": (0.0, 10**6),
    "memory": (1.0, 10**9),
    "prototypes_per_class": (1, 10_000),
    "prototype_channels": (1, 65_536),
    "prototype_size": (1, 64),
    "validation": (0.0, 0.9),
    "test_share": (0.01, 0.9),
    "lr": (1e-8, 10.0),
    "seed": (0, 2**31 - 1),
}


def parse_range(words: str) -> tuple[float, float]:
    """Read LOW,HIGH as two numbers.

    Raises:
        InputError: they are not two finite numbers in rising order.
    """
    try:
        low, high = (float(number) for number in words.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"intensity_range is {words[:80]!r}; give two numbers LOW,HIGH, low less than high")
    return low, high


@dataclass(frozen=True)
class Options:
    """Everything that decides a run. ``None`` means: decided by the data set or the recipe, and then written down.

    The help texts are the command line's.
    """

    def _text(default: object, text: str) -> Any:  # dataclasses.field's own type, that of the default, fits no method
        return dataclasses.field(default=default, metadata={"help": text})

    network: str = _text("protopnet", "kind of prototype network")
    data: str = _text("parts", "data set: parts (embedded), cub, busi, chestxray, folder, hf:NAME_OR_FOLDER")
    root: str | None = _text(None, "folder of the data set; for parts, the folder of its cache")
    crop: bool | None = _text(None, "crop images to their boxes; the data set's own way by default (cub crops)")
    intensity_range: str | None = _text(
        None,
        "LOW,HIGH: values of grey images of more than 8 bits (16-bit PNG and TIFF, DICOM) that become black and white",
    )
    balance: bool | None = _text(None, "draw every class equally often in training; by default every image is")
    validation: float = _text(0.1, "share of the training images held out for validation")
    test_share: float | None = _text(
        None,
        "share of each class that is the test set, where the data have no test images of their own; 0.2 by default, "
        "0.25 of busi",
    )
    image_column: str | None = _text(None, "column of the images of a data set hf:..., where it has several")
    label_column: str | None = _text(None, "column of the classes of a data set hf:..., where it has several")
    backbone: str | None = _text(
        None, "timm model, or torchvision/NAME; arguments follow a colon: mobilenetv2_100:pad_type=same"
    )
    features: int | None = _text(None, "stride of the feature map to use (8, 16, 32); the last one by default")
    weights: str | None = _text(None, "backbone weights: a .safetensors or weights-only .pth file")
    pretrained: bool = _text(False, "download the backbone's pretrained weights from its hub")
    normalization: str | None = _text(
        None, "imagenet, half (x*2-1), or six numbers M,M,M,S,S,S; the backbone's own by default"
    )
    freeze_norm: bool | None = _text(None, "keep BatchNorm statistics fixed; by default when fine-tuning from weights")
    image_size: int | None = _text(None, "side of the square input in pixels")
    similarity: str = _text("cosine", "similarity of patches and prototypes: cosine, or the official l2-log")
    prototypes_per_class: int | None = _text(None, "prototypes of each class")
    prototype_channels: int = _text(128, "depth of a prototype")
    prototype_size: int = _text(1, "a prototype covers N x N cells of the feature map")
    evidence: str | None = _text(
        None,
        "positive: a prototype speaks for its own class alone; signed: for or against any, as published. By default "
        "positive, and signed with the official recipe",
    )
    recipe: str = _text(
        "default", "training schedule: default (ours), official, or frozen (the backbone rests: minutes)"
    )
    on_object: bool = _text(False, "prototypes keep to the object, by the boxes or masks of the training images")
    epochs: int | None = _text(
        None,
        "epochs after the warm-up, joint ones and then those that settle the prototypes (official: warm-up and joint "
        "ones together); the recipe's own number by default",
    )
    batch_size: int | None = _text(None, "images per training step")
    lr: float | None = _text(
        None, "learning rate of the backbone; the others keep their ratio to it, and the recipe's own by default"
    )
    precision: str = _text("fp32", "fp32, or bf16 autocast (prototype layers stay in float32)")
    device: str = _text("auto", "auto, cpu, cuda, cuda:1, ...")
    workers: int | None = _text(None, "processes that load images")
    seed: int = _text(0, "seed of everything random")
    localizer: str = _text(
        "mdm", "localizers of the pictures, separated by commas; the similarity map is always beside them"
    )
    repeat: int = _text(1, "times that each training image is seen in an epoch, augmented anew each time")
    checkpoint_minutes: float = _text(
        10.0, "minutes between checkpoints within an epoch; there is one after each epoch anyway"
    )
    memory: float = _text(
        2048.0, "megabytes that fitting the last layer may take; beyond, similarities go to a temporary file"
    )
    samples: int = _text(100, "test images in the evaluation of localizers")
    black_box: bool = _text(
        False, "also train the same backbone as a plain classifier, for the price of interpretability"
    )

    del _text

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            option = field.name
            if value is None:
                if "None" not in str(field.type):
                    raise InputError(f"{option} needs a value")
                continue
            expected: Any = {"str": str, "int": int, "float": (int, float), "bool": bool}[str(field.type).split(" ")[0]]
            if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
                raise InputError(f"{option} is {short(value)}; it must be of type {str(field.type).split(' ')[0]}")
            if isinstance(value, str) and not value.strip():
                raise InputError(f"{option} is empty; give a value, or leave it out")
            if field.name in CHOICES and value not in CHOICES[field.name]:
                raise InputError(f"{option} is {value!r}; choose one of {', '.join(CHOICES[field.name])}")
            if field.name in RANGES:
                low, high = RANGES[field.name]
                if not low <= value <= high:
                    raise InputError(f"{option} is {value}; it must be between {low} and {high}")
        self.levels()
        if self.weights and self.pretrained:
            raise InputError("weights and pretrained exclude each other; choose one")

    @classmethod
    def from_mapping(cls, values: Mapping, source: str) -> Self:
        """Read options from a ``config.json``; ``source`` names it in errors. Keys that are no options are one."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"{source}: unknown option {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error

    def replace(self, **changes) -> Self:
        return dataclasses.replace(self, **changes)

    def to_mapping(self) -> dict:
        return dataclasses.asdict(self)

    def levels(self) -> tuple[float, float] | None:
        """Give the intensity range asked for, as (low, high), or None."""
        return None if self.intensity_range is None else parse_range(self.intensity_range)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
        """Give the normalisation asked for, as (mean, std) of three channels each, or (None, None)."""
        if self.normalization is None:
            return None, None
        if self.normalization == "imagenet":
            return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        if self.normalization == "half":
            return (0.5,) * 3, (0.5,) * 3
        try:
            numbers = tuple(float(number) for number in self.normalization.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or min(numbers[3:]) <= 0:
            raise InputError(
                f"normalization is {self.normalization!r}; give imagenet, half, or three means and three "
                "positive standard deviations separated by commas"
            )
        return numbers[:3], numbers[3:]


class CompleteOptions(Options):
    """Options of a run that has begun: what data set and recipe decide is decided, too."""

    balance: bool
    backbone: str
    image_size: int
    prototypes_per_class: int
    epochs: int
    batch_size: int
    workers: int
