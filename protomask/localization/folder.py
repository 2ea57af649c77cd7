"""Localise a plain classifier's classes in folders of pictures, into a folder of maps and overlays that can be
resumed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from protomask import distributed
from protomask.backbones.classifier import BuiltClassifier, build_classifier
from protomask.data.decoding import decode
from protomask.data.depth import check_range
from protomask.data.transforms import evaluation_transform
from protomask.devices import choose_device
from protomask.errors import NOTHING_TO_KEEP, InputError
from protomask.explainable import Classifier
from protomask.files import file_name, read_text, write_atomically
from protomask.freezing import frozen
from protomask.given import as_path
from protomask.importing.numbered import names_of_json, without_numbers
from protomask.inputs import as_batch
from protomask.labels import most_likely
from protomask.localization.class_names import named_class
from protomask.localization.empty_image import nothing_to_keep
from protomask.localization.jobs import PAGE, Job, plan, remove_overview
from protomask.localization.overview import caption, write_overview
from protomask.localization.result import NO_EVIDENCE
from protomask.localizers import Localizer, get_localizers
from protomask.localizers.calling import checked_maps
from protomask.localizers.identity import identity_of
from protomask.own_pictures import SUMMARY
from protomask.report.class_overlay import outlined_box, overlay_png
from protomask.report.wording import chance, count
from protomask.run.setup import say
from protomask.run_folder import alone_in
from protomask.warned import named_maps

SIDE = 1024
"""longest side of an overlay in pixels"""


@dataclass(frozen=True)
class LocalizeOptions:
    """What to localise, and how."""

    images: Sequence[str]
    model: str
    weights: str | None = None
    pretrained: bool = False
    image_size: int | None = None
    intensity_range: tuple[float, float] | None = None
    index: str | None = None
    top: int = 1
    labels: str | None = None
    localizer: str = "mdm"
    score: str = "log-probability"
    multi_label: bool = False
    output: str = "localized"
    batch_size: int = 8
    device: str = "auto"


def localize_command(options: LocalizeOptions, progress: bool = True) -> int:
    """Write a map (``.npy``) and an overlay (``.png``) per picture, class and localizer, and what lists them all.

    These are ``localize.json``, ``localize.csv``, ``localize.html`` and ``contact-sheet.png``. Of several processes
    each does its share of the pictures, and the first writes what lists them.
    """
    for name in ("top", "batch_size"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} is {getattr(options, name)}; give at least 1")
    if options.index is not None and options.top > 1:
        raise InputError(
            f"index {options.index!r} and top {options.top} are both given; give one of them: the classes, or how many "
            "of the most probable ones"
        )
    localizers = get_localizers(options.localizer)
    labels = read_labels(options.labels)
    device, output = choose_device(options.device), as_path(options.output, "output")
    with alone_in(output), distributed.job(device) as own:
        # One process looks what is done, before another one writes anything.
        planned = distributed.only_first(lambda: plan(options.images, output, _settings(options, localizers)))
        jobs, done = distributed.from_first(planned or ([], []))
        if jobs:
            _localize(options, labels, localizers, jobs, own, progress and distributed.is_first())
        distributed.barrier()
        distributed.only_first(lambda: _sum_up(output, [*jobs, *done], len(done)))
    return 0


def _localize(
    options: LocalizeOptions,
    labels: list[str] | None,
    localizers: dict[str, Localizer],
    jobs: Sequence[Job],
    device: torch.device,
    progress: bool,
) -> None:
    """Localise this process's share of the pictures; each process says what it found."""
    built = build_classifier(
        options.model, pretrained=options.pretrained, weights=options.weights, image_size=options.image_size, seed=0
    )
    if options.weights is None and not options.pretrained:
        say("note: the model has random weights; give --weights or --pretrained")
    work = _Work(options, built, labels, localizers, _indices(options.index, labels, built.classes), device)
    # From here on it would tell of maps that are no more, should this end early.
    distributed.only_first(lambda: remove_overview(Path(options.output)))
    mine = distributed.shard(len(jobs), options.batch_size)
    with tqdm(total=len(mine), desc="pictures", unit="picture", disable=not progress) as bar:
        for start in range(mine.start, mine.stop, options.batch_size):
            some = jobs[start : min(start + options.batch_size, mine.stop)]
            for line in work.localize(some):
                tqdm.write(line) if progress else print(line, flush=True)
            bar.update(len(some))


def _sum_up(output: Path, jobs: Sequence[Job], already: int) -> None:
    """Write what lists all pictures, and say where."""
    everything = [job.read() for job in jobs]
    target = output / SUMMARY
    write_atomically(
        target, lambda path: path.write_text(json.dumps(everything, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    )
    write_overview(output, everything)
    words = f" ({already} of them {'was' if already == 1 else 'were'} there already)" if already else ""
    say(f"protomask: {count(len(everything), 'picture')}{words} in {target}; at one glance: {target.with_name(PAGE)}")


def read_labels(path: str | None) -> list[str] | None:
    """Read one name per line, the first that of class 0, or with the class's number in front; or names in JSON.

    Raises:
        InputError: unreadable or empty, a line without a name, or numbers that are not those of the classes.
    """
    if path is None:
        return None
    try:
        text = read_text(path, mend="give a file with one class name per line")
    except InputError as error:
        raise InputError(f"labels {error}") from None
    listed = names_of_json(text, f"labels {path}")
    if listed is not None:
        return listed
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"labels {path} holds no names; give one class name per line, in the order of the classes")
    if "" in names:
        raise InputError(f"labels {path}:{names.index('') + 1}: an empty line; give one class name per line")
    return without_numbers(names, f"labels {path}")


def _indices(words: str | None, labels: list[str] | None, classes: int) -> list[int] | None:
    """Read the classes of ``index``: numbers, or names of the labels, separated by commas."""
    if labels is not None and len(labels) != classes:
        raise InputError(f"labels names {len(labels)} classes, but the model has {classes}; give one line per class")
    if words is None:
        return None
    known = dict(enumerate(labels or ()))
    # A name may hold a comma itself.
    whole = named_class(words, known) is not None
    parts = [words.strip()] if whole else [part.strip() for part in words.split(",") if part.strip()]
    found = []
    for part in parts:
        named = named_class(part, known)
        number = int(part) if part.isdecimal() and len(part) < 20 and int(part) < classes else None
        if named is not None and number is not None and named != number:
            raise InputError(
                f"index {part!r} is the name of class {named} and the number of class {number}, {known[number]!r}; "
                "leave out labels= to choose by number, or give names that are no numbers"
            )
        if named is not None:
            found.append(named)
        elif number is not None:
            found.append(number)
        else:
            names = ", or a name in labels" if labels else "; names need labels"
            raise InputError(f"index {part!r} is no class of the model; give a number from 0 to {classes - 1}{names}")
    if not found:
        raise InputError("index names no class; give a number, or leave it out for the most probable class")
    return list(dict.fromkeys(found))


def _settings(options: LocalizeOptions, localizers: dict[str, Localizer]) -> dict:
    """Collect what decides a map: where it differs, pictures are localised again."""
    kept = {
        name: value
        for name, value in asdict(options).items()
        if name not in ("images", "localizer", "output", "batch_size", "device")
    }
    for name in ("weights", "labels"):
        path = kept[name] and Path(kept[name])
        if path and path.is_file():
            kept[name] = [str(path), path.stat().st_size, path.stat().st_mtime_ns]
    # What nobody can tell from others is made again by each call.
    told = {name: identity_of(localizer) or [secrets.token_hex(8)] for name, localizer in localizers.items()}
    return {**kept, "localizers": told}


class _Work:
    """A classifier and what it is asked."""

    def __init__(
        self,
        options: LocalizeOptions,
        built: BuiltClassifier,
        labels: list[str] | None,
        localizers: dict[str, Localizer],
        indices: list[int] | None,
        device: torch.device,
    ) -> None:
        built.model.to(device).to(memory_format=torch.channels_last)
        self.explained = Classifier(
            built.model, options.score, multi_label=options.multi_label, mean=built.mean, std=built.std
        )
        self.transform = evaluation_transform(built.image_size, built.mean, built.std)
        self.multi_label, self.top, self.classes = options.multi_label, min(options.top, built.classes), built.classes
        self.intensity_range = check_range(options.intensity_range)
        self.labels, self.localizers, self.indices, self.device = labels, localizers, indices, device

    def localize(self, jobs: Sequence[Job]) -> Iterator[str]:
        """Write the maps of some pictures; yield what there is to say of each class."""
        pictures = [decode(job.image, intensity_range=self.intensity_range)[0] for job in jobs]
        images = torch.cat([as_batch(pixels, self.transform) for pixels in pictures]).to(self.device)
        with torch.no_grad(), frozen(self.explained):
            probabilities = self.explained.first_probabilities(images.contiguous(memory_format=torch.channels_last))
        for job, row in zip(jobs, probabilities):
            if not row.isfinite().all():
                raise InputError(f"{job.image}: the model answers NaN for it; its weights or the picture overflow")
        chosen = (
            torch.tensor(self.indices, device=self.device).expand(len(jobs), -1)
            if self.indices is not None
            else most_likely(probabilities, self.top)
        )
        each = images.repeat_interleave(chosen.shape[1], 0)
        asked = [(job, number) for job, numbers in zip(jobs, chosen.tolist()) for number in numbers]
        with named_maps(lambda place: f"{asked[place][0].image}, class {asked[place][1]}"):
            maps = {
                name: checked_maps(localizer, self.explained, each, chosen.flatten(), name)
                .cpu()
                .unflatten(0, chosen.shape)
                for name, localizer in self.localizers.items()
            }
        without = nothing_to_keep(self.explained, each, chosen.flatten()).unflatten(0, chosen.shape).tolist()
        for place, (job, pixels) in enumerate(zip(jobs, pictures)):
            rows = []
            for rank, number in enumerate(chosen[place].tolist()):
                found = {name: several[place, rank] for name, several in maps.items()}
                row = {"index": number, "probability": probabilities[place, number].item()}
                row |= {"warning": NOTHING_TO_KEEP} if without[place][rank] else {}
                rows.append(self._write(job, pixels, row, found))
            job.write({"width": pixels.shape[1], "height": pixels.shape[0], "classes": rows})
            for row in rows:
                name = f" {row['name']}" if "name" in row else ""
                careful = f" (careful: {row['warning']})" if "warning" in row else ""
                overlay = job.folder / next(iter(row["maps"].values()))["overlay"]
                found_in = f"{job.image}: class {row['index']}{name}, probability {chance(row['probability'])}"
                yield f"{found_in}: {overlay}{careful}"

    def _write(self, job: Job, pixels: np.ndarray, row: dict, maps: dict[str, Tensor]) -> dict:
        number, outlined = row["index"], "warning" not in row
        row = {**row, "maps": {}}
        if self.labels is not None:
            row["name"] = self.labels[number]
        for name, saliency in maps.items():
            stem = f"{number:0{len(str(self.classes - 1))}d}-{file_name(name)}"
            array = saliency.numpy()
            write_atomically(job.folder / f"{stem}.npy", partial(_save, array))
            words = caption(row) + ("" if outlined else NO_EVIDENCE)
            png = overlay_png(pixels, array, name, longest=SIDE, caption=words, outlined=outlined)
            write_atomically(job.folder / f"{stem}.png", partial(_save_bytes, png))
            row["maps"][name] = {
                "map": f"{stem}.npy",
                "overlay": f"{stem}.png",
                "box": outlined_box(array, pixels.shape[:2]) if outlined else None,
            }
        return row


def _save_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _save(array: np.ndarray, path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, array)
