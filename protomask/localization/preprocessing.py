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
from protomask.explainable import Classifier
from protomask.given import as_count, as_flag, as_statistics, refuse_run
from protomask.inputs import as_batch
from protomask.wanted import wanted_by, warn_of_assumed_size

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
        mean, std = own_statistics(model, given, mean, std)
        multi_label = multi_label or model.multi_label
    return plain, preprocessing_of(plain, given, mean=mean, std=std, image_size=image_size), multi_label


def as_classifier(model: nn.Module | Classifier, score: str, prepare: Preprocessing, multi_label: bool) -> Classifier:
    """Ask a model for a kind of score; what is a Classifier remains of its own class.

    Args:
        prepare, multi_label: as :func:`unwrap_classifier` gives them.
    """
    if not isinstance(model, Classifier):
        return Classifier(model, score, multi_label=multi_label, mean=prepare.mean, std=prepare.std)
    found = model.with_score(score).with_normalisation(prepare.mean, prepare.std)
    found.multi_label = multi_label  # of what is a copy already
    return found


def own_statistics(
    model: Classifier, given: object, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    """Fill in a Classifier's own mean and std where neither they nor a preprocessing is given."""
    if given is not None:
        return mean, std
    return model.mean if mean is None else mean, model.std if std is None else std


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
        model: what timm (``pretrained_cfg``) or torchvision knows of it is used. Where weights of torchvision of the
            same architecture want different sizes, a warning says which is assumed.
        given: a Hugging Face image processor (``image_mean``, ``image_std``), the ``transforms()`` of torchvision
            weights, or a mapping with ``mean`` and ``std``, as timm's ``resolve_data_config`` gives one; goes before
            what the model says.
        mean, std, image_size: go before all.

    Raises:
        InputError: nothing says it, or it does not fit the model's channels.
    """
    said = {} if given is None else _read(given)
    known = _known_of(model) | {name: value for name, value in said.items() if value is not None}
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
    if said.get("image_size") is None:
        warn_of_assumed_size(model)
    return Preprocessing(int(known.get("image_size") or SIZE), mean, std)


def _known_of(model: object) -> dict:
    found = wanted_by(model)
    return {"mean": found.mean, "std": found.std, "image_size": found.image_size}


def _read(given: object) -> dict:
    found = dict(given) if isinstance(given, Mapping) else {name: getattr(given, name, None) for name in _NAMES}
    mean, std = (found.get(f"image_{name}") or found.get(name) for name in ("mean", "std"))
    if found.get("do_normalize") is False:
        mean, std = (0.0,) * 3, (1.0,) * 3
    if mean is None or std is None:
        raise InputError(
            f"preprocessing {type(given).__name__} tells no mean and std; give an image processor, the transforms() of "
            "torchvision weights, or mean= and std="
        )
    crop = found.get("crop_size") if found.get("do_center_crop") is not False else None
    sizes = (found.get("image_size"), found.get("input_size"), crop, found.get("size"))
    return {**_of_values_to_one(mean, std, found), "image_size": next(filter(None, map(_side, sizes)), None)}


def _of_values_to_one(mean: Sequence[float], std: Sequence[float], processor: Mapping[str, Any]) -> dict:
    """Give mean and std for values from 0 to 1 where an image processor takes them of something else: of 0 to 255, or
    of -1 to 1."""
    factor = processor.get("rescale_factor")
    scale = 1.0 if factor is None else 255 * float(factor)
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    if processor.get("do_rescale") is False:
        # Either images lie in 0 to 1 already, and mean and std are of these, or they are of 0 to 255.
        of_bytes = max(map(abs, (*as_statistics(mean, "mean"), *as_statistics(std, "std")))) > 1
        plain = processor.get("do_normalize") is False
        scale, offset = 255.0 if of_bytes or plain else 1.0, 0.0
    if offset == 0 and abs(scale - 1) < 1e-6:
        return {"mean": mean, "std": std}
    mean, std = as_statistics(mean, "mean"), as_statistics(std, "std")
    return {"mean": tuple((each + offset) / scale for each in mean), "std": tuple(each / scale for each in std)}


_NAMES = (
    *("image_mean", "image_std", "mean", "std", "image_size", "input_size", "crop_size", "size"),
    *("do_center_crop", "do_normalize", "do_rescale", "rescale_factor", "rescale_offset"),
)


def _side(size: object) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    elif hasattr(size, "shortest_edge"):  # an object of transformers from 5 on
        size = getattr(size, "height", None) or size.shortest_edge
    if isinstance(size, Sequence) and size:
        size = size[-1]
    return size if isinstance(size, int) else None
