"""From options to data, network and device: what every command starts with."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from protomask import distributed
from protomask.data import Splits, load_data
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.errors import InputError
from protomask.localizers import Localizer, get_localizers
from protomask.networks import get_network, load_network
from protomask.options import Options
from protomask.prototype_network import PrototypeNetwork
from protomask.run_folder import RunFolder
from protomask.training import TrainingSet

DATA_DEFAULTS = {
    "parts": {"backbone": "test_resnet", "features": 16, "image_size": 96, "epochs": 8, "workers": 1},
    None: {
        "backbone": "resnet18",
        "image_size": 224,
        "workers": max(1, min(8, (os.cpu_count() or 1) - 1)),
        "balance": False,
    },
}


def complete(options: Options) -> Options:
    """The same options with every ``None`` that data set and recipe decide filled in."""
    filled = {
        **get_network(options.network).defaults(options),
        **DATA_DEFAULTS[None],
        **DATA_DEFAULTS.get(options.data, {}),
    }
    return options.replace(**{name: value for name, value in filled.items() if getattr(options, name) is None})


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # the meta device has no numbers
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError: each backend has its own
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--device {name[:80]!r} cannot be used here ({reason}); use cpu") from error
    return device


def open_data(options: Options) -> Splits:
    """The data set. Of several processes the first one opens it before the others, who then find its cache."""

    def load() -> Splits:
        return load_data(
            options.data,
            options.root,
            crop=options.crop,
            validation=options.validation,
            seed=0,
            image_size=options.image_size,
        )

    return distributed.only_first(load) or load()


def training_set(
    options: Options, splits: Splits, network: PrototypeNetwork, device: torch.device, progress: bool
) -> TrainingSet:
    evaluation = evaluation_transform(options.image_size, network.mean, network.std)
    strength = "official" if options.recipe == "official" else "default"
    train = splits.train.with_transform(
        training_transform(options.image_size, network.mean, network.std, strength=strength)
    )
    return TrainingSet(
        train=train if options.repeat == 1 else train.subset(torch.arange(len(train)).repeat(options.repeat)),
        plain=splits.train.with_transform(evaluation),
        validation=splits.validation.with_transform(evaluation),
        device=device,
        batch_size=options.batch_size,
        precision=options.precision,
        workers=options.workers,
        seed=options.seed,
        progress=progress and distributed.is_first(),
        balance=options.balance,
    )


def localizers_for_pictures(words: str) -> dict[str, Localizer]:
    """The localizers named, and the similarity map beside them.

    Raises:
        InputError: an unknown name, or none.
    """
    return {**get_localizers(words), **get_localizers("similarity")}


@dataclass(frozen=True)
class OpenRun:
    """A finished run, ready to be asked."""

    run: RunFolder
    options: Options
    network: PrototypeNetwork
    splits: Splits
    setup: TrainingSet

    @property
    def test(self):
        """Test images through the evaluation transform."""
        return self.splits.test.with_transform(self.setup.plain.transform)


def open_run(
    folder: str | Path, *, device: str | None = None, root: str | None = None, progress: bool = True
) -> OpenRun:
    """A run's network, on its device, and its data.

    Args:
        folder: that ``protomask train`` wrote.
        device, root: in place of the run's own (it may have moved to another machine).

    Raises:
        InputError: half written, damaged, or the data are not those it was trained on.
    """
    run = RunFolder.open(folder)
    options = run.options()
    options = options.replace(
        **{name: value for name, value in {"device": device, "root": root}.items() if value is not None}
    )
    network = load_network(run.folder)
    where = choose_device(options.device)
    network.to(where, memory_format=torch.channels_last)
    splits = open_data(options)
    expected = (run.read("config.json") or {}).get("data", {}).get("fingerprint")
    found = splits.train.fingerprint()
    if expected is not None and expected != found:
        raise InputError(
            f"the data at {options.root or options.data} are not those of {run.folder} (fingerprint {found}, not {expected}); "
            "give the folder it was trained on with --root"
        )
    return OpenRun(run, options, network, splits, training_set(options, splits, network, where, progress))


def say(text: str) -> None:
    """A line for the person at the terminal, once; standard error, so that standard output stays data."""
    if distributed.is_first():
        print(text, file=sys.stderr, flush=True)
