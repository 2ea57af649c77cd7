"""Optimisers that keep one state per pair: pairs may enter and leave the loop at any step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Optimiser(Protocol):
    """Turn gradients into steps."""

    def begin(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """Make the state of a new parameter (B, ...): tensors of B rows."""
        ...

    def step(self, parameter: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        """Change ``parameter`` and ``state`` in place.

        ``step`` (B,), on the CPU, counts each pair's steps before this one.
        """
        ...


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015)."""

    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    damping: float = 0.0
    """Ours: as much of the root mean square of all of a pair's gradients is added to each one's own in the denominator.
    Adam by itself moves a number with a tiny gradient as far as any other, so that rounding decides about all that
    hardly matter; with it they hardly move."""

    def begin(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(parameter), torch.zeros_like(parameter)

    def step(self, parameter: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        mean, square = state
        mean.lerp_(gradient, 1 - self.betas[0])
        square.lerp_(gradient * gradient, 1 - self.betas[1])
        count = (step + 1).to(parameter, non_blocking=True).view(-1, *[1] * (parameter.ndim - 1))
        mean, square = mean / (1 - self.betas[0] ** count), square / (1 - self.betas[1] ** count)
        size = square.sqrt() + self.epsilon
        if self.damping:
            size += self.damping * square.flatten(1).mean(1).sqrt().view_as(count)
        parameter -= self.learning_rate * mean / size


@dataclass(frozen=True)
class RMSProp:
    """RMSProp (Tieleman and Hinton, 2012) as in TensorFlow: it starts at a mean square of 1, epsilon under the root."""

    learning_rate: float = 0.03
    decay: float = 0.9
    epsilon: float = 1e-10
    start: float = 1.0
    """of the mean square; PyTorch starts at 0"""

    def begin(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return (torch.full_like(parameter, self.start),)

    def step(self, parameter: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        (square,) = state
        square.lerp_(gradient * gradient, 1 - self.decay)
        parameter -= self.learning_rate * gradient / (square + self.epsilon).sqrt()


@dataclass(frozen=True)
class Momentum:
    """Gradient descent along a running mean of the gradients (torch's SGD with dampening = momentum)."""

    learning_rate: float = 0.01
    momentum: float = 0.9

    def begin(self, parameter: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(parameter),)

    def step(self, parameter: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: Tensor) -> None:
        (mean,) = state
        # Like torch, the first gradient is taken whole.
        first = (step == 0).to(parameter.device, non_blocking=True).view(-1, *[1] * (parameter.ndim - 1))
        mean.copy_(torch.where(first, gradient, mean.lerp(gradient, 1 - self.momentum)))
        parameter -= self.learning_rate * mean
