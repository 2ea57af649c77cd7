"""Gradient steps by several processes, each on its part of a batch, through torch's DistributedDataParallel.

The loss of a batch is taken as the mean over its images: cross-entropy, cluster and separation costs are. A term that
looks at the batch as a whole (the coverage cost's minimum over its images) is computed in each process over its own
part.

BatchNorm that learns normalises by the statistics of the process's own part; its running statistics are averaged over
the processes at the end of each epoch and in each checkpoint. Fixed BatchNorm (the default with pretrained weights)
makes no difference.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from protomask import distributed
from protomask.training.stages import Objective


class _Terms(nn.Module):
    """An objective as the forward pass of a module, which is what DistributedDataParallel wraps."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, *batch: Tensor) -> dict[str, Tensor]:
        terms = self.objective(self.network, *batch)
        # Parameters that only a logged term depends on count as unused.
        return {name: term if name == "loss" else term.detach() for name, term in terms.items()}


def distribute(network: nn.Module, objective: Objective):
    """Wrap ``(images, labels) -> terms`` so that gradients are averaged over the processes.

    The first process's weights go to all of them first. Which parameters learn must have been chosen before.
    """
    if not distributed.active():
        return partial(objective, network)
    return DistributedDataParallel(_Terms(network, objective), broadcast_buffers=False, find_unused_parameters=True)


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Average the running statistics of the BatchNorm layers that learn over the processes."""
    if not distributed.active():
        return
    found = [
        buffer
        for module in network.modules()
        if module.training
        for buffer in (getattr(module, "running_mean", None), getattr(module, "running_var", None))
        if buffer is not None
    ]
    if found:
        flat = torch.cat([buffer.flatten() for buffer in found])
        dist.all_reduce(flat)
        for buffer, mean in zip(found, (flat / distributed.size()).split([buffer.numel() for buffer in found])):
            buffer.copy_(mean.view_as(buffer))
