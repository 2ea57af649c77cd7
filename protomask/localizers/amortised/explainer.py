"""The explainer: features of the explained model, the image and a question become a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from protomask.localizers.amortised.taps import Seen
from protomask.localizers.base import min_max
from protomask.localizers.engine.order import with_values_of

WIDTHS = (64, 48, 32, 16)
"""channels of the decoder at each level, the coarsest first"""
QUARTER = 4
"""pixels of the image for a cell of the mask"""


class Explainer(nn.Module):
    """Draw a mask from what one pass of the explained model shows; ours.

    From the coarsest feature map to the finest, and at last the image itself, each level adds what it sees to the one
    before, enlarged. At every level the question (class or prototype) scales and shifts the channels (FiLM, Perez et
    al. 2018). Question and features are also multiplied with each other, channel by channel where they have the same
    channels, so that the answer to a class or prototype that was never asked for follows from its own direction. What
    the network draws is added to the evidence at first sight; a fresh network changes nothing about that.

    Args:
        channels: of the feature maps, the coarsest first.
        condition: length of the question.
        colours: channels of the image.
    """

    def __init__(self, channels: Sequence[int], condition: int, colours: int = 3) -> None:
        super().__init__()
        self.channels, self.condition, self.colours = tuple(channels), condition, colours
        widths = [*WIDTHS[: len(channels)], WIDTHS[len(WIDTHS) - 1]]
        self.alike = condition == channels[0]
        self.question = nn.Linear(condition, 64)
        self.match = nn.Conv2d(channels[0], widths[0], 1, bias=False)
        self.ask = nn.Identity() if self.alike else nn.Linear(condition, widths[0])
        self.enter = nn.ModuleList(nn.Conv2d(each, width, 1) for each, width in zip(channels, widths))
        self.levels = nn.ModuleList(
            _Level((2 + widths[0] if number == 0 else before) + width + colours, width)
            for number, (width, before) in enumerate(zip(widths[:-1], (0, *widths)))
        )
        self.last = _Level(widths[-2] + 1 + colours, widths[-1])
        self.draw = nn.Conv2d(widths[-1], 2, 3, padding=1)
        self.strength = nn.Parameter(torch.tensor(4.0, dtype=torch.float32))
        with torch.no_grad():
            for parameter in self.draw.parameters():
                parameter.fill_(-2.0 if parameter.ndim == 1 else 0.0)

    def forward(self, images: Tensor, seen: Seen) -> Tensor:
        """Draw at a quarter of the resolution of ``images`` (B, 3, H, W).

        Returns:
            (B, 2, h, w): logits of the mask that keeps the score, and the order of the pixels, the greatest first.
        """
        question = self.question(_unit(seen.condition))
        values = _even(seen.features[0])
        if self.alike:
            matched = self.match(values * _unit(seen.condition)[:, :, None, None])
        else:
            matched = self.match(values) * self.ask(_unit(seen.condition))[:, :, None, None]
        drawn, fine = torch.cat([matched, seen.evidence], 1), F.adaptive_avg_pool2d(images, quarter(images))
        for number, (enter, level) in enumerate(zip(self.enter, self.levels)):
            feature = values if number == 0 else _even(seen.features[number])
            size = int(feature.shape[-2]), int(feature.shape[-1])
            shown = F.adaptive_avg_pool2d(images if size > fine.shape[-2:] else fine, size)
            drawn = level(torch.cat([_resized(drawn, size), enter(feature), shown], 1), question)
        size = quarter(images)
        evidence = _smooth(seen.evidence[:, :1], size)
        drawn = self.last(torch.cat([_resized(drawn, size), evidence, fine], 1), question)
        return self.draw(drawn) + self.strength * evidence


class _Level(nn.Module):
    """A convolution, normalised, scaled and shifted by the question."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.even = nn.GroupNorm(min(8, width), width)
        self.film = nn.Linear(64, 2 * width)
        self.again = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, maps: Tensor, question: Tensor) -> Tensor:
        scale, shift = self.film(question)[:, :, None, None].chunk(2, 1)
        found = F.relu(self.even(self.convolve(maps)) * (1 + scale) + shift)
        return found + F.relu(self.again(found))


def quarter(images: Tensor) -> tuple[int, int]:
    """Rows and columns of the mask of images (B, 3, H, W)."""
    height, width = images.shape[-2:]
    return -(-height // QUARTER), -(-width // QUARTER)


def draw_saliency(explainer: Explainer, images: Tensor, seen: Seen, contrast: float) -> Tensor:
    """Put both maps together as MDM does: the values of the mask in the order of the pixels, (B, H, W) in [0, 1]."""
    drawn = explainer(images, seen).float()
    mask = min_max(drawn[:, 0].sigmoid())
    ordered = min_max(drawn[:, 1]) * (0.5 + mask)
    return min_max(enlarged(with_values_of(ordered, mask, contrast)[:, None], images.shape[-2:])[:, 0])


def enlarged(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge maps (B, C, h, w) to the image's size."""
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


def _smooth(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bicubic", align_corners=False)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return maps if maps.shape[-2:] == size else F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def _even(maps: Tensor) -> Tensor:
    """Scale maps (B, C, h, w) so that the mean square of each image's values is 1."""
    return maps * maps.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt()


def _unit(vectors: Tensor) -> Tensor:
    """Scale vectors (B, D) so that the mean square of their values is 1."""
    return vectors * vectors.square().mean(1, keepdim=True).clamp_min(1e-12).rsqrt()
