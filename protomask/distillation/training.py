"""Train an explainer: first by the teacher's maps, then by the teacher's objective through the explained model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.distillation.objective import Objective
from protomask.distillation.questions import Questions
from protomask.distillation.settings import Distillation
from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.freezing import frozen
from protomask.interruption import HeldSignals
from protomask.localizers.amortised.explainer import Explainer, enlarged
from protomask.localizers.amortised.taps import look_at
from protomask.localizers.engine.order import rank_share
from protomask.localizers.engine.speed.heap import keep_freed_memory
from protomask.localizers.settings import require_value
from protomask.training.checkpoint import load_checkpoint, save_checkpoint
from protomask.training.loading import Drawn, SeededLoader, derive_seed, own_part, shuffled_batches

WARM = 20
ANCHOR = 1.0
"""weight of the teacher's maps, which tell how much to show, and what comes first, while the objective is learned"""
KEEP = 0.5
"""weight of what keeping costs, at the teacher's mean price of the mask's size"""
SECONDS = 60.0
"""between two checkpoints"""
STATE = "state.pt"


@dataclass
class Trainer:
    """Train one explainer; steps are numbered, and each draws from the seed and its number alone.

    Args:
        explained: gives the features; quick scores are the objective's.
        data: training images, normalised as the model expects.
        maps, pairs: of the teacher: (n, h, w), and the positions and indices (n,) they are of; n may be 0.
        folder: for checkpoints; None keeps none.
        stamp: of everything that decides the result: another one begins anew.
    """

    explainer: Explainer
    taps: tuple[str, ...]
    explained: Explainable
    objective: Objective
    data: AnnotatedImages
    questions: Questions
    settings: Distillation
    maps: Tensor
    pairs: tuple[Tensor, Tensor]
    device: torch.device
    folder: Path | None
    stamp: str
    workers: int = 0
    progress: bool = False
    log: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.AdamW(self.explainer.parameters(), lr=self.settings.rate, weight_decay=0.01)
        self.imitated = self.settings.imitation if len(self.maps) else 0
        self.total = self.imitated + self.settings.steps
        self.before = 0.0
        """seconds that were spent before a stop"""
        self._begun = time.monotonic()
        self._taught: dict[int, Tensor] = {}
        self._recent: list[dict[str, float]] = []
        self._ranks = 1 - rank_share(self.maps)

    def run(self) -> list[dict[str, float]]:
        """Make all steps that are left, and give the log: means of every 25 steps.

        Raises:
            InputError: the loss is not finite, or a checkpoint cannot be written.
        """
        step = self._restore()
        kept = time.monotonic()
        with (
            frozen(self.explained),
            frozen(self.objective.explained),
            keep_freed_memory(self.device.type),
            HeldSignals() as held,
            tqdm(total=self.total, initial=step, desc="distill", unit="step", disable=not self.progress) as bar,
        ):
            for batch in self._batches(step):
                self._recent.append(self._step(step, batch))
                step += 1
                bar.update()
                bar.set_postfix({name: f"{value:.3f}" for name, value in self._recent[-1].items()})
                if step % 25 == 0 or step == self.total:
                    self.log.append({"step": step, **_means(self._recent)})
                    self._recent = []
                interrupted = distributed.from_first(held.pending is not None)
                if interrupted or distributed.from_first(time.monotonic() - kept > SECONDS):
                    self._keep(step)
                    kept = time.monotonic()
                if interrupted:
                    held.deliver()
                    raise KeyboardInterrupt
        return self.log

    def _batches(self, step: int) -> Iterator[dict[str, Any]]:
        """Load this process's part of each batch from ``step`` on; under ``draw`` the whole batch's positions."""
        count, size = len(self.data), min(self.settings.batch_size, len(self.data))
        each = len(shuffled_batches(count, size, 0))
        loader = SeededLoader(self.data, self.workers)
        while step < self.total:
            epoch, place = divmod(step, each)
            batches = shuffled_batches(count, size, derive_seed(self.settings.seed, epoch))[place:][: self.total - step]
            for batch, loaded in zip(batches, loader([own_part(batch) for batch in batches])):
                yield {**loaded, "batch": batch}
            step += len(batches)

    def _step(self, step: int, loaded: dict[str, Any]) -> dict[str, float]:
        batch: list[Drawn] = loaded["batch"]
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed + 1, step))
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * _schedule(step, self.total)
        # Everything is drawn for the whole batch, so that any number of processes draws the same.
        index = self.questions.draw([position for position, _ in batch], self.settings.others, generator)
        flipped = torch.rand(len(batch), generator=generator, dtype=torch.float32) < 0.5
        cuts = torch.randint(0, 2 * len(self.objective.teacher.order.areas), (len(batch),), generator=generator)
        taught = torch.randint(0, max(len(self.maps), 1), (len(batch),), generator=generator)
        place = len(batch) * distributed.rank() // distributed.size()
        part = slice(place, place + len(loaded["images"]))
        found: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.device, dtype=torch.float32)
        if len(self.maps):
            found["imitation"] = self._imitate(taught[part], flipped[part])
            loss = loss + (1.0 if step < self.imitated else ANCHOR) * found["imitation"]
        if step >= self.imitated:
            images = _flip(loaded["images"].to(self.device), flipped[part])
            chosen = index[part].to(self.device)
            drawn = enlarged(self._draw(images, chosen), images.shape[-2:])
            terms = self.objective.terms(images, chosen, drawn, cuts[part])
            found |= {
                "order": (terms.weight * terms.order).mean(),
                "drop": terms.drop.clamp(-1, 1).mean(),
                "size": terms.size.mean(),
            }
            price = math.sqrt(math.prod(require_value(self.objective.teacher.keep.size_weights)))
            found["keep"] = (terms.weight * (terms.keep + price * terms.size)).mean()
            loss = loss + found["order"] + KEEP * found["keep"]
        self._learn(loss * len(loaded["images"]) / len(batch))
        return _shared(
            {name: float(value.detach()) for name, value in found.items()}, len(loaded["images"]) / len(batch)
        )

    def _draw(self, images: Tensor, index: Tensor) -> Tensor:
        seen = look_at(self.explained, self.taps, images, index)
        return self.explainer(images, seen)

    def _imitate(self, chosen: Tensor, flipped: Tensor) -> Tensor:
        """How far the mask is from the teacher's maps, and the order from their pixels' ranks: few values are high."""
        images = _flip(torch.stack([self._image(int(place)) for place in chosen]).to(self.device), flipped)
        maps, ranks = (_flip(each[chosen][:, None].to(self.device), flipped) for each in (self.maps, self._ranks))
        drawn = self._draw(images, self.pairs[1][chosen].to(self.device))
        order = drawn[:, 1:] - drawn[:, 1:].mean((2, 3), keepdim=True)
        return F.binary_cross_entropy_with_logits(drawn[:, :1], maps) + F.binary_cross_entropy_with_logits(order, ranks)

    def _image(self, place: int) -> Tensor:
        """Give an image that the teacher explained; there are few, so that they are kept."""
        if place not in self._taught:
            self._taught[place] = collate([self.data[int(self.pairs[0][place])]])["images"][0]
        return self._taught[place]

    def _learn(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = list(self.explainer.parameters())
        for each in parameters:
            gradient = torch.zeros_like(each) if each.grad is None else each.grad
            if distributed.active():
                dist.all_reduce(gradient)
            each.grad = gradient
        norm = clip_grad_norm_(parameters, 1.0)
        if not math.isfinite(float(norm)):
            raise InputError(
                "the distillation's gradient is not finite; lower rate=, or look at the model's scores of these images"
            )
        self.optimiser.step()

    def _restore(self) -> int:
        """Find the step at which a stopped training goes on; 0 for a new one."""
        saved = None if self.folder is None else load_checkpoint(self.folder / STATE)
        if saved is None or saved.get("stamp") != self.stamp:
            return 0
        self.explainer.load_state_dict(saved["explainer"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.log, self.before = saved["log"], saved["seconds"]
        self._recent = saved.get("recent", [])
        return saved["step"]

    def _keep(self, step: int) -> None:
        folder = self.folder
        if folder is None:
            return
        state = {
            "stamp": self.stamp,
            "step": step,
            "explainer": self.explainer.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "log": self.log,
            "recent": self._recent,
            "seconds": self.before + time.monotonic() - self._begun,
        }
        distributed.only_first(lambda: save_checkpoint(folder / STATE, state))


def _schedule(step: int, total: int) -> float:
    """Share of the greatest rate: rising over the first steps, then half a cosine."""
    return min(1.0, (step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * step / max(total, 1)))


def _flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the images (B, C, H, W) where ``chosen`` (B,)."""
    there = chosen.view(-1, 1, 1, 1).to(images.device)
    return torch.where(there, images.flip(3), images).contiguous(memory_format=torch.channels_last)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in names}


def _shared(values: dict[str, float], share: float) -> dict[str, float]:
    """Average over all processes' parts of the batch."""
    everybody: list[tuple[dict[str, float], float]] = distributed.gather((values, share))
    return {name: sum(each[name] * part for each, part in everybody if name in each) for name in values}
