"""Runs the stages of a recipe, one checkpoint after every epoch and every action."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from protomask.errors import InputError
from protomask.training.checkpoint import load_checkpoint, save_checkpoint
from protomask.training.prediction import accuracy
from protomask.training.stages import Action, Epochs, TrainingSet


class Diverged(InputError):
    """The loss became infinite or not a number."""


def epoch_seed(seed: int, stage: int, epoch: int) -> int:
    """A seed of its own for each epoch: a resumed run draws what the uninterrupted one would have drawn."""
    return (seed * 1_000_003 + stage * 10_007 + epoch) % 2**63


def train(network: nn.Module, stages: Sequence[Epochs | Action], setup: TrainingSet, *, checkpoint: Path | None = None,
          log: Callable[[list[dict]], None] = lambda rows: None) -> list[dict]:
    """Trains ``network`` in place.

    Args:
        network: on ``setup.device``; an :class:`Epochs` stage's ``rates`` name its attributes.
        stages: run in order.
        setup: data and machine.
        checkpoint: file written atomically after each epoch and action; where it exists, training goes on from it.
        log: called after each epoch and action with all JSON-able rows so far.

    Returns:
        The rows: ``stage``, ``epoch`` (of the name, from 1; not for actions), ``seconds``, the mean of every term of the
        objective, ``train_accuracy``, ``validation_accuracy``, or what an action returned.

    Raises:
        Diverged: the loss is not finite; the last checkpoint stands.
        InputError: the checkpoint is of another network or recipe, or cannot be written.
    """
    network.to(setup.device, memory_format=torch.channels_last)
    plan = [[stage.name, getattr(stage, "epochs", 1)] for stage in stages]
    state = {"plan": plan, "stage": 0, "epoch": 0, "optimizers": {}, "log": []}
    saved = load_checkpoint(checkpoint) if checkpoint else None
    if saved is not None:
        _restore(network, saved, plan, checkpoint)
        state = saved
    while state["stage"] < len(stages):
        stage = stages[state["stage"]]
        begin = time.perf_counter()
        if isinstance(stage, Action):
            row = {"stage": stage.name, **stage.run(network, setup)}
            finished = True
        else:
            row, finished = _epoch(network, stages, state, setup)
        row["seconds"] = time.perf_counter() - begin
        state["stage"], state["epoch"] = (state["stage"] + 1, 0) if finished else (state["stage"], state["epoch"] + 1)
        state["log"].append(row)
        if checkpoint:
            save_checkpoint(checkpoint, {**state, "network": network.state_dict()})
        log(state["log"])
    return state["log"]


def _restore(network: nn.Module, saved: dict, plan: list, path: Path) -> None:
    if saved.get("plan") != plan:
        raise InputError(f"{path} belongs to another recipe; resume with the options it was started with, or choose another --output")
    try:
        network.load_state_dict(saved.pop("network"))
    except RuntimeError as error:
        raise InputError(f"{path} belongs to another network; resume with the options it was started with") from error


def _epoch(network: nn.Module, stages: Sequence[Epochs | Action], state: dict, setup: TrainingSet) -> tuple[dict, bool]:
    """One pass over the training data. Returns the log row and whether the stage is over."""
    position, epoch = state["stage"], state["epoch"]
    stage = stages[position]
    if stage.epochs < 1:
        return {"stage": stage.name, "epoch": 0}, True
    same = [other for other in stages if isinstance(other, Epochs) and other.name == stage.name]
    earlier = sum(other.epochs for other in stages[:position] if isinstance(other, Epochs) and other.name == stage.name)
    total = sum(other.epochs for other in same)

    _choose_what_learns(network, stage)
    optimizer = _optimizer(network, stage)
    if stage.name in state["optimizers"]:
        optimizer.load_state_dict(state["optimizers"][stage.name])
    seed = epoch_seed(setup.seed, position, epoch)
    torch.manual_seed(seed)
    loader = setup.loader(setup.train, shuffle_seed=seed)
    sums: dict[str, float] = {}
    seen = 0
    title = f"{stage.name} {epoch + 1}/{stage.epochs}"
    with tqdm(loader, desc=title, leave=False, disable=not setup.progress) as bar:
        for step, batch in enumerate(bar):
            done = earlier + epoch + step / len(loader)
            factor = stage.schedule(done / total, done) if stage.schedule else 1.0
            for group in optimizer.param_groups:
                group["lr"] = group["base_rate"] * factor
            images = batch["images"].to(setup.device, memory_format=torch.channels_last, non_blocking=True)
            labels = batch["labels"].to(setup.device, non_blocking=True)
            with setup.autocast():
                terms = stage.objective(network, images, labels)
            values = {name: term.item() for name, term in terms.items()}
            if not math.isfinite(values["loss"]):
                names = ", ".join(setup.train.names[place] for place in batch["positions"].tolist()[:8])
                raise Diverged(f"the loss is {values['loss']} in stage {stage.name}, epoch {epoch + 1}, at the batch of {names}...; "
                               "look at these images, or use --precision fp32")
            optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()
            optimizer.step()
            seen += len(labels)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + (value if name == "correct" else value * len(labels))
            bar.set_postfix(loss=f"{sums['loss'] / seen:.3f}", accuracy=f"{sums['correct'] / seen:.3f}")
    network.eval()
    state["optimizers"][stage.name] = optimizer.state_dict()
    row = {"stage": stage.name, "epoch": earlier + epoch + 1, "train_accuracy": sums.pop("correct") / seen,
           **{name: value / seen for name, value in sums.items()}}
    if len(setup.validation):
        row["validation_accuracy"] = accuracy(network, setup.validation, setup, "validation")
    return row, epoch + 1 == stage.epochs


def _choose_what_learns(network: nn.Module, stage: Epochs) -> None:
    network.eval()
    network.requires_grad_(False)
    for name in stage.rates:
        part = getattr(network, name)
        part.requires_grad_(True)
        if isinstance(part, nn.Module):
            part.train()


def _optimizer(network: nn.Module, stage: Epochs) -> torch.optim.Optimizer:
    groups = []
    for name, rate in stage.rates.items():
        part = getattr(network, name)
        parameters = list(part.parameters()) if isinstance(part, nn.Module) else [part]
        groups.append({"params": parameters, "lr": rate, "base_rate": rate, "weight_decay": stage.decay.get(name, 0.0)})
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimizer](groups)
