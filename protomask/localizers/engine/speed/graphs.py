"""A network's forward pass and input gradient as one CUDA graph: small batches without the wait for Python."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protomask.capabilities import score_kind
from protomask.explainable import Explainable

LARGEST = 16 * 224 * 224
"""pixels; a larger batch keeps the device busy by itself (measured: docs/benchmarks.md)"""


def scores_and_gradients(explained: Explainable, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
    """Compute scores (B,) and their gradients with respect to the images (B, 3, H, W); None where there is none."""
    if isinstance(explained, GraphedScores):
        return explained.scores_and_gradients(images, index)
    with torch.enable_grad():
        images = images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        scores = explained.score(images, index)
        if not scores.requires_grad:
            return scores, None
        # Materialised, a score that does not come from the images would give blank masks.
        (gradients,) = torch.autograd.grad(scores.sum(), images, allow_unused=True)
    return scores.detach(), gradients


@dataclass(eq=False)
class GraphedScores:
    """Score ``explained`` by CUDA graphs: each shape of a small batch is recorded once and replayed.

    What Python does along the way is left out then, so it is for models that do nothing but compute. What cannot be
    recorded (a model that waits for the device, say) runs as usual.
    """

    explained: Explainable
    recorded: dict[torch.Size, Recording | None] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """Of a Classifier's scores."""
        return score_kind(self.explained)

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        return self.explained.score(images, index)

    def scores_and_gradients(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute what :func:`scores_and_gradients` does."""
        recording = self.recorded.get(images.shape)
        if recording is not None:
            return recording(images, index)
        if images.shape in self.recorded or images[:, 0].numel() > LARGEST:
            return scores_and_gradients(self.explained, images, index)
        # A pass as usual first: it warms up what the next one is recorded with, and shows whether that is possible.
        usual, waits = run_and_watch(self.explained, images, index)
        self.recorded[images.shape] = (
            None if waits or usual[1] is None else record_graph(self.explained, images, index, (usual[0], usual[1]))
        )
        return usual


@dataclass
class Recording:
    """Hold a graph with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    index: Tensor
    scores: Tensor
    gradients: Tensor

    def __call__(self, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        self.images.copy_(images)
        self.index.copy_(index)
        self.graph.replay()
        return self.scores.clone(), self.gradients.clone()


def run_and_watch(explained: Explainable, images: Tensor, index: Tensor) -> tuple[tuple[Tensor, Tensor | None], bool]:
    """Run a pass as usual, and tell whether it waits for the device somewhere, which no graph can."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        return scores_and_gradients(explained, images, index), False
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        pass
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return scores_and_gradients(explained, images, index), True


def record_graph(
    explained: Explainable, images: Tensor, index: Tensor, usual: tuple[Tensor, Tensor]
) -> Recording | None:
    """Record a pass; None where that is impossible, or where a replay gives something else than ``usual``."""
    images, index = images.detach().clone(memory_format=torch.channels_last), index.clone()
    graph = torch.cuda.CUDAGraph()
    try:
        # The outer stream is for a recording that breaks off, which would leave its own as the current one.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
            scores, gradients = scores_and_gradients(explained, images, index)
    except RuntimeError as error:
        # The device's random generator thinks itself recorded until the next recording that ends well.
        with (
            suppress(RuntimeError),
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            index.add_(0)
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None
    if gradients is None:
        return None
    recording = Recording(graph, images, index, scores, gradients)
    alike = (
        torch.allclose(found, expected, rtol=1e-2, atol=1e-2 * expected.abs().amax().item(), equal_nan=True)
        for found, expected in zip(recording(images, index), usual)
    )
    return recording if all(alike) else None
