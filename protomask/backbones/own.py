"""What a prototype network asks of its backbone, which may be one of your own."""

from __future__ import annotations

import inspect
from typing import TypeVar

from torch import nn

from protomask.backbones.names import parse_name
from protomask.errors import InputError, type_named

NEEDED = ("channels", "mean", "std", "grid", "settings")
"""beside ``forward``: C of its feature map, the normalisation of its images, (h, w) for a size, and what rebuilds it"""
AnyBackbone = TypeVar("AnyBackbone")


def checked_backbone(given: AnyBackbone) -> AnyBackbone:
    """Give a backbone as it is.

    Raises:
        InputError: no module, or one that lacks something a prototype network asks of it.
    """
    missing = [name for name in NEEDED if not hasattr(given, name)]
    if missing or not isinstance(given, nn.Module):
        lacks = f", which has no {', '.join(missing)}" if missing and isinstance(given, nn.Module) else ""
        raise InputError(
            f"backbone is {type_named(given)}{lacks}; give protomask.backbones.build_backbone('resnet18'), or a module "
            f"with {', '.join(NEEDED)}"
        )
    return given


def is_of_build_backbone(settings: object) -> bool:
    """Tell whether a backbone's settings could be those of a model that :func:`protomask.backbones.build_backbone`
    knows."""
    import timm
    import torchvision.models as library

    from protomask.backbones import build_backbone

    if not isinstance(settings, dict) or not settings.keys() <= inspect.signature(build_backbone).parameters.keys():
        return False
    try:
        origin, name, _ = parse_name(settings["name"])
    except (KeyError, AttributeError, InputError):
        return False
    return name in library.list_models(module=library) if origin == "torchvision" else timm.is_model(name)
