"""The feature extractor under every prototype network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # the BatchNorm classes have no public base in common

from protomask.backbones.dryrun import meta_copy, nominal_stride, refusal, trial, unused_modules
from protomask.backbones.names import one_line, unknown
from protomask.errors import InputError


class SizeError(InputError):
    """A model that refuses the size of the images."""


class Backbone(nn.Module):
    """A network up to one of its feature maps; made by :func:`protomask.backbones.build_backbone`.

    Attributes:
        body: The library's model with its own parameter names, less the parts that the feature map does not need.
        name: As in timm, or ``torchvision/NAME``.
        arguments: What the model was built with beyond its name.
        features: The feature map that was asked for; `stage` is the one that was found (None = the last).
        channels: C of the feature map.
        stride: Pixels of the input between two neighbouring positions of the feature map.
        image_size: Side in pixels of the images that the model was built for, or None.
        mean, std: Of the three channels of images in [0, 1], with which the images must be normalised.
        freeze_norm: Whether BatchNorm layers stay in eval mode in training; their weight and bias train all the same.
        dropped: Names of the tensors that the model would have in its dropped parts.
    """

    known_strides: tuple[int, ...] = ()

    def __init__(self, body: nn.Module, name: str, arguments: dict[str, Any], image_size: int | None) -> None:
        super().__init__()
        self.body = body
        self.name = name
        self.arguments = dict(arguments)
        self.image_size = image_size
        self.features: int | str | None = None
        self.stage: str | None = None
        self.channels = 0
        self.stride = 0
        self.mean = (0.485, 0.456, 0.406)
        self.std = (0.229, 0.224, 0.225)
        self.freeze_norm = False
        self.dropped: tuple[str, ...] = ()

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Give every feature map (B, C, h, w) that can be chosen, by name, the deepest last. Before the choice only."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Give the feature map (B, C, h, w) of normalised images (B, 3, H, W)."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if mode and self.freeze_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def grid(self, image_size: int | tuple[int, int]) -> tuple[int, int]:
        """Give (h, w) of the feature map of images of (H, W) pixels; nothing is computed.

        Raises:
            InputError: for an image size that the model cannot take.
        """
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        with self._takes(size):
            height, width = trial(meta_copy(self).eval(), size, "meta").shape[2:]
        return height, width

    def settings(self) -> dict[str, Any]:
        """Tell what :func:`build_backbone` needs to build the same backbone without weights; fit for JSON."""
        return {
            "name": self.name,
            "arguments": dict(self.arguments),
            "features": self.features,
            "image_size": self.image_size,
            "freeze_norm": self.freeze_norm,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def choose(self, features: int | str | None, size: int) -> None:
        """Settle the feature map, tried on an image of `size` pixels, and drop what it does not need; in eval mode.

        Raises:
            InputError: where the model has no such map; the message lists those it has.
            SizeError: where it cannot take the image.
        """
        self.features = features
        with self._takes((size, size)):
            if features is not None:
                maps = trial(self.maps, (size, size), next(self.parameters()).device)
                self.stage = self._stage(features, {name: self._stride(size, found) for name, found in maps.items()})
            output, unused = unused_modules(self, (size, size))
        self.channels, self.stride = output.shape[1], self._stride(size, output)
        before = set(self.body.state_dict())
        for name in unused:
            parent, _, child = name.rpartition(".")
            setattr(self.get_submodule(parent), child, nn.Identity())
        self.dropped = tuple(sorted(before - set(self.body.state_dict())))

    def _stride(self, size: int, features: Tensor) -> int:
        return nominal_stride(size, features.shape[2], self.known_strides)

    def _stage(self, features: int | str, strides: dict[str, int]) -> str:
        if features in strides:
            return features
        fitting = [stage for stage, stride in strides.items() if stride == features]
        if fitting:
            return fitting[-1]
        if isinstance(features, str):
            raise unknown(f"feature map of {self.name}", features, strides)
        deepest = {stride: stage for stage, stride in strides.items()}
        there = ", ".join(f"{stride} ({stage})" for stride, stage in sorted(deepest.items()))
        raise InputError(f"backbone {self.name} has no feature map of stride {features}; it has those of {there}")

    @contextmanager
    def _takes(self, size: tuple[int, int]) -> Iterator[None]:
        """Says in one line that the model refuses a size, which each does in its own way."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            said = refusal(self.body, size, one_line(error), "choose another image size")
            raise SizeError(f"backbone {self.name} {said}") from error
