"""A run that is made out of another one, by pruning or refining: what both share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from protomask.explanations.records import PrototypePicture
from protomask.labels import right_answers
from protomask.localizers.amortised.files import ABOUT
from protomask.networks import save_network
from protomask.prototype_network import PrototypeNetwork
from protomask.report.steps import steps_of, words_of
from protomask.run.explainers import carry_explainer
from protomask.run.measures import MEASURES, validated
from protomask.run.origins import marked
from protomask.run_folder import UNFINISHED, versions
from protomask.training import Action, Epochs

if TYPE_CHECKING:
    from protomask.run.opened import Run


def right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Give (N,) bool; with several findings per image, whether all of them are."""
    return right_answers(logits, labels) == 1


def after_projection(stages: list[Epochs | Action]) -> list[Epochs | Action]:
    """Tell what a recipe does after its last projection: the last layer anew."""
    last = max((place for place, stage in enumerate(stages) if stage.name == "projection"), default=-1)
    return stages[last + 1 :]


def select(
    pictures: Sequence[PrototypePicture], kept: Sequence[int], network: PrototypeNetwork
) -> list[PrototypePicture]:
    """Give the pictures of the kept prototypes under their new numbers, with the weights of the new last layer."""
    weights = network.last_layer.weight.detach().cpu()
    classes = network.prototype_classes.tolist()
    return [
        pictures[old].changed(
            inspection=None,
            record=replace(pictures[old].record, prototype=new, weight=weights[classes[new], new].item()),
        )
        for new, old in enumerate(kept)
    ]


def origin_name(run: Run) -> str:
    """Name the run that another is made of, so that it is found later on: by a link, or ``.``, it would not be."""
    return str(run.folder.resolve())


def write_derived(run: Run, new: Run, kind: str, origin: dict, rows: list[dict], measured: dict, outcome: dict) -> None:
    """Write network, log, metrics and configuration of ``new``, as those of ``run`` with what has become of them.

    What ``metrics.json`` tells of the training stays: its course, the answers that changed in it, and the plain
    classifier beside it; ``original`` is the accuracy that belongs to them, and ``steps`` lead from there to ``final``.

    The configuration becomes ``config.json`` when all else is there, see :func:`protomask.run_folder.new_run`.

    Args:
        run: that ``new`` was made of.
        new: its network is the changed one.
        kind: ``"pruned"``, ``"refined"``: the key of ``origin``, and what is said beside the stages of the log.
        origin: what ``config.json`` keeps of how it was made.
        rows: of the log.
        measured: as :func:`protomask.training.rate_answers` gives it; other entries are kept in ``metrics.json``, too.
        outcome: ``test_accuracy`` before and after, ``right_to_wrong``, ``wrong_to_right``; of a pruning all it counts.
    """
    config, metrics = run.files.read("config.json") or {}, run.files.read("metrics.json") or {}
    steps = steps_of(metrics)
    as_made = not words_of(steps, config)
    scores = {
        name: {**_with_original(metrics.get(name) or {}, as_made), "final": measured[measure]}
        for measure in MEASURES
        if measure in measured
        for name in [f"test_{measure}"]
    }
    others = {name: value for name, value in measured.items() if name not in (*MEASURES, "right")}
    others |= {"steps": [*steps, {kind: outcome}], "validation_accuracy": None, **validated(new.network, run.setup)}
    save_network(new.network, new.options.network, new.folder)
    if run.files.has(ABOUT):
        carry_explainer(run.folder, run.network, new.network, new.folder)
    new.files.write("metrics.json", {**metrics, **scores, **others, "seconds": metrics.get("seconds", {})})
    logged = [{**row, "stage": f"{row['stage']}, {kind}"} for row in rows]
    new.files.write("log.jsonl", (run.files.read("log.jsonl") or []) + logged)
    new.files.write(UNFINISHED, marked({**config, "versions": versions()}, kind, origin))


def _with_original(scores: dict, as_made: bool) -> dict:
    """Add what a run's network reached before the first step; of a run that lacks it later on, nobody knows."""
    return {**scores, "original": scores.get("final")} if as_made else scores
