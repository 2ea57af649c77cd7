"""What a model expects of its images: size, channels, normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from protomask.backbones.dryrun import channels_of
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.explainable import IMAGENET, Classifier
from protomask.given import as_count, as_flag, as_statistics, refuse_run
from protomask.inputs import as_batch

SIZE = 224
LARGEST = 8192
"""side in pixels; nobody means a greater one"""


class Preprocessing(NamedTuple):
    """How photographs become the images that a model expects."""

    image_size: int
    """side in pixels of the square input"""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """of values in [0, 1], one per channel; one channel is the grey of red, green and blue"""

    def transform(self) -> v2.Compose:
        """Give the transform of a data set that does the same."""
        plain = evaluation_transform(self.image_size, (0.0,) * 3, (1.0,) * 3)
        grey = [v2.Grayscale()] if len(self.mean) == 1 else []
        return v2.Compose([plain, *grey, v2.Normalize(list(self.mean), list(self.std))])

    def __call__(self, pixels: Sequence[Any]) -> Tensor:
        """Turn photographs (H, W, 3) uint8 into images (B, C, H, W), normalised."""
        transform = self.transform()
        return torch.cat([as_batch(each, transform) for each in pixels])


def unwrap_classifier(
    model: nn.Module | Classifier,
    given: object = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    multi_label: bool = False,
) -> tuple[nn.Module, Preprocessing, bool]:
    """Give the plain model, how it wants its images, and whether its classes are findings.

    Args:
        model: where it is a Classifier, what that knows stands in for what is not given.
        given, mean, std, image_size: see :func:`preprocessing_of`.

    Raises:
        InputError: as :func:`preprocessing_of`.
    """
    refuse_run(model, "model")
    plain, multi_label = model.model if isinstance(model, Classifier) else model, as_flag(multi_label, "multi_label")
    if isinstance(model, Classifier):
        mean, std = model.mean if mean is None else mean, model.std if std is None else std
        multi_label = multi_label or model.multi_label
    return plain, preprocessing_of(plain, given, mean=mean, std=std, image_size=image_size), multi_label


def preprocessing_of(
    model: nn.Module,
    given: object = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
) -> Preprocessing:
    """Find how a model wants its images.

    Args:
        model: what timm knows of it (``pretrained_cfg``) is used; models of torchvision want ImageNet's statistics.
        given: a Hugging Face image processor (``image_mean``, ``image_std``), the ``transforms()`` of torchvision
            weights, or a mapping with ``mean`` and ``std``; goes before what the model says.
        mean, std, image_size: go before all.

    Raises:
        InputError: nothing says it, or it does not fit the model's channels.
    """
    known = _known_of(model) | ({} if given is None else _read(given))
    if (mean is None) != (std is None):
        raise InputError("mean and std go together; give both or none")
    if mean is not None:
        known |= {"mean": mean, "std": std}
    if known.get("mean") is None or known.get("std") is None:
        raise InputError(
            f"the normalisation that {type(model).__name__} expects is not known; give mean= and std=, one number per "
            "channel (mean=(0, 0, 0), std=(1, 1, 1) if it takes values from 0 to 1)"
        )
    mean, std = (as_statistics(known[name], name) for name in ("mean", "std"))
    channels = channels_of(model)
    if channels == 1 and len(mean) == 3:
        mean, std = (sum(mean) / 3,), (sum(std) / 3,)
    if channels not in (None, len(mean)) or len(mean) not in (1, 3) or len(std) != len(mean):
        raise InputError(
            f"{type(model).__name__} takes {channels or len(mean)} channels, but mean has {len(mean)} numbers and std "
            f"{len(std)}; photographs become 1 or 3 channels"
        )
    if image_size is not None:
        return Preprocessing(as_count(image_size, "image_size", 1, LARGEST), mean, std)
    return Preprocessing(int(known.get("image_size") or SIZE), mean, std)


def _known_of(model: object) -> dict:
    config = getattr(model, "pretrained_cfg", None)
    if config is not None:
        config = config if isinstance(config, Mapping) else vars(config)
        size = config.get("input_size") or (None,)
        return {"mean": config.get("mean"), "std": config.get("std"), "image_size": size[-1]}
    if type(model).__module__.startswith("torchvision.models"):
        return {"mean": IMAGENET[0], "std": IMAGENET[1], "image_size": SIZE}
    return {}


def _read(given: object) -> dict:
    found = dict(given) if isinstance(given, Mapping) else {name: getattr(given, name, None) for name in _NAMES}
    mean, std = (found.get(f"image_{name}") or found.get(name) for name in ("mean", "std"))
    if mean is None or std is None:
        raise InputError(
            f"preprocessing {type(given).__name__} tells no mean and std; give an image processor, the transforms() of "
            "torchvision weights, or mean= and std="
        )
    return {
        "mean": mean,
        "std": std,
        "image_size": _side(found.get("image_size") or found.get("crop_size") or found.get("size")),
    }


_NAMES = ("image_mean", "image_std", "mean", "std", "image_size", "crop_size", "size")


def _side(size: object) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    elif hasattr(size, "shortest_edge"):  # an object of transformers from 5 on
        size = getattr(size, "height", None) or size.shortest_edge
    if isinstance(size, Sequence) and size:
        size = size[-1]
    return size if isinstance(size, int) else None
