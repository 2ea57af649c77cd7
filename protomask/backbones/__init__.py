"""Backbones: any timm or torchvision model as a map of features, ``(B, 3, H, W) -> (B, C, h, w)``.

Example::

    backbone = build_backbone("torchvision/mobilenet_v2", weights=Path("mobilenet_v2.safetensors"))
    maps = backbone(images)                    # (B, 1280, 7, 7) for images of 224 x 224 pixels
    same = build_backbone(**backbone.settings())                   # rebuilt, with random weights
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from protomask.backbones.backbone import Backbone
from protomask.backbones.dryrun import building_device
from protomask.backbones.names import check_arguments, parse_features, parse_name, parse_statistics
from protomask.backbones.weights import load_weights
from protomask.errors import InputError
from protomask.given import as_flag
from protomask.options import CompleteOptions
from protomask.precision import float32_by_default

if TYPE_CHECKING:
    from protomask.backbones.timm_models import TimmBackbone
    from protomask.backbones.torchvision_models import TorchvisionBackbone

__all__ = ["Backbone", "backbone_from", "build_backbone"]


@float32_by_default()
def build_backbone(
    name: str,
    *,
    pretrained: bool = False,
    weights: Path | str | None = None,
    freeze_norm: bool | None = None,
    features: int | str | None = None,
    arguments: dict | None = None,
    image_size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Backbone:
    """Build a feature extractor without its classifier, and without the layers that its feature map does not need.

    Args:
        name: A timm name (``resnet50``, ``resnet50.a1_in1k``) or ``torchvision/NAME``. Arguments of the model may
            follow a colon, as on the command line: ``mobilenetv2_100:pad_type=same,mean=0.5,std=0.5``; there, ``mean``
            and ``std`` stand for the two arguments below, one number each.
        pretrained: Fetch the library's own weights (from the hub of timm, or of torchvision).
        weights: A ``.safetensors`` or a weights-only ``.pth`` file; see
            :func:`~protomask.backbones.weights.load_weights`. A file holds no options of the model: those it was
            trained with (``pad_type=same`` for weights that come from TensorFlow; ``mean`` and ``std``) must be given,
            because nothing in the tensors can tell them.
        freeze_norm: Keep BatchNorm layers in eval mode during training: running statistics stay as they are, the affine
            weights still train. None = True when weights are loaded, else False.
        features: Which feature map. None = the last; an int = the deepest one with this stride in pixels (8, 16, 32);
            a name = the output of that stage, as the error for a wrong name lists them (``layer3``, ``features.13``).
        arguments: Arguments of the model, like those after the colon; where both name one, these count.
        image_size: Side of the images in pixels, for models that must know it. Transformers of timm are made to take
            any size their patches divide where timm can do so.
        mean, std: Of the three channels, for images in [0, 1]. None = as timm's configuration of the model, or
            torchvision's weights, have them.

    Raises:
        InputError: for an unknown name, arguments or a feature map that the model does not have, an image size that it
            cannot take, and weights that cannot be fetched, read or fitted.
    """
    if as_flag(pretrained, "pretrained") and weights is not None:
        raise InputError(f"backbone {name}: pretrained weights and the file {weights} exclude each other; give one")
    library, base, options = parse_name(name)
    options.update(arguments or {})
    check_arguments(f"backbone {base}", options)
    mean, std = options.pop("mean", None) if mean is None else mean, options.pop("std", None) if std is None else std
    with building_device():
        backbone = _kind(library).build(base, options, pretrained, parse_features(features), image_size)
    if weights is not None:
        load_weights(backbone, Path(weights))
    backbone.mean = parse_statistics("mean", mean, backbone.mean)
    backbone.std = parse_statistics("std", std, backbone.std)
    backbone.freeze_norm = (
        bool(pretrained or weights is not None) if freeze_norm is None else as_flag(freeze_norm, "freeze_norm")
    )
    return backbone.train()


def _kind(library: str) -> type[TimmBackbone] | type[TorchvisionBackbone]:
    """Import one library alone."""
    if library == "torchvision":
        from protomask.backbones.torchvision_models import TorchvisionBackbone

        return TorchvisionBackbone
    from protomask.backbones.timm_models import TimmBackbone

    return TimmBackbone


def backbone_from(options: CompleteOptions) -> Backbone:
    """Give the backbone that a run's options name, with the weights that they name."""
    mean, std = options.mean_and_std()
    return build_backbone(
        options.backbone,
        pretrained=options.pretrained,
        weights=options.weights,
        freeze_norm=options.freeze_norm,
        features=options.features,
        image_size=options.image_size,
        mean=mean,
        std=std,
    )
