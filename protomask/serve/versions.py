"""A run and those that were made of it by refining: which there are, and how two of them compare."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from protomask.errors import InputError
from protomask.explanations.files import read_pictures
from protomask.explanations.records import PrototypePicture, PrototypeRecord
from protomask.report.encoding import data_uri
from protomask.report.wording import Namer, readable_all
from protomask.run.refined import FOLDER, changed_picture, compared, span
from protomask.run.refining import refined_name
from protomask.run_folder import RunFolder
from protomask.serve.pictures import ratio_of, shown, size_of
from protomask.serve.subjects import drawn
from protomask.statistics import least_images
from protomask.suggested import command

MOST = 200
"""refined runs beside the served one that are looked at"""


class Versions:
    """The served run, those that it was made of, and those made of them, all in one folder.

    Args:
        folder: of the served run.
    """

    def __init__(self, folder: Path) -> None:
        self.folders = [folder.resolve()]
        found = _refined_beside(self.folders[0])
        while new := [each for each in found if each not in self.folders and self._is_kin(each)]:
            self.folders += new
        for origin in [self._origin(each) for each in self.folders]:
            if origin is not None and origin not in self.folders and (origin / "config.json").is_file():
                self.folders.append(origin)

    def _is_kin(self, folder: Path) -> bool:
        return self._origin(folder) in self.folders or folder in map(self._origin, self.folders)

    def _origin(self, folder: Path) -> Path | None:
        told = _told(folder)
        return None if told is None else _origin_beside(folder, Path(str(told.get("from", ""))))

    def add(self, folder: Path) -> None:
        """Take a run that was just made."""
        self.folders.append(folder.resolve())

    def folder(self, number: int) -> Path:
        """Give the folder of a version.

        Raises:
            InputError: there is none of this number.
        """
        if not 0 <= number < len(self.folders):
            raise InputError(f"there is no version {number}")
        return self.folders[number]

    def number(self, folder: Path) -> int:
        return self.folders.index(folder.resolve())

    def in_words(self) -> list[dict]:
        """Name every version, for the page."""
        return [
            {
                "version": number,
                "name": folder.name,
                "accuracy": _accuracy(folder),
                "findings": _findings(folder),
                "made_from": self.folders.index(origin) if (origin := self._origin(folder)) in self.folders else None,
            }
            for number, folder in enumerate(self.folders)
        ]

    def comparison(self, number: int) -> dict:
        """Compare a version with what it was made of.

        Raises:
            InputError: it was made of none that is here, or that one was made anew since; files are missing or damaged.
        """
        folder = self.folder(number)
        origin = self._origin(folder)
        if origin not in self.folders:
            raise InputError(f"{folder.name} was not made by refining a run that is here")
        files = RunFolder.open(folder)
        told = files.read("refined.json", command("refine", origin))
        before, after = read_pictures(RunFolder.open(origin)), read_pictures(files)
        _check_origin(folder, origin, told, [each.record for each in before], [each.record for each in after])
        names = readable_all(each.record.class_name for each in [*before, *after])
        low, high = span(compared(told)) or (None, None)
        return {
            "version": number,
            "before": {"name": origin.name, "version": self.folders.index(origin)},
            "after": {"name": folder.name, "version": number},
            "verdict": verdict(told),
            "images": told["test_images"],
            "findings": _findings(folder),
            "accuracy": told["test_accuracy"],
            "difference": {"mean": told["difference"]["mean"], "low": low, "high": high},
            "outside": told.get("outside"),
            "became_wrong": told["right_to_wrong"],
            "became_right": told["wrong_to_right"],
            "answers_changed": told.get("answers_changed", len(told["changed"])),
            "changed": [_changed(files, place, each, names) for place, each in enumerate(told["changed"])],
            "pairs": [
                {
                    "why": pair.get("why", ""),
                    "before": _part(before, pair["before"], names),
                    "after": [_part(after, each, names) for each in pair["after"]],
                }
                for pair in told.get("pairs", [])
            ],
        }


def verdict(told: dict) -> str:
    """Say in a sentence what the comparison of ``refined.json`` can tell of the accuracy, as the report judges it.

    >>> counts = {"right_to_wrong": 1, "wrong_to_right": 2, "answers_changed": 3, "changed": []}
    >>> verdict({"test_images": 90, "test_accuracy": {"before": 0.8}, **counts})
    'As accurate as before, as far as 90 test pictures can tell.'
    """
    count = told["test_images"]
    if not told.get("answers_changed", len(told["changed"])):
        return f"None of the {count} test pictures is answered differently."
    sign = compared(told).sign
    if count < least_images():
        return f"{count} test pictures are too few to tell whether it is more accurate."
    if sign:
        return f"{'More' if sign > 0 else 'Less'} accurate than before, on {count} test pictures."
    return f"As accurate as before, as far as {count} test pictures can tell."


def _check_origin(
    folder: Path, origin: Path, told: dict, before: Sequence[PrototypeRecord], after: Sequence[PrototypeRecord]
) -> None:
    """Raise InputError where the run in ``origin`` has other prototypes than when the one in ``folder`` was made of it.

    Those that refining left alone tell: they keep their training images.
    """
    gone = set() if len(after) >= len(before) else set(told["forgotten"])  # else others took their places
    changed = {pair["before"] for pair in told.get("pairs", []) if pair.get("why") != "added"}
    numbers = {old: now for now, old in enumerate(old for old in range(len(before)) if old not in gone)}
    same = all(
        now < len(after) and (before[old].class_name, before[old].source) == (after[now].class_name, after[now].source)
        for old, now in numbers.items()
        if old not in changed
    )
    if "pairs" in told and not same:
        raise InputError(
            f"{origin.name} was made anew since {folder.name} was made of it, and cannot be compared; refine it again: "
            f"{command('refine', origin)}"
        )


def _changed(files: RunFolder, place: int, each: dict, names: Namer) -> dict:
    was, now = each.get("was_right"), each.get("is_right")
    kind = "right" if now and not was else "wrong" if was and not now else "other"
    path = changed_picture(files / FOLDER, place)
    photo = _small(path.read_bytes()) if path.is_file() else None
    words = {name: _named(each[name], names) for name in ("truth", "before", "after")}
    return {"image": each["image"], **words, "kind": kind, "photo": photo}


def _named(answer: str | list[str], names: Namer) -> str:
    """Name a class as it is shown, or the findings of one image."""
    if isinstance(answer, str):
        return names(answer)
    return ", ".join(map(names, answer)) or "no finding"


def _small(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP",)) as image:
            return data_uri(image.convert("RGB"), 80)
    except (OSError, ValueError):
        return None


def _part(pictures: Iterable[PrototypePicture], number: int, names: Namer) -> dict[str, Any]:
    found = next((each for each in pictures if each.record.prototype == number), None)
    if found is None:
        raise InputError(f"there is no prototype {number} to compare; make the comparison again")
    image, maps = found.image, found.maps  # read from the disk each time that they are asked for
    name = next(iter(maps))
    return {
        "prototype": number,
        "class": names(found.record.class_name),
        "source": found.record.source,
        "photo": shown(image),
        "ratio": ratio_of(image),
        "mask": drawn(maps[name], size_of(image), found.record.levels.get(name), found.nothing_to_keep),
    }


def _refined_beside(folder: Path) -> list[Path]:
    try:
        beside = sorted(each for each in folder.parent.iterdir() if each.is_dir() and not each.is_symlink())
    except OSError:
        return []
    return [each for each in beside if (each / "refined.json").is_file()][:MOST]


def _origin_beside(folder: Path, told: Path) -> Path | None:
    """Find the run that the one in ``folder`` was made of.

    Args:
        told: how that was named; of a run that was moved its last name alone holds. Older files also tell a link, or
            ``.``: where that leads now counts only where the run is called as what is refined from there.
    """
    found = folder.parent / told.name
    if told.name not in ("", "..") and found.is_dir() and not found.is_symlink():
        return found
    for each in (found, told):
        try:
            led = each.resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
            continue
        near = led.parent == folder.parent or led == folder.parent
        if led != folder and near and refined_name(led) == refined_name(folder):
            return led
    return None


def _told(folder: Path) -> dict | None:
    try:
        return RunFolder(folder).read("refined.json")
    except InputError:
        return None


def _accuracy(folder: Path) -> float | None:
    try:
        return ((RunFolder(folder).read("metrics.json") or {}).get("test_accuracy") or {}).get("final")
    except InputError:
        return None


def _findings(folder: Path) -> bool:
    """Tell whether an image may have several findings, or none: accuracies are shares of other things then."""
    try:
        return bool((RunFolder(folder).read("config.json") or {}).get("data", {}).get("multi_label"))
    except InputError:
        return False
