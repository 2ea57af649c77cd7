"""Whatever a training would refuse, found before it: options, folder, data, weights, network, localizers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from protomask.data.checking import Checked, check_data
from protomask.errors import InputError
from protomask.networks import ask_network
from protomask.options import Options
from protomask.prototype_network import PrototypeNetwork
from protomask.run.setup import check_fit, choose_device, complete, data_options, pictures_localizers, plan_of
from protomask.run.start import absolute_paths, starting_folder
from protomask.run.trial import try_batch, try_channels, try_layers
from protomask.run_folder import RunFolder, remove_unused
from protomask.training.loading import check_descriptors

T = TypeVar("T")
_STAND_INS = ("one class", "another class")
"""a network can be tried, too, where the data cannot be opened"""


def check_training(
    options: Options, output: str | None = None, *, threads: int | None = None, progress: bool = False
) -> Checked:
    """Find everything that a training with these options would refuse; nothing is trained and nothing stays behind.

    What :func:`protomask.train` says is among the problems, in the same words, wherever it does not train to its end.

    Args:
        options: of the training.
        output: the run's folder, where it is already known; a new run is meant.
        threads: that decode; all processors by default.
        progress: show a bar.

    Raises:
        InputError: an unknown data set.
    """
    found: list[str] = []

    def attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except InputError as error:
            found.append(" ".join(str(error).split()))
            return None

    if output is not None:
        attempt(lambda: _check_output(options, output))
    options = absolute_paths(options)
    localizers = attempt(lambda: pictures_localizers(options.localizer))
    whole = attempt(lambda: complete(options))
    device = attempt(lambda: choose_device(options.device))
    if whole is not None:
        attempt(lambda: check_descriptors(whole.workers or 0))
    data = check_data(
        options.data,
        options.root,
        crop=options.crop,
        validation=options.validation,
        image_size=whole.image_size if whole is not None else None,
        others=attempt(lambda: data_options(options)),
        workers=threads,
        progress=progress,
    )
    if whole is not None and device is not None:
        classes = data.splits.train.classes if data.splits is not None else ()
        multi_label = data.splits is not None and data.splits.train.multi_label
        if len(classes) < 2 - multi_label:
            classes = _STAND_INS
        network = attempt(lambda: ask_network(whole.network, "build", PrototypeNetwork, whole, classes, multi_label))
        if network is not None:
            attempt(lambda: plan_of(network, whole))
            if data.splits is not None:
                train = data.splits.train
                attempt(lambda: check_fit(network, whole, train))
                smallest = min(whole.batch_size or 1, len(train))
                if smallest:  # without images other lines say what is wrong
                    attempt(lambda: try_batch(network, smallest, device))
            attempt(lambda: try_channels(network, device))
            if localizers is not None:
                attempt(lambda: try_layers(network.to(device), localizers, device))
    return Checked(list(dict.fromkeys([*found, *data.problems])), data.images, data.splits)


def _check_output(options: Options, output: str) -> None:
    """Start in the folder as a training does, and remove what that made."""
    starting_folder(options, output, resume=False)
    run = RunFolder(output)
    missing = [folder for folder in (run.folder, *run.folder.parents) if not folder.exists()]
    try:
        with run.lock(new=True):
            pass
    finally:
        remove_unused(run.folder)
        for folder in missing:
            with suppress(OSError):
                Path(folder).rmdir()
