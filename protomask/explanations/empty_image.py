"""How similar prototypes are to an image in which there is nothing: no map of an image less similar shows evidence."""

from __future__ import annotations

import torch

from protomask.freezing import frozen
from protomask.prototype_network import PrototypeNetwork


def empty_similarities(network: PrototypeNetwork) -> list[float]:
    """Compute the similarity of each of the P prototypes to an empty image, in one forward pass of one image.

    Empty is 0 after normalisation, as what learned masks hide is by default and as in :func:`protomask.look`.
    """
    images = torch.zeros(
        1, 3, network.image_size, network.image_size, device=network.prototypes.device, dtype=torch.float32
    )
    with frozen(network), torch.no_grad():
        return network(images).similarities[0].float().tolist()
