"""The two modules of 1x1 convolutions on the backbone's map: features, and where each prototype is looked for."""

from __future__ import annotations

from torch import nn


def build_heads(given: int, channels: int, prototypes: int, *, bias: bool) -> tuple[nn.Sequential, nn.Sequential]:
    """Build the feature module and the occurrence module (a reconstruction), with the initialisation of He et al.

    Args:
        given: channels of the backbone's map.
        channels: of the features.
        prototypes: channels of the occurrences.
        bias: whether the occurrence module's last convolution has one.
    """
    half = max(1, channels // 2)
    features = nn.Sequential(nn.Conv2d(given, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1))
    occurrences = nn.Sequential(
        nn.Conv2d(given, channels, 1),
        nn.ReLU(),
        nn.Conv2d(channels, half, 1),
        nn.ReLU(),
        nn.Conv2d(half, prototypes, 1, bias=bias),
    )
    for layer in (*features, *occurrences):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return features, occurrences


def last_convolution(layers: nn.Sequential) -> nn.Conv2d:
    """Give the convolution that a head ends in, as :func:`build_heads` builds both."""
    last = layers[-1]
    assert isinstance(last, nn.Conv2d)
    return last
