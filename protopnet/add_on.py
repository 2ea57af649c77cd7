"""The 1x1 convolutions between a backbone and the prototypes, named by words so that a file can hold them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from protomask.errors import InputError

LAYERS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def usual_add_on(similarity: str, channels: int) -> tuple[str, ...]:
    """Name the usual layers: one linear convolution for the cosine; conv, ReLU, conv, sigmoid for ``l2-log``.

    The latter are the official "regular" (known).
    """
    return (
        (f"conv {channels}",) if similarity == "cosine" else (f"conv {channels}", "relu", f"conv {channels}", "sigmoid")
    )


def bottleneck_add_on(features: int, channels: int) -> tuple[str, ...]:
    """Name the official "bottleneck" (known): pairs of convolutions that halve the depth until it is ``channels``."""
    words: list[str] = []
    depth = features
    while depth > channels or not words:
        out = max(channels, depth // 2)
        words += [f"conv {out}", "relu", f"conv {out}", "relu" if out > channels else "sigmoid"]
        depth //= 2
    return tuple(words)


def build_add_on(words: Sequence[str], features: int, channels: int) -> nn.Sequential:
    """Build the layers that ``words`` name.

    Args:
        words: ``"conv N"`` (a 1x1 convolution to N channels), ``"conv N unbiased"``, ``"relu"``, ``"sigmoid"``; may be
            empty.
        features: channels that come in.
        channels: D, that must come out.

    Raises:
        InputError: a word that is none of these, or another number of channels at the end.
    """
    layers: list[nn.Module] = []
    for word in words:
        kind, *rest = str(word).split()
        if kind in LAYERS and not rest:
            layers.append(LAYERS[kind]())
        elif kind == "conv" and rest and rest[0].isdecimal() and int(rest[0]) > 0 and rest[1:] in ([], ["unbiased"]):
            layers.append(nn.Conv2d(features, int(rest[0]), 1, bias=not rest[1:]))
            features = int(rest[0])
        else:
            raise InputError(f"add-on layer {word!r} is unknown; write conv N, conv N unbiased, relu or sigmoid")
    if features != channels:
        raise InputError(f"the add-on layers give {features} channels, but prototypes have {channels}")
    return nn.Sequential(*layers)
