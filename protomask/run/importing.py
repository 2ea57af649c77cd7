"""Import: a run out of a network that somebody else trained."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from protomask.data.contents import split_contents
from protomask.errors import InputError
from protomask.given import as_flag, as_path
from protomask.gradients import with_gradients
from protomask.importing.lists import names_in, read_names, read_owners
from protomask.networks import get_network, save_network
from protomask.options import Options
from protomask.precision import float32_by_default
from protomask.projection import project as move_prototypes
from protomask.prototype_network import PrototypeNetwork
from protomask.run.opened import Run
from protomask.run.setup import IN_MEMORY, choose_device, complete, open_data, say, training_set
from protomask.run.start import absolute_paths, named_options
from protomask.run_folder import RunFolder, new_run, versions
from protomask.suggested import command
from protomask.training import TrainingSet, accuracy


@with_gradients
def import_official(
    file: str | os.PathLike,
    output: str | os.PathLike,
    *,
    data: Any = "cub",
    root: str | os.PathLike | None = None,
    crop: bool | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    classes: str | os.PathLike | Sequence[str] | None = None,
    prototype_classes: str | os.PathLike | Sequence[int] | None = None,
    model_config: str | os.PathLike | None = None,
    project: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Run:
    """Make a run out of a ProtoPNet that others trained.

    Writes ``config.json``, the network and ``metrics.json`` with its accuracy on the test images.

    The source image and place of every prototype are searched in the training images; its vector stays as it is, unless
    ``project`` moves it there.

    Args:
        file: of cfchen-duke/ProtoPNet or CaBRNet.
        output: the run's folder, new.
        data, root, crop: what it was trained on: a name and its folder, or Datasets, as :func:`protomask.train` takes.
        backbone, image_size: told from the file by default.
        classes: names of the network's classes in its order, or a file of them.
        prototype_classes: the class of each prototype, or a file; see
            :func:`protomask.importing.lists.read_owners`.
        model_config: CaBRNet's ``model_arch.yml``; the one beside ``file`` by default.
        project: move every prototype onto its nearest training patch.
        batch_size, workers, device, progress: of the machine.

    Raises:
        InputError: the file, the data, or that they do not belong together.
    """
    file, output = as_path(file, "file"), as_path(output, "output")
    project, progress = as_flag(project, "project"), as_flag(progress, "progress")
    options = absolute_paths(
        named_options(
            data=data if isinstance(data, str) else IN_MEMORY,
            root=root,
            crop=crop,
            image_size=image_size,
            device=device,
            batch_size=batch_size,
            workers=workers,
            validation=0.0,
            similarity="l2-log",
            recipe="official",
        )
    )
    given = None if isinstance(data, str) else data
    with new_run(output, Path(), "", empty=False) as files:
        return _import(
            files,
            file,
            options,
            given,
            backbone=backbone,
            classes=classes,
            prototype_classes=prototype_classes,
            model_config=model_config,
            project=project,
            progress=progress,
        )


def _import(
    run: RunFolder,
    file: Path,
    options: Options,
    given: Any,
    *,
    backbone: str | None,
    classes: str | os.PathLike | Sequence[str] | None,
    prototype_classes: str | os.PathLike | Sequence[int] | None,
    model_config: str | os.PathLike | None,
    project: bool,
    progress: bool,
) -> Run:
    # Read at once, so that a wrong file is known before the data are.
    listed = read_names(Path(classes)) if isinstance(classes, str | os.PathLike) else None
    owners: dict[str, Any] = {} if prototype_classes is None else {"owners": prototype_classes}
    if isinstance(prototype_classes, str | os.PathLike):
        owners = read_owners(Path(prototype_classes))
    if not Path(file).is_file():
        raise InputError(f"{file}: no such file; give a ProtoPNet's .pth or .safetensors file")
    where = choose_device(options.device)
    size = options.image_size or 224  # until the file has said its own
    splits = open_data(options.replace(image_size=size), given)
    kind = get_network(options.network)
    names = classes if listed is None else names_in(listed, splits.train.classes)
    with float32_by_default():
        network, how = kind.import_official(
            Path(file),
            splits.train.classes,
            names=names,
            backbone=backbone,
            image_size=options.image_size,
            **owners,
            model_config=None if model_config is None else Path(model_config),
        )
    chosen = complete(
        options.replace(
            backbone=network.backbone.name,
            image_size=network.image_size,
            prototype_size=network.prototypes.shape[2],
            prototypes_per_class=network.prototypes_per_class,
            prototype_channels=network.prototypes.shape[1],
        )
    )
    if network.image_size != size:
        splits = open_data(chosen, given)
    say(
        f"protomask: {network.prototype_count} prototypes of {len(network.classes)} classes ({how}) on "
        f"{network.backbone.name} at {network.image_size} px"
    )
    network.to(where)
    setup = training_set(chosen, splits, network, where, progress)
    test = splits.test.with_transform(setup.plain.transform)
    kind.check_official(network, test, setup, file)
    begin = time.perf_counter()
    score = accuracy(network, test, setup, "test")
    scores, measured = (
        {"before_projection": score if project else None, "after_projection": None, "final": score},
        time.perf_counter(),
    )
    moved = find_sources(network, setup, keep=not project)
    found = time.perf_counter()
    if project:
        scores["after_projection"] = scores["final"] = accuracy(network, test, setup, "test")
    save_network(network, chosen.network, run.folder)
    run.write("log.jsonl", [{"stage": "projection" if project else "sources", "seconds": found - measured, **moved}])
    run.write(
        "metrics.json",
        {
            "test_accuracy": scores,
            "validation_accuracy": None,
            "black_box_accuracy": None,
            "seconds": {"test": measured - begin, "projection" if project else "sources": found - measured},
        },
    )
    run.write(
        "config.json",
        {
            "options": chosen.to_mapping(),
            "versions": versions(),
            "data": _data(splits),
            "imported": {
                "file": Path(file).name,
                "sha256": _sha256(Path(file)),
                "classes_of_prototypes": how,
                "projected": project,
            },
        },
    )
    say(
        f"protomask: test accuracy {scores['final']:.3f}; squared distance of a prototype to its nearest training "
        f"patch: mean {moved['mean_distance']:.2g}, at most {moved['max_distance']:.2g}"
        + ("" if project else " (vectors unchanged)")
    )
    say(f"protomask: run folder {run.folder}; go on with: {command('project', run.folder)}")
    return Run(run, chosen, network.eval(), where, splits, progress=progress)


def find_sources(network: PrototypeNetwork, setup: TrainingSet, keep: bool) -> dict[str, float]:
    """Search the nearest training patch of every prototype, as a projection does.

    With ``keep`` the vectors stay as they are.
    """
    vectors = network.prototypes.detach().clone()
    found = move_prototypes(network, setup)
    if keep:
        network.prototypes.data.copy_(vectors)
    return found


def _data(splits) -> dict:
    return {
        "fingerprint": splits.train.fingerprint(),
        "contents": split_contents(splits),
        "classes": len(splits.train.classes),
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
