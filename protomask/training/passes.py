"""One pass over the training images: batches, gradient steps, and checkpoints on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter

import torch
from torch import Tensor, nn
from tqdm import tqdm

from protomask import distributed
from protomask.capabilities import compares_by_cosine
from protomask.errors import InputError, first_of
from protomask.interruption import HeldSignals
from protomask.labels import balancing_weights
from protomask.prototype_network import PrototypeNetwork
from protomask.training.anchoring import LIMIT, Anchored, measure_drift
from protomask.training.checkpoint import Saver
from protomask.training.loading import SeededLoader, derive_seed, own_part, shuffled_batches
from protomask.training.object_patches import allowed_patches
from protomask.training.parallel import average_statistics, distribute
from protomask.training.prediction import accuracy
from protomask.training.stages import Action, Epochs, TrainingSet


class Diverged(InputError):
    """The loss or a gradient became infinite or not a number."""


class Means:
    """Means of an objective's terms over the images seen, also by the other processes."""

    def __init__(self, seen: int = 0, sums: dict[str, float] | None = None) -> None:
        self.seen, self.sums = seen, dict(sums or {})

    def add(self, values: dict[str, float], count: int) -> None:
        """Give the values of a batch of ``count`` images: means over it, but ``correct`` a sum."""
        self.seen += count
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + (value if name == "correct" else value * count)

    def mean(self, name: str) -> float:
        return self.sums[name] / self.seen

    def of_all(self) -> Means:
        """Give the means of the images that all processes saw."""
        every = Means()
        for other in distributed.gather(self):
            every.seen += other.seen
            for name, value in other.sums.items():
                every.sums[name] = every.sums.get(name, 0.0) + value
        return every


def epoch_seed(seed: int, stage: int, epoch: int) -> int:
    """Give a seed of its own for each epoch: a resumed run draws what the uninterrupted one would have drawn."""
    return (seed * 1_000_003 + stage * 10_007 + epoch) % 2**63


def run_epoch(
    network: nn.Module,
    stages: Sequence[Epochs | Action],
    state: dict,
    setup: TrainingSet,
    loader: SeededLoader,
    saver: Saver,
) -> tuple[dict, bool]:
    """Give the epoch at which ``state`` stands, or what is left of it.

    Args:
        state: of :func:`protomask.training.train`. ``within`` says how far the epoch is: None, or ``step``, ``seen``,
            ``sums``, ``seconds``.
        loader: of ``setup.train``.
        saver: asked after every step whether a checkpoint is due.

    Returns:
        The log row, and whether the stage is over.
    """
    position, epoch = state["stage"], state["epoch"]
    stage = stages[position]
    if stage.epochs < 1:
        return {"stage": stage.name, "epoch": 0, "seconds": 0.0}, True
    same = [other for other in stages if isinstance(other, Epochs) and other.name == stage.name]
    earlier = sum(other.epochs for other in stages[:position] if isinstance(other, Epochs) and other.name == stage.name)
    total = sum(other.epochs for other in same)

    _choose_what_learns(network, stage)
    optimizer = _optimizer(network, stage)
    if stage.name in state["optimizers"]:
        optimizer.load_state_dict(state["optimizers"][stage.name])
    seed = epoch_seed(setup.seed, position, epoch)
    weights = balancing_weights(setup.train.labels) if setup.balance else None
    batches = shuffled_batches(len(setup.train), setup.batch_size, seed, weights)
    within = state["within"] or {"step": 0, "seen": 0, "sums": {}, "seconds": 0.0}
    begin = time.perf_counter() - within["seconds"]
    means = Means(within["seen"], within["sums"]) if distributed.is_first() else Means()
    drifts = [row["drift"] for row in state["log"] if row["stage"] == stage.name and "drift" in row]
    held_near = max(drifts, default=0.0) > LIMIT
    objective = distribute(network, Anchored(stage.objective, setup) if held_near else stage.objective)
    mine = loader([own_part(batch) for batch in batches[within["step"] :]])

    def so_far(step: int) -> dict:
        everybody = means.of_all()
        seconds = time.perf_counter() - begin
        return {"step": step, "seen": everybody.seen, "sums": everybody.sums, "seconds": seconds}

    def keep(trained: dict) -> None:
        state["optimizers"][stage.name] = optimizer.state_dict()
        if all(each.isfinite().all() for each in network.state_dict().values()):  # else the one before is the better
            saver.save_alone({**state, "within": trained})

    drifting = stage.anchored and compares_by_cosine(network)
    measured = drifting or len(setup.validation) > 0
    bar = tqdm(
        mine,
        desc=f"{stage.name} {epoch + 1}/{stage.epochs}",
        leave=False,
        total=len(batches),
        initial=within["step"],
        disable=not setup.progress,
    )
    with HeldSignals() as held, bar:
        done_steps = within["step"]

        def keep_steps() -> None:
            if done_steps and distributed.size() == 1:  # others still wait for their part of the step
                keep(so_far(done_steps))

        for step, batch in enumerate(_keeping_first(bar, keep_steps), within["step"]):
            done = earlier + epoch + step / len(batches)
            factor = stage.schedule(done / total, done) if stage.schedule else 1.0
            for group in optimizer.param_groups:
                group["lr"] = group["base_rate"] * factor
            # What the network and the loss draw depends on the step alone, in each process on its own.
            torch.manual_seed(derive_seed(seed, -1 - step * distributed.size() - distributed.rank()))
            values = _step(
                network,
                objective,
                optimizer,
                batch,
                len(batches[step]),
                setup,
                f"stage {stage.name}, epoch {epoch + 1}",
            )
            if stage.after is not None:
                stage.after(network)
            means.add(values, len(batch["labels"]))
            done_steps = step + 1
            bar.set_postfix(loss=f"{means.mean('loss'):.3f}", accuracy=f"{means.mean('correct'):.3f}")
            if (measured or step + 1 < len(batches)) and saver.due(held.pending is not None):
                average_statistics(network)
                state["optimizers"][stage.name] = optimizer.state_dict()
                saver.save({**state, "within": so_far(step + 1)})
                held.deliver()
        average_statistics(network)
        network.eval()
        state["optimizers"][stage.name] = optimizer.state_dict()
        trained = so_far(len(batches))
    means = Means(trained["seen"], trained["sums"])
    row = {
        "stage": stage.name,
        "epoch": earlier + epoch + 1,
        "seen": means.seen,
        "train_accuracy": means.mean("correct"),
        **{name: means.mean(name) for name in means.sums if name != "correct"},
    }
    try:
        held.deliver()  # what came during the last step
        if drifting:
            row["drift"] = distributed.gather(measure_drift(network, setup))[0]
        if len(setup.validation):
            row["validation_accuracy"] = accuracy(network, setup.validation, setup, "validation")
            row["seen"] += len(setup.validation)
    except BaseException:  # an interruption, a picture that cannot be read, another process that is gone
        keep(trained)
        raise
    return {**row, "seconds": time.perf_counter() - begin}, epoch + 1 == stage.epochs


def _keeping_first(batches: Iterable[dict], keep: Callable[[], object]) -> Iterator[dict]:
    """Pass batches on; where the next one cannot be read, keep what was learned first."""
    try:
        yield from batches
    except Exception:
        keep()
        raise


def _step(
    network: nn.Module,
    objective: Callable[..., dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    batch: dict,
    whole: int,
    setup: TrainingSet,
    place: str,
) -> dict[str, float]:
    """One gradient step on this process's part of a batch of ``whole`` images. Returns the terms' values."""
    images = batch["images"].to(setup.device, memory_format=torch.channels_last, non_blocking=True)
    labels = batch["labels"].to(setup.device, non_blocking=True)
    patches = [allowed_patches(network, batch)] if setup.on_object else []
    with setup.autocast(), _enough_for_batch_norm(len(images), place):
        terms = objective(images, labels, *patches)
    values = {name: term.item() for name, term in terms.items()}
    _check("loss", values["loss"], batch, setup, place)
    optimizer.zero_grad(set_to_none=True)
    # Gradients are averaged over the processes; the factor makes that the mean over the images of the whole batch.
    (terms["loss"] * (len(labels) * distributed.size() / whole)).backward()
    learned = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    _check("gradient's norm", torch.nn.utils.get_total_norm(learned).item(), batch, setup, place)
    optimizer.step()
    if isinstance(network, PrototypeNetwork) and network.last_layer.weight.requires_grad:
        network.keep_evidence()
    return values


@contextmanager
def _enough_for_batch_norm(images: int, place: str) -> Iterator[None]:
    """BatchNorm has nothing to learn from a single value per channel: one image, on a map of 1 x 1."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"{place}: BatchNorm cannot learn from {images} image in this process on a feature map of 1 x 1; "
            "raise the batch size or the image size, or keep the statistics fixed (freeze_norm)"
        ) from error


def _check(what: str, value: float, batch: dict, setup: TrainingSet, place: str) -> None:
    if not math.isfinite(value):
        names = [setup.train.names[position] for position in batch["positions"].tolist()]
        raise Diverged(
            f"the {what} is {value} in {place}, at the batch of {first_of(names, 8)}; "
            "look at these images, or use precision=fp32; the last checkpoint is from before this batch"
        )


def _choose_what_learns(network: nn.Module, stage: Epochs) -> None:
    network.eval()
    network.requires_grad_(False)
    for name in stage.rates:
        part = attrgetter(name)(network)
        part.requires_grad_(True)
        if isinstance(part, nn.Module):
            part.train()


def _optimizer(network: nn.Module, stage: Epochs) -> torch.optim.Optimizer:
    groups = []
    for name, rate in stage.rates.items():
        part = attrgetter(name)(network)
        parameters = list(part.parameters()) if isinstance(part, nn.Module) else [part]
        groups.append({"params": parameters, "lr": rate, "base_rate": rate, "weight_decay": stage.decay.get(name, 0.0)})
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimizer](groups)
