"""What can be tried before hours are spent on training a network: its batches, and localizers that look inside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from protomask.backbones.dryrun import channels_of, refusal
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.localizers import Localizer
from protomask.localizers.calling import call_localizer
from protomask.prototype_network import PrototypeNetwork


def try_batch(network: PrototypeNetwork, images: int, device: torch.device) -> None:
    """Try whether the network can learn from batches as small as the smallest one; it stays as it is.

    BatchNorm has nothing to learn from a single value per channel: one image, on a map of 1 x 1.

    Args:
        images: of the smallest batch, in one process.

    Raises:
        InputError: it cannot.
    """
    if images > 1:
        return
    learner = copy.deepcopy(network).to(device).train()
    try:
        with torch.no_grad():
            learner(_noise(network, device))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"BatchNorm cannot learn from batches of {images} image in this process on a feature map of 1 x 1; raise "
            "the batch size or the image size, or keep the statistics fixed (freeze_norm)"
        ) from error


def try_channels(network: PrototypeNetwork, device: torch.device) -> None:
    """Show an image to a network whose first convolution takes other channels than three; the network stays as it is.

    Raises:
        InputError: it refuses the image for its channels.
    """
    if channels_of(network) in (None, 3):
        return
    image = _noise(network, device)
    try:
        with torch.no_grad(), frozen(network):
            network.to(device)(image)
    except Exception as error:  # each network refuses in its own way
        if "channel" not in str(error):
            return  # what else is wrong shows in a batch
        said = refusal(network, (network.image_size, network.image_size), str(error), "")
        raise InputError(f"network {type(network).__name__} {said}") from error


def try_layers(network: PrototypeNetwork, localizers: Mapping[str, Localizer], device: torch.device) -> None:
    """Explain noise once by each localizer for which a layer was named; the network stays as it is.

    The others need scores alone, and find nothing amiss with a network that could be built.

    Raises:
        InputError: there is no such layer, or it cannot explain the score.
    """
    for name, localizer in localizers.items():
        if getattr(localizer, "layer", None) is None:
            continue
        with torch.random.fork_rng():
            first = torch.zeros(1, dtype=torch.long, device=device)
            call_localizer(localizer, network, _noise(network, device), first, name)


def _noise(network: PrototypeNetwork, device: torch.device) -> torch.Tensor:
    """One image."""
    side = network.image_size
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(device)
