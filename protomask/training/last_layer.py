"""The last layer, fitted on similarities that are computed once."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from tqdm import tqdm

from protomask import distributed
from protomask.freezing import frozen
from protomask.prototype_network import PrototypeNetwork
from protomask.training.classification import classification_terms
from protomask.training.costs import wrong_class_weights
from protomask.training.loading import derive_seed, ordered_batches
from protomask.training.stages import TrainingSet

PASSES = 20
"""as the official recipe's passes over the last layer"""


def training_similarities(
    network: PrototypeNetwork, setup: TrainingSet, passes: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute similarities (passes * N, P) and labels of the training images under the training transform.

    The labels are (passes * N,) or (passes * N, C); several processes share the work.
    """
    similarities, labels = [], []
    share = distributed.shard(len(setup.train), setup.batch_size)
    loader = setup.seeded_loader(setup.train)
    with frozen(network), torch.inference_mode(), setup.autocast():
        for number in range(passes):
            mine = [torch.empty(0, network.prototype_count, device=setup.device)]
            batches = ordered_batches(share, setup.batch_size, derive_seed(setup.seed, number))
            for batch in tqdm(
                loader(batches), desc="last layer", leave=False, disable=not setup.progress, total=len(batches)
            ):
                images = batch["images"].to(setup.device, memory_format=torch.channels_last)
                mine.append(network(images).similarities)
            similarities.append(distributed.gather_rows(torch.cat(mine)))
            labels.append(setup.train.labels.to(setup.device))
    # Clones leave inference mode, so that autograd may save them.
    return torch.cat(similarities).clone(), torch.cat(labels).clone()


def fit_last_layer(
    network: PrototypeNetwork, setup: TrainingSet, *, l1: float, steps: int = 300, passes: int | None = None
) -> dict[str, float]:
    """Minimise the classification term + l1 * |wrong-class weights| over the last layer alone, its bias included.

    Where the network's evidence is positive, weights to other classes stay 0 and those to the own class >= 0: projected
    steps, which for a convex problem end in the constrained minimum (ours).

    The official recipe makes 20 passes over the training images for this convex problem (known); the similarities do
    not change meanwhile, so here they are computed once (ours), and full-batch Adam with a falling rate does the rest
    in seconds.

    Args:
        network: projected.
        setup: data and machine.
        l1: weight of the L1 term.
        steps: of Adam.
        passes: times that every training image is seen, augmented anew; by default until there are about 2,000
            similarities, but at most ``PASSES``.

    Returns:
        The loss before and after.
    """
    passes = passes or min(PASSES, -(-2000 // len(setup.train)))
    similarities, labels = training_similarities(network, setup, passes)
    layer = network.last_layer
    weight, *bias = learned = [parameter.detach().clone().requires_grad_(True) for parameter in layer.parameters()]
    rate = 0.01 * network.scale
    optimizer = torch.optim.Adam(learned, lr=rate)
    own = network.own_class()
    positive = network.evidence == "positive"
    losses = []
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            (loss,) = classification_terms(F.linear(similarities, weight, *bias), labels).values()
            loss = loss + l1 * wrong_class_weights(weight, own)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if positive:
                weight.data.clamp_(min=0).mul_(own)
            losses.append(loss.item())
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), learned):
            parameter.copy_(value)
    return {"loss_before": losses[0], "loss": losses[-1]} if losses else {}
