"""What prototype networks, timm and torchvision say of the images that a model wants: size, mean and standard
deviation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from torch import nn

from protomask.prototype_network import PrototypeNetwork

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""mean and standard deviation that the models of torchvision, and most others, expect of RGB in [0, 1]"""
HEADS = ("classifier", "fc", "head", "heads")
"""names of torchvision for the part of a model that people replace for classes of their own"""


class Wanted(NamedTuple):
    """How a model wants its images; None is not known."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    sure: bool = True
    """False: another variant or other weights of the same architecture want another size"""


class _Weights(NamedTuple):
    """Hold what torchvision says of one set of its weights."""

    wanted: Wanted
    parameters: int
    classes: int
    default: bool


def wanted_by(model: object) -> Wanted:
    """Tell what a prototype network says itself, ``model.pretrained_cfg``, as models of timm have it, or torchvision of
    its own models."""
    if isinstance(model, PrototypeNetwork):
        return Wanted(model.image_size, model.mean, model.std)
    config = getattr(model, "pretrained_cfg", None)
    if config is not None:
        config = config if isinstance(config, Mapping) else vars(config)
        size = _built_for(model) or (config.get("input_size") or (None,))[-1]
        return Wanted(size, config.get("mean"), config.get("std"))
    if isinstance(model, nn.Module) and type(model).__module__.startswith("torchvision.models"):
        return _wanted_in_torchvision(model)
    return Wanted()


def _built_for(model: object) -> int | None:
    """Tell the size that a Transformer of timm was built for; its configuration is that of the published weights."""
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    return size[0] if isinstance(size, tuple) and len(set(size)) == 1 else None


def warn_of_assumed_size(model: object) -> None:
    """Warn where the size that :func:`wanted_by` tells need not be that of the model's weights."""
    found = wanted_by(model)
    if not found.sure:
        warnings.warn(
            f"images are made {found.image_size} pixels wide for {type(model).__name__}, an assumption: what its "
            "weights want cannot be told from it; give preprocessing=weights.transforms(), or image_size=",
            stacklevel=4,
        )


def _wanted_in_torchvision(model: nn.Module) -> Wanted:
    """Find what the weights want that torchvision has for such a model; those of its file, unless they differ, those
    with as many parameters."""
    # Classes for quantization are those of the plain models, made anew.
    files = [kind.__module__ for kind in type(model).__mro__ if kind.__module__.startswith("torchvision.models.")]
    known = next((found for file in reversed(files) if (found := _weights_in(file))), ())
    size = getattr(model, "image_size", None)  # of a Transformer, which is built for one
    if isinstance(size, int) and known:
        return known[0].wanted._replace(image_size=size)
    fitting = known
    if len({each.wanted for each in known}) > 1:
        body, features = _body(model)
        fitting = tuple(each for each in known if body == each.parameters - each.classes * (features + 1))
    if not fitting:
        return Wanted(224, *IMAGENET, sure=False)
    sure = len({each.wanted for each in fitting}) == 1
    default = next((each for each in fitting if each.default), fitting[0])
    return default.wanted._replace(sure=sure)


def _body(model: nn.Module) -> tuple[int, int]:
    """Count a model's parameters but for its head, and the features that this takes; -1 of a head without a linear
    layer."""
    body, features = 0, -1
    for name, child in model.named_children():
        if name not in HEADS:
            body += sum(each.numel() for each in child.parameters())
        elif features < 0:
            features = next((each.in_features for each in child.modules() if isinstance(each, nn.Linear)), -1)
    return body, features


@cache
def _weights_in(file: str) -> tuple[_Weights, ...]:
    """Look up what torchvision has for the classifiers of one of its files; nothing is fetched."""
    import torchvision.models as library

    found = []
    for name in library.list_models(module=library):
        if library.get_model_builder(name).__module__ != file:
            continue
        choices = library.get_model_weights(name)
        for each in choices:
            classes = len(each.meta.get("categories") or ())
            if not classes:  # of the features alone
                continue
            images = each.transforms()
            wanted = Wanted(int(images.crop_size[0]), tuple(images.mean), tuple(images.std))
            found.append(_Weights(wanted, each.meta["num_params"], classes, each == choices.DEFAULT))
    return tuple(found)
