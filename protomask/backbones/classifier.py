"""Whole classifiers by name, with their heads: what :func:`~protomask.backbones.build_backbone` is for feature maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from protomask.backbones.dryrun import refusal, trial
from protomask.backbones.names import check_arguments, one_line, parse_name, parse_statistics
from protomask.backbones.weights import fit_weights, read_tensors, renamed
from protomask.errors import InputError
from protomask.given import as_flag
from protomask.precision import float32_by_default
from protomask.wanted import IMAGENET as IMAGENET

T = TypeVar("T")


class BuiltClassifier(NamedTuple):
    """A classifier in eval mode, and how it wants its images."""

    model: nn.Module
    """(B, 3, H, W) -> logits (B, C)"""
    classes: int
    image_size: int
    """side in pixels of the square input"""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """of RGB in [0, 1]"""


@float32_by_default()
def build_classifier(
    name: str,
    *,
    pretrained: bool = False,
    weights: Path | str | None = None,
    image_size: int | None = None,
    seed: int | None = None,
) -> BuiltClassifier:
    """Build a classifier of timm or torchvision.

    Args:
        name: A timm name or ``torchvision/NAME``; arguments of the model, and ``mean`` and ``std``, may follow a colon
            as for :func:`~protomask.backbones.build_backbone`. torchvision's ``googlenet`` and ``inception_v3`` take
            images in ImageNet's normalisation, as their published weights do; ``transform_input=False`` undoes that.
        pretrained: Fetch the library's own weights.
        weights: A ``.safetensors`` or weights-only ``.pth`` file, read as backbone weights are. The number of classes
            is the file's, unless an argument ``num_classes`` gives it.
        image_size: Side of the input in pixels; by default the model's own, or that of the library's newest weights.
        seed: Of random weights, so that each process, and each call, draws the same ones; by default torch's generator
            goes on.

    Raises:
        InputError: for an unknown name or arguments, weights that cannot be fetched, read or fitted, an image size that
            the model cannot take, and a model that gives no logits (B, C).
    """
    if as_flag(pretrained, "pretrained") and weights is not None:
        raise InputError(f"model {name}: pretrained weights and the file {weights} exclude each other; give one")
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size is {image_size}; give at least 1 pixel")
    library, base, arguments = parse_name(name)
    check_arguments(f"model {base}", arguments)
    mean, std = arguments.pop("mean", None), arguments.pop("std", None)
    make = _torchvision if library == "torchvision" else _timm
    if seed is not None:
        make = partial(_seeded, make, seed)
    model, size, statistics = make(base, arguments, pretrained, image_size)
    if weights is not None:
        state = read_tensors(Path(weights))
        found = _classes_of(state, model)
        if found is not None and "num_classes" not in arguments:
            model, size, statistics = make(base, {**arguments, "num_classes": found}, pretrained, image_size)
        fit_weights(
            model,
            state,
            (),
            f"weights {weights} do not fit {name}",
            "name the model that they were made for, with its classifier",
        )
    if getattr(model, "num_classes", None) == 0:
        raise InputError(f"model {name} gives no logits but features: it has 0 classes; give num_classes above 0")
    model.eval()
    try:
        logits = trial(model, (size, size), next(model.parameters()).device)
    except Exception as error:  # each model refuses a size in its own way
        said = refusal(model, (size, size), one_line(error), "choose another image_size=")
        raise InputError(f"model {name} {said}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise InputError(f"model {name} gives no logits (B, C), so it is no classifier; name another")
    return BuiltClassifier(
        model,
        logits.shape[1],
        size,
        parse_statistics("mean", mean, statistics[0]),
        parse_statistics("std", std, statistics[1]),
    )


def _seeded(make: Callable[..., T], seed: int, *given: Any) -> T:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(*given)


def _timm(name: str, arguments: dict[str, Any], pretrained: bool, image_size: int | None):
    from protomask.backbones.timm_models import create, input_size

    fixed, size = input_size(name, "model")
    attempts: list[dict[str, Any]] = (
        [{"img_size": image_size}, {"dynamic_img_size": True}] if fixed and image_size else []
    )
    for attempt in [*attempts, {}]:
        try:
            model = create(name, {**attempt, **arguments}, pretrained, "model")
        except TypeError as error:  # an argument that the model does not know
            if not attempt:
                raise InputError(f"model {name}: {one_line(error)}; give other arguments") from error
        else:
            break
    config = getattr(model, "pretrained_cfg", None) or {}
    return (
        model,
        image_size or size,
        (tuple(config.get("mean") or IMAGENET[0]), tuple(config.get("std") or IMAGENET[1])),
    )


def _torchvision(name: str, arguments: dict[str, Any], pretrained: bool, image_size: int | None):
    from protomask.backbones.torchvision_models import HALVES, create, preparation

    # torchvision sets this with weights of its own alone, but those in a file want it, too: the normalisation below is
    # that of its recipes, which the model itself must turn into its halves.
    fitting = {"transform_input": True, **arguments} if name in HALVES else arguments
    model = create(name, fitting, pretrained, "model")
    wanted = preparation(name)
    # Transformers are built for one size, which need not be that of the newest weights (vit_h_14).
    own = getattr(model, "image_size", None) or wanted.image_size
    return model, image_size or own, (wanted.mean, wanted.std)


def _classes_of(state: Mapping[str, Tensor], model: nn.Module) -> int | None:
    """Count the classes in a file of weights, where it is not the model's own: rows of its last linear or 1x1
    layer."""
    name, last = [
        (name, module) for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))
    ][-1]
    weight = renamed(state, model.state_dict()).get(f"{name}.weight")
    if weight is None or weight.shape[1:] != last.weight.shape[1:] or weight.shape == last.weight.shape:
        return None
    return len(weight)
