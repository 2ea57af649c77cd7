"""Backbones from timm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from protomask.backbones.backbone import Backbone, SizeError
from protomask.backbones.dryrun import trial
from protomask.backbones.fetching import check_timm_weights
from protomask.backbones.names import one_line, unknown
from protomask.backbones.tokens import as_map
from protomask.errors import InputError

LAST = "last"


class TimmBackbone(Backbone):
    """Maps of `forward_features`, or of a stage by `forward_intermediates`, which stops there.

    The last map is that of `forward_features`, with the last convolution or normalisation of the model where it has one
    (MobileNetV2: 1280 channels, whereas its last stage `blocks.6` has 320).
    """

    body: Any  # timm's models share attributes that no class of theirs declares

    def __init__(self, body: Any, name: str, arguments: dict[str, Any], image_size: int | None) -> None:
        super().__init__(body, name, arguments, image_size)
        self.mean = tuple(body.pretrained_cfg.get("mean") or self.mean)
        self.std = tuple(body.pretrained_cfg.get("std") or self.std)
        info = getattr(body, "feature_info", None) or []
        names = [str(stage.get("module", index)) for index, stage in enumerate(info)]
        # Some models give several maps of one module (CoaT).
        self.stages = tuple(f"{name}:{i}" if name in names[:i] else name for i, name in enumerate(names))
        self.known_strides = tuple(stage["reduction"] for stage in info if stage.get("reduction"))
        self.maps_tokens = True  # whether forward_features gives a map; else it is the last stage's

    @classmethod
    def build(
        cls, name: str, arguments: dict[str, Any], pretrained: bool, features: int | str | None, image_size: int | None
    ) -> TimmBackbone:
        """See :func:`protomask.backbones.build_backbone`."""
        fixed, size = input_size(name)
        size = image_size or size
        attempts: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"strict_img_size": False}] if fixed else []
        attempts += [{}, {"img_size": image_size}] if image_size else [{}]
        refusals: list[SizeError] = []
        for attempt in attempts:
            try:
                backbone = cls(create(name, {**attempt, **arguments}, pretrained).eval(), name, arguments, image_size)
                backbone._find_map(size)
                backbone.choose(features, size)
                return backbone
            except TypeError as error:  # an argument that the model does not know
                if not attempt:
                    raise InputError(f"backbone {name}: {one_line(error)}; give other arguments") from error
            except SizeError as error:
                refusals.append(error)
        raise refusals[0]

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        if self.stages and hasattr(self.body, "forward_intermediates"):
            found = self.body.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
            maps = dict(zip(self.stages, found))
        return {**maps, LAST: self._last(images)}

    def forward(self, images: Tensor) -> Tensor:
        if self.stage in (None, LAST):
            return self._last(images)
        return self._intermediate(images, self.stages.index(self.stage))

    def _last(self, images: Tensor) -> Tensor:
        if self.maps_tokens:
            found = as_map(self.body.forward_features(images), self.body, images.shape[-2:])
            assert found is not None  # so it was when the model was built
            return found
        return self._intermediate(images, len(self.stages) - 1)

    def _intermediate(self, images: Tensor, index: int) -> Tensor:
        return self.body.forward_intermediates(
            images, indices=[index], stop_early=True, output_fmt="NCHW", intermediates_only=True
        )[0]

    def _find_map(self, size: int) -> None:
        """Try `forward_features` for a map, then the stages."""
        with self._takes((size, size)):
            features = trial(self.body.forward_features, (size, size), next(self.parameters()).device)
            found = as_map(features, self.body, (size, size))
        self.maps_tokens = found is not None
        if found is None and not (self.stages and hasattr(self.body, "forward_intermediates")):
            raise InputError(f"backbone {self.name} has no feature map; take a convolutional network or a Transformer")


def input_size(name: str, kind: str = "backbone") -> tuple[bool, int]:
    """Tell whether a model is made for one image size, and that size; `kind` is what errors call it.

    Raises:
        InputError: for an unknown name or tag, with the nearest names.
    """
    import timm
    import torchvision.models as library

    if not timm.is_model(name):
        others = {other: f"torchvision/{other}" for other in library.list_models(module=library)}
        raise unknown(kind, name, timm.list_models(), others)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(timm.list_pretrained(name.partition(".")[0])) or "none"
        raise InputError(f"{kind} {name}: {one_line(error)} There are: {tags}") from error
    return bool(config and config.fixed_input_size), config.input_size[-1] if config else 224


def create(name: str, arguments: dict[str, Any], pretrained: bool, kind: str = "backbone") -> nn.Module:
    """Create timm's model with its classifier; a TypeError for arguments that it does not know, an InputError for all
    else."""
    import timm

    if pretrained:
        check_timm_weights(name)
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except TypeError:
        raise
    except Exception as error:  # of the hub's client, of the operating system, of the model's own checks
        if pretrained:
            raise InputError(
                f"pretrained weights of {name} could not be fetched ({one_line(error)}); give a file by weights="
            ) from error
        raise InputError(f"{kind} {name} cannot be built with {arguments}: {one_line(error)}") from error
