"""What a run that goes on finds of its training, and the network that it goes on with."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from protomask.data import Splits
from protomask.errors import InputError
from protomask.json_files import write_json
from protomask.networks import ask_network, load_network
from protomask.options import CompleteOptions
from protomask.prototype_network import PrototypeNetwork
from protomask.run.measures import AT_THE_END
from protomask.run.setup import say
from protomask.run.weights_file import require_same_weights
from protomask.run_folder import RunFolder, free_folder
from protomask.tensor_files import load_tensors
from protomask.training.checkpoint import previous
from protomask.training.loggers import FILE as LOGGERS

CHECKPOINT, BLACK_BOX = "checkpoint/state.pt", "checkpoint/black_box.pt"
NETWORK = ("model.json", "model.safetensors")
LOG_AND_RECORDS = ("log.jsonl", "tensorboard", "wandb", LOGGERS)
"""a training's log, and its records beside it, which tell of the same rows; last what tells whether any were begun"""
OF_ONE_NETWORK = (
    "metrics.json",
    "report*.html",
    "evaluation*.*",
    "audit.*",
    "inspection.json",
    "prototypes.json",
    "prototypes",
    "figures",
    "explanations",
    *LOG_AND_RECORDS,
    "review.json",
    "localizer.json",
    "localizer.safetensors",
    *NETWORK,
)
"""what describes the trained network, in a run's folder"""
ASIDE = "earlier"


class Standing(Enum):
    """How far the training in a folder is."""

    NEW = "nothing of it is there"
    BEGUN = "there is a checkpoint"
    TRAINED = "the network is there, and no checkpoint: a run that is done does without"


def standing(files: RunFolder) -> Standing:
    """Tell how far the training in a run's folder is."""
    if has_checkpoint(files / CHECKPOINT):
        return Standing.BEGUN
    if not all(map(files.has, NETWORK)):
        return Standing.NEW
    done = files.has("metrics.json") or any(row["stage"] == AT_THE_END for row in files.read("log.jsonl") or [])
    return Standing.TRAINED if done else Standing.NEW


def has_checkpoint(path: Path) -> bool:
    """Tell whether there is a checkpoint at ``path``, or the one before it."""
    return os.path.lexists(path) or os.path.lexists(previous(path))


def network_to_go_on_with(
    files: RunFolder, found: Standing, options: CompleteOptions, splits: Splits
) -> PrototypeNetwork:
    """Give the trained network, or build one.

    Raises:
        InputError: it cannot be read or built.
    """
    if found is Standing.TRAINED:
        return load_network(files.folder).to(memory_format=torch.channels_last)
    return build(files, options, splits, begun=found is Standing.BEGUN)


def build(files: RunFolder, options: CompleteOptions, splits: Splits, *, begun: bool) -> Any:
    """Build the network of a run.

    Args:
        begun: a checkpoint will give all weights, so that those to begin with are not asked for: their file may be
            gone, and the machine without a network.

    Raises:
        InputError: it cannot be built; the file of weights is not the one that the run was started with.
    """
    if begun:
        rests = bool(options.weights or options.pretrained) if options.freeze_norm is None else options.freeze_norm
        options = options.replace(weights=None, pretrained=False, freeze_norm=rests)
    elif files.started and options.weights:
        require_same_weights(files, options.weights)
    torch.manual_seed(options.seed)
    given = options, splits.train.classes, splits.train.multi_label
    return ask_network(options.network, "build", PrototypeNetwork, *given)


def require_weights_of_black_box(files: RunFolder, options: CompleteOptions) -> None:
    """Check, before a training goes on, the file of weights that the plain classifier after it starts from.

    Raises:
        InputError: it is needed, and not there or another one.
    """
    measured = (files.read("metrics.json") or {}).get("black_box_accuracy") is not None
    if options.weights and options.recipe != "frozen" and not measured and not has_checkpoint(files / BLACK_BOX):
        require_same_weights(files, options.weights)


def put_aside(files: RunFolder, but: str = "") -> None:
    """Move what describes the network that was trained here before into a folder of its own: another one takes its
    place, and nothing may show the one as the other. Where the log moves, new records of it begin in place of the old.

    Args:
        but: what stays; the log's records (TensorBoard ...) stay with it.
    """
    records = files.read(LOGGERS) or {}
    begun = any(each["rows"] for each in records.values()) or files.has("log.jsonl") or not records
    stay = LOG_AND_RECORDS if but == "log.jsonl" else (but, *(() if begun else LOG_AND_RECORDS))
    there = [path for pattern in OF_ONE_NETWORK if pattern not in stay for path in sorted(files.folder.glob(pattern))]
    if not there:
        return
    folder = free_folder(files.folder, ASIDE)
    for path in there:
        if path.name == LOGGERS:
            # Never gone: an interruption here would leave nobody to tell which records there were.
            write_json(folder / LOGGERS, records)
            files.write(LOGGERS, {name: {"rows": 0} for name in records})
        else:
            path.rename(folder / path.name)
    say(f"what an earlier training left here is now in {folder}")


def is_another(files: RunFolder, network: PrototypeNetwork) -> bool:
    """Tell whether the folder holds other weights than the network's; False where they cannot be read."""
    try:
        kept = load_tensors(files / "model.safetensors", "", older=True)
    except InputError:
        return False
    own = network.state_dict()
    return kept.keys() != own.keys() or not all(torch.equal(own[name].cpu(), kept[name]) for name in own)
