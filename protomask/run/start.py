"""How a run starts, or starts again: its options, its folder, its ``config.json``."""

from __future__ import annotations

import dataclasses
import difflib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protomask.data import Splits
from protomask.data.contents import SPLITS, changed_splits, data_change, split_contents
from protomask.data.folder_files import is_hidden
from protomask.data.folder_splits import find_splits
from protomask.errors import InputError
from protomask.localizers import split_specs
from protomask.options import CompleteOptions, Options
from protomask.run.origins import require_trained
from protomask.run.resuming import CHECKPOINT
from protomask.run.setup import say
from protomask.run.weights_file import may_have_moved, weights_digest
from protomask.run_folder import RUNS, RunFolder, refuse_unfinished, versions
from protomask.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from protomask.run.opened import Run

MACHINE = ("root", "device", "workers", "checkpoint_minutes", "memory")
"""Options that may change when a run is resumed; so may the place of its file of weights"""


def named_options(**given) -> Options:
    """Make options of Python's keywords.

    Raises:
        InputError: there is no such option, or its value is wrong.
    """
    known = [field.name for field in dataclasses.fields(Options)]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise InputError(f"there is no option {name!r}; {mend}")
    for name in ("root", "weights"):
        if isinstance(given.get(name), os.PathLike):
            given[name] = os.fspath(given[name])
    levels = given.get("intensity_range")
    if isinstance(levels, list | tuple):  # as protomask.look and load_data take it
        given["intensity_range"] = ",".join(map(str, levels))
    if isinstance(given.get("localizer"), list | tuple):
        given["localizer"] = ",".join(split_specs(given["localizer"]))
    return Options(**given)


def absolute_paths(options: Options) -> Options:
    """Give the same options with paths that hold in any working folder."""
    paths = {name: getattr(options, name) for name in ("root", "weights")}
    changes = {name: os.path.abspath(os.path.expanduser(path)) for name, path in paths.items() if path}
    kind, _, named = options.data.partition(":")
    folder = os.path.abspath(os.path.expanduser(named))
    if kind == "hf" and named and os.path.isdir(folder):
        changes["data"] = f"{kind}:{folder}"
    return options.replace(**changes)


def starting_folder(
    options: Options, output: str | None, resume: bool, said: Collection[str] = ()
) -> tuple[RunFolder | None, Options]:
    """Give the folder to work in (None: a free one), and the options: a resumed run's own.

    ``said`` names the options that were given; of others a value is taken as given where it is not the default.
    """
    if output is None:
        if resume:
            raise InputError("resume needs the run's folder; give it by output=")
        _require_outside_data(options, RUNS)
        return None, options
    run = RunFolder(output)
    if run.folder.exists() and not run.folder.is_dir():
        raise InputError(f"output={output} is a file; give a folder")
    if run.started:
        if not resume:
            raise InputError(f"{output} holds a run already; go on with it by resume=, or give another output=")
        require_trained(run)
        return run, resumed_options(run, options, said)
    refuse_unfinished(run)
    several = runs_of_seeds(run.folder)
    if several:
        seeds = ",".join(each.folder.name.removeprefix("seed-") for each in several)
        raise InputError(
            f"{output} holds runs of several seeds; go on with them by resume= and seeds={seeds}, or give another "
            "output="
        )
    if resume:
        raise InputError(f"{output} holds no run to resume (no config.json); leave out resume= to start one")
    _require_outside_data(options, run.folder)
    return run, options


def _require_outside_data(options: Options, folder: Path) -> None:
    """Refuse a new run's folder among the folders that are read as classes, where its pictures would be data."""
    if options.data != "folder" or not options.root:
        return
    try:
        target, root = (Path(os.path.realpath(Path(path).expanduser())) for path in (folder, options.root))
        read = find_splits(root)
    except (InputError, OSError, ValueError):
        return  # reading the data says it better
    for part in read.values():
        if target.is_relative_to(part) and not any(map(is_hidden, target.relative_to(part).parts)):
            raise InputError(
                f"the run's folder {folder} would be inside {part}, whose folders are read as classes, so that the "
                "run's own pictures would be learned from; give an output= outside of it"
            )


def runs_of_seeds(folder: Path) -> list[RunFolder]:
    """Find the runs of single seeds that were begun in the folder of them all, by seed."""
    found = {int(path.name[5:]): path for path in folder.glob("seed-*") if path.name[5:].isdecimal()}
    return [run for number in sorted(found) if (run := RunFolder(found[number])).started]


def resumed_options(run: RunFolder, given: Options, said: Collection[str]) -> CompleteOptions:
    """Give the run's own options, with what another machine needs differently.

    ``said`` is as for :func:`starting_folder`.

    Raises:
        InputError: an option was given that would make another run of it.
    """
    own, default, changes = run.options(), Options(), {}
    for field in dataclasses.fields(Options):
        value = getattr(given, field.name)
        given_here = value is not None and (field.name in said or value != getattr(default, field.name))
        if not given_here or value == getattr(own, field.name):
            continue
        moved = field.name == "weights" and may_have_moved(run, own, value)
        if field.name not in MACHINE and not moved:
            raise InputError(
                f"{run.folder} was started with {getattr(own, field.name)!r} for {field.name}=, not {value!r}; "
                "leave the option out to resume it, or start another run with another output="
            )
        changes[field.name] = value
    return own.replace(**changes)


def require_same_training(run: RunFolder, other: RunFolder) -> None:
    """Check that two runs that were begun differ in their seed alone, and in what another machine needs.

    Raises:
        InputError: they differ in more, or one of them cannot be read.
    """
    (own, data), (others, other_data) = (
        (each.options(), each.read("config.json").get("data") or {}) for each in (run, other)
    )
    for field in dataclasses.fields(Options):
        # The same file of weights may lie elsewhere by now: its digest is compared below.
        known = field.name == "weights" and own.weights and others.weights and "weights" in data
        if field.name in ("seed", *MACHINE) or known:
            continue
        if getattr(own, field.name) != getattr(others, field.name):
            raise InputError(
                f"{run.folder} was started with {getattr(own, field.name)!r} for {field.name}=, and {other.folder} "
                f"with {getattr(others, field.name)!r}, so that they are no runs of one training; delete one of them, "
                "or give another output="
            )
    for name in ("fingerprint", "contents", "weights"):
        if name in data and name in other_data and data[name] != other_data[name]:
            # One may have taken images that were mended; the other takes them, too, when it goes on.
            if name == "contents" and _may_become_alike(run, other):
                continue
            what = "from another file of weights" if name == "weights" else "on other data"
            raise InputError(
                f"{other.folder} was started {what} than {run.folder}, so that they are no runs of one training; "
                "delete one of them, or give another output="
            )


def keep_config(
    run: Run,
    resume: bool,
    given_root: str | None,
    marks: Mapping[str, Any] | None = None,
    beside: RunFolder | None = None,
) -> None:
    """Write ``config.json``; of a resumed run check that the data are the same.

    Test images, and validation images, on which nothing was measured yet may have changed (one that could not be read
    was restored or removed): the run takes them as they are now.

    Args:
        marks: those of :data:`protomask.run.origins.MARKS`, of a run that is not trained.
        beside: a run of another seed, whose data those of this one must be.
    """
    files, splits = run.files, run.splits
    begun = files if resume else beside
    if begun is not None:
        changed = data_change(begun.read("config.json").get("data", {}), splits)
        if changed and resume and _may_take(files, splits):
            _take(files, splits, changed)
        elif changed:
            raise InputError(
                f"the data changed since {begun.folder} was started ({changed}); "
                "restore them, or start a new run with another output="
            )
    if resume:
        return
    if files.started:  # by another process, meanwhile
        raise InputError(f"{run.folder} holds a run already; give another output=")
    data = {
        "fingerprint": splits.train.fingerprint(),
        "contents": split_contents(splits),
        "multi_label": splits.train.multi_label,
        "classes": len(splits.train.classes),
        **{name: len(getattr(splits, name)) for name in SPLITS},
    }
    if run.options.weights and os.path.isfile(run.options.weights):
        data["weights"] = weights_digest(run.options.weights)
    if given_root is not None and given_root != run.options.root:
        data["root_as_given"] = given_root
    elif beside is not None and beside.options().root == run.options.root:
        told = beside.read("config.json").get("data", {})
        data |= {key: told[key] for key in ("root_as_given",) if key in told}
    files.write(
        "config.json", {"options": run.options.to_mapping(), "versions": versions(), "data": data, **(marks or {})}
    )


def _may_take(files: RunFolder, splits: Splits) -> bool:
    """Whether the data differ only in images that the training does not learn from, and did not measure on yet."""
    known = files.read("config.json").get("data", {})
    return known.get("fingerprint") == splits.train.fingerprint() and _unmeasured(files).issuperset(
        changed_splits(known, splits)
    )


def _unmeasured(files: RunFolder) -> set[str]:
    """Which of ``validation`` and ``test`` a run measured nothing on; none of them where it is tested."""
    # A kill may have come between the checkpoint and the log.
    saved = load_checkpoint(files / CHECKPOINT) or {}
    rows = [*(files.read("log.jsonl") or []), *saved.get("log", [])]
    if files.has("metrics.json") or any("test_accuracy" in row for row in rows):
        return set()
    # Of two sets of validation images the curve would compare what is not comparable.
    return {"test"} if any("validation_accuracy" in row for row in rows) else {"test", "validation"}


def _may_become_alike(run: RunFolder, other: RunFolder) -> bool:
    """Whether two runs' images differ only where one of the two has not measured yet, and may take the other's."""
    one, two = (each.read("config.json")["data"]["contents"] for each in (run, other))
    differing = {name for name in SPLITS if one.get(name) != two.get(name)}
    return any(differing <= _unmeasured(each) for each in (run, other))


def _take(files: RunFolder, splits: Splits, changed: str) -> None:
    """Write what the data are now into ``config.json``; feature maps that were stored may be of what they were."""
    config = files.read("config.json")
    for folder in (files / CHECKPOINT).parent.glob("features-*"):
        shutil.rmtree(folder, ignore_errors=True)
    sizes = {name: len(getattr(splits, name)) for name in SPLITS}
    files.write("config.json", {**config, "data": {**config["data"], "contents": split_contents(splits), **sizes}})
    say(
        f"the data changed since the run was started ({changed}); it goes on, as nothing was learned from or measured "
        "on the images that changed"
    )
