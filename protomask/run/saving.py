"""A run out of a network that was trained in a loop of one's own."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from protomask.data import Splits
from protomask.errors import InputError, type_named
from protomask.explainable import own_dtype
from protomask.given import as_flag, as_path
from protomask.gradients import with_gradients
from protomask.networks import save_network
from protomask.prototype_network import PrototypeNetwork
from protomask.rebuilding import hindrance
from protomask.run.importing import find_sources
from protomask.run.measures import MEASURES
from protomask.run.opened import Run
from protomask.run.setup import IN_MEMORY, check_findings, choose_device, complete, open_data, say
from protomask.run.start import absolute_paths, keep_config, named_options
from protomask.run_folder import new_run
from protomask.training import performance

# What a network's settings call them, and what a run's options do.
_SETTINGS = {
    "prototypes_per_class": "prototypes_per_class",
    "channels": "prototype_channels",
    "patch": "prototype_size",
    "similarity": "similarity",
    "evidence": "evidence",
}


@with_gradients
def save_run(
    network: PrototypeNetwork,
    data: Any,
    output: str | os.PathLike,
    *,
    project: bool = False,
    progress: bool = True,
    **options,
) -> Run:
    """Make a run of a network that was trained in a loop of one's own.

    Writes ``config.json``, the network, and ``metrics.json`` with its accuracy on the test images. The source image and
    place of every prototype are searched in the training images; its vector stays as it is, unless ``project`` moves
    it there. The pictures follow with ``run.project()``; then the run explains, evaluates and reports as any other.

    >>> run = protomask.save_run(network, (train_set, test_set), "runs/mine")              # doctest: +SKIP
    >>> run.project(); run.explain("bird.jpg"); run.evaluate("mdm,similarity"); run.report()     # doctest: +SKIP

    Args:
        network: trained; it is moved to the device and set to evaluation mode.
        data: as :func:`protomask.train` takes it: a name and its ``root=``, by which the commands find the images
            again; or Datasets or splits, to be given to :func:`protomask.open_run` again.
        output: the run's folder, new.
        project: move every prototype onto its nearest training patch.
        progress: show progress bars.
        options: of :class:`protomask.options.Options`: ``root``, ``crop``, ``batch_size``, ``localizer``, ...; those of
            the network are the network's own. All training images are used: ``validation`` is 0 unless given.

    Raises:
        InputError: a network without ``registered_as``, with that of another network, in another precision than
            float32, or whose last layer holds what its evidence does not allow; bad options or data, other classes
            than the network's, a folder that holds something already.

    A network that cannot be rebuilt, as with a backbone of one's own, becomes a run that can be used but not opened
    again; a warning says so.
    """
    if not isinstance(network, PrototypeNetwork):
        raise InputError(f"network is {type_named(network)}; give the PrototypeNetwork inside it")
    if (own := own_dtype(network)) not in (None, torch.float32):
        raise InputError(f"network has weights of {own}, and runs are of torch.float32; give network.float()")
    named, project, progress = isinstance(data, str), as_flag(project, "project"), as_flag(progress, "progress")
    if reason := hindrance(network, network.registered_as):
        warnings.warn(f"this run can be used now but not opened again: {reason}", stacklevel=2)
    decided = _own_options(network)
    if twice := sorted(decided.keys() & options.keys()):
        raise InputError(f"{twice[0]} is decided by the network; leave it out")
    asked = named_options(**{"validation": 0.0, **options, **decided, "data": data if named else IN_MEMORY})
    with new_run(as_path(output, "output"), Path(), "", whole=True) as files:
        chosen = complete(absolute_paths(asked))
        device = choose_device(chosen.device)
        splits = open_data(chosen, None if named else data, network.classes)
        _check_same_classes(network, splits)
        run = Run(files, chosen, network.to(device).eval(), device, splits, progress=progress)
        metrics, row = _measure(run, project)
        save_network(network, network.registered_as, files.folder)
        files.write("log.jsonl", [row])
        files.write("metrics.json", metrics)
        made = {"saved": {"class": type(network).__name__, "projected": project}}
        keep_config(run, False, asked.root, made)
    say(f"run folder {run.folder}; its prototypes' pictures are made by project")
    return run


def _own_options(network: PrototypeNetwork) -> dict[str, Any]:
    """Give what the network decides of a run's options."""
    settings = network.settings()
    backbone = settings.get("backbone")
    name = backbone.get("name") if isinstance(backbone, dict) else backbone
    known = {option: settings[name] for name, option in _SETTINGS.items() if name in settings}
    return {"network": network.registered_as, "image_size": network.image_size, "backbone": name or "own", **known}


def _check_same_classes(network: PrototypeNetwork, splits: Splits) -> None:
    found, expected = tuple(splits.train.classes), tuple(network.classes)
    if found != expected:
        raise InputError(f"the data have the classes {_listed(found)}; the network has {_listed(expected)}")
    check_findings(network, splits.train)


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"


def _measure(run: Run, project: bool) -> tuple[dict, dict]:
    """Search the prototypes' sources, or move them there: the content of ``metrics.json``, and a row of the log."""
    begin = time.perf_counter()
    before = performance(run.network, run.test, run.setup)
    measured = time.perf_counter()
    moved = find_sources(run.network, run.setup, keep=not project)
    found = time.perf_counter()
    after = performance(run.network, run.test, run.setup) if project else before
    stage = "projection" if project else "sources"
    metrics: dict[str, Any] = {
        f"test_{name}": {
            "before_projection": before[name] if project else None,
            "after_projection": after[name] if project else None,
            "final": after[name],
        }
        for name in MEASURES
    }
    metrics |= {f"black_box_{name}": None for name in MEASURES}
    metrics |= {"per_class": after["per_class"], "validation_accuracy": None}
    metrics["seconds"] = {"test": measured - begin, stage: found - measured}
    return metrics, {"stage": stage, "seconds": found - measured, **moved}
