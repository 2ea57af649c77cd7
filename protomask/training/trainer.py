"""Runs the stages of a recipe; checkpoints after every epoch and action, and by the clock within an epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from protomask import distributed
from protomask.errors import InputError
from protomask.gradients import with_gradients
from protomask.interruption import HeldSignals, interrupts_insist
from protomask.training.checkpoint import Saver, how_to_do_without, load_checkpoint
from protomask.training.passes import epoch_seed, run_epoch
from protomask.training.stages import Action, Epochs, TrainingSet


@with_gradients
@interrupts_insist()
def train(
    network: nn.Module,
    stages: Sequence[Epochs | Action],
    setup: TrainingSet,
    *,
    checkpoint: Path | None = None,
    log: Callable[[list[dict]], None] = lambda rows: None,
    minutes: float = 10.0,
) -> list[dict]:
    """Train ``network`` in place; in several processes, see :mod:`protomask.distributed`, with the same weights in
    each. Which parameters require gradients is at the end as it was before.

    Args:
        network: on ``setup.device``; an :class:`Epochs` stage's ``rates`` name its attributes.
        stages: run in order.
        setup: data and machine. Several processes share each batch of ``setup.batch_size`` images.
        checkpoint: file written atomically; where it exists, training goes on from it, with any number of processes.
        log: called after each epoch and action, in the first process, with all JSON-able rows so far.
        minutes: between checkpoints within an epoch.

    Returns:
        The rows: ``stage``, ``epoch`` (of the name, from 1; not for actions), ``seconds``, ``seen`` (how many images
        were, to train and to validate), the mean of every term of the objective, ``train_accuracy``,
        ``validation_accuracy``, or what an action returned.

    Raises:
        Diverged: the loss or a gradient is not finite; the last checkpoint stands.
        InputError: the checkpoint is of another network or recipe, or cannot be written; a batch smaller than the
            number of processes.
    """
    smallest = min(setup.batch_size, len(setup.train))
    if smallest < distributed.size():
        raise InputError(
            f"a batch of {smallest} images cannot be shared by {distributed.size()} processes; "
            "raise batch_size= or lower --nproc-per-node"
        )
    learned = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    try:
        return _run_stages(network, stages, setup, checkpoint, log, minutes)
    finally:
        for name, parameter in network.named_parameters():  # which the stages have chosen among
            parameter.requires_grad_(learned.get(name, True))


def _run_stages(
    network: nn.Module,
    stages: Sequence[Epochs | Action],
    setup: TrainingSet,
    checkpoint: Path | None,
    log: Callable[[list[dict]], None],
    minutes: float,
) -> list[dict]:
    network.to(setup.device).to(memory_format=torch.channels_last)
    plan = [[stage.name, getattr(stage, "epochs", 1)] for stage in stages]
    state: dict[str, Any] = {"plan": plan, "stage": 0, "epoch": 0, "within": None, "optimizers": {}, "log": []}
    saved = load_checkpoint(checkpoint) if checkpoint else None
    if saved is not None and checkpoint is not None:
        _restore(network, saved, plan, checkpoint)
        state = {**state, **saved}
    where = state["stage"], state["epoch"], (state["within"] or {}).get("step")
    if len(set(distributed.gather(where))) > 1:
        raise InputError(
            f"the processes do not see the same checkpoint {checkpoint}; put the run's folder where all of them can "
            "read it"
        )
    if state["log"] and distributed.is_first():
        log(state["log"])  # a kill may have come between the checkpoint and the log
    saver = Saver(checkpoint, network, minutes)
    loader = setup.seeded_loader(setup.train)
    while state["stage"] < len(stages):
        stage = stages[state["stage"]]
        if isinstance(stage, Action):
            begin = time.perf_counter()
            torch.manual_seed(epoch_seed(setup.seed, state["stage"], 0))
            row = {"stage": stage.name, **stage.run(network, setup)}
            row["seconds"] = time.perf_counter() - begin
            finished = True
        else:
            row, finished = run_epoch(network, stages, state, setup, loader, saver)
        state["stage"], state["epoch"] = (state["stage"] + 1, 0) if finished else (state["stage"], state["epoch"] + 1)
        state["within"] = None
        state["log"].append(row)
        with HeldSignals() as held:  # half a checkpoint is none, and what it was to keep is long work
            saver.save(state)
        held.deliver()
        if distributed.is_first():
            log(state["log"])
    return state["log"]


def _restore(network: nn.Module, saved: dict, plan: list, path: Path) -> None:
    if not {"plan", "network", "log", "stage", "epoch", "within", "optimizers"} <= saved.keys():
        raise InputError(f"{path} is no checkpoint of a training; {how_to_do_without(path)}")
    if saved["plan"] != plan:
        raise InputError(
            f"{path} belongs to another recipe; resume with the options it was started with, or choose another output="
        )
    try:
        network.load_state_dict(saved.pop("network"))
    except RuntimeError as error:
        raise InputError(f"{path} belongs to another network; resume with the options it was started with") from error
