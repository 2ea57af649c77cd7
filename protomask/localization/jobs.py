"""Which pictures are to be localised, where their maps go, and which of them are done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from protomask.errors import InputError
from protomask.files import file_name, read_bytes
from protomask.inputs import find_pictures
from protomask.json_files import read_json, write_json
from protomask.own_pictures import CONTACT_SHEET, RECORD, SUMMARY
from protomask.schema import Range, TypedDict, check

TABLE, PAGE = "localize.csv", "localize.html"


@dataclass
class Job:
    """One picture, and the folder of its maps."""

    image: Path
    folder: Path
    stamp: dict = field(default_factory=dict)
    """the image's identity and the settings: what must be equal for its maps to count as done"""

    def write(self, content: dict) -> None:
        """Write the record, last: a picture with a record is done."""
        names = [one[kind] for row in content["classes"] for one in row["maps"].values() for kind in ("map", "overlay")]
        files = {name: _digest(self.folder / name) for name in names}
        before = (_record(self.folder) or {"files": {}})["files"]
        for name in before.keys() - files.keys():
            path = self.folder / name
            # What was made with other settings, and is still as it was made, is nobody else's.
            if Path(name).name == name and not path.is_symlink() and _digest(path) == before[name]:
                path.unlink(missing_ok=True)
        write_json(self.folder / RECORD, {**self.stamp, **content, "files": files})

    def read(self) -> dict:
        """Give the record, with the files' paths below the output folder.

        Raises:
            InputError: it is gone, or that of another picture or of other settings by now.
        """
        content = _record(self.folder)
        if content is None or not self._is_of(content):
            raise InputError(
                f"{self.folder / RECORD} is {'gone' if content is None else 'of something else'}, though "
                f"{self.image} was localised there: another command writes there; give another output="
            )
        return {
            "image": str(self.image),
            "folder": self.folder.name,
            **{key: content[key] for key in ("width", "height", "classes")},
        }

    @property
    def done(self) -> bool:
        content = _record(self.folder)
        return (
            content is not None
            and self._is_of(content)
            and all(_digest(self.folder / name) == digest for name, digest in content["files"].items())
        )

    def _is_of(self, content: dict) -> bool:
        """Whether a record is of this picture, as it is, and these settings."""
        return all(content.get(key) == value for key, value in self.stamp.items())


def plan(words: Sequence[str], output: Path, settings: dict) -> tuple[list[Job], list[Job]]:
    """Give the pictures to localise, and those that are done with the same settings.

    Args:
        words: files, and folders of pictures (searched through and through).
        output: each picture gets a folder of its own name in it, with a number where another picture has that name.
        settings: what decides the maps; JSON.

    Raises:
        InputError: a file or folder is missing, or a folder has no pictures.
    """
    todo: list[Job] = []
    done: list[Job] = []
    taken = {output / name for name in (SUMMARY, TABLE, PAGE, CONTACT_SHEET)}
    settings = json.loads(json.dumps(settings))
    images = find_images(words, output)
    homes = {image.resolve().parent for image in images}  # photographs there are no maps of ours
    for image in images:
        state = image.stat()
        stamp = {
            "image": str(image.resolve()),
            "bytes": state.st_size,
            "modified": state.st_mtime_ns,
            "settings": settings,
        }
        stem = file_name(image.stem)
        number, folder = 1, output / stem
        while (
            folder in taken
            or folder.resolve() in homes
            or _is_other(folder)
            or (_record(folder) or stamp)["image"] != stamp["image"]
        ):
            number += 1
            folder = output / f"{stem}-{number}"
        taken.add(folder)
        job = Job(image, folder, stamp)
        (done if job.done else todo).append(job)
    return todo, done


def remove_overview(output: Path) -> None:
    """Remove what lists all pictures of an earlier call; its record last, by which the rest is known as ours."""
    if (output / SUMMARY).is_file():
        for name in (TABLE, PAGE, CONTACT_SHEET, SUMMARY):
            (output / name).unlink(missing_ok=True)


def find_images(words: Sequence[str], output: Path) -> list[Path]:
    """Find files as they are named, pictures of folders sorted; each once. What protomask wrote there is left out."""
    found: dict[Path, Path] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = find_pictures(path, output)
        elif path.is_file():
            inside = [path]
        else:
            raise InputError(f"{path}: no such picture or folder")
        for each in inside:
            found.setdefault(each.resolve(), each)
    return list(found.values())


def _is_other(folder: Path) -> bool:
    """Whether something else than a folder of our own stands there, such as a link to elsewhere."""
    return folder.is_symlink() or (folder.exists() and not folder.is_dir())


class _Map(TypedDict):
    map: str
    overlay: str
    box: tuple[int, int, int, int] | None


class _Row(TypedDict):
    index: int
    probability: Annotated[float, Range(0, 1)]
    maps: dict[str, _Map]


class _Record(TypedDict):
    image: str
    settings: dict[str, Any]
    width: int
    height: int
    classes: list[_Row]
    files: dict[str, str]


def _record(folder: Path) -> dict | None:
    """Read what is written in a picture's folder; None where nothing readable is."""
    try:
        content = read_json(folder / RECORD)
        check(content, _Record)
    except (InputError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _digest(path: Path) -> str | None:
    try:
        return hashlib.blake2b(read_bytes(path), digest_size=8).hexdigest()
    except InputError:
        return None
