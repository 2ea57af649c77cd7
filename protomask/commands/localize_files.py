"""Which pictures ``protomask localize`` has to do, where their maps go, and which of them are done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protomask.data.folder import SUFFIXES
from protomask.errors import InputError
from protomask.training.checkpoint import write_atomically

RECORD = "record.json"


@dataclass
class Job:
    """One picture, and the folder of its maps."""

    image: Path
    folder: Path
    stamp: dict = field(default_factory=dict)
    """the image's identity and the settings: what must be equal for its maps to count as done"""

    def write(self, content: dict) -> None:
        """Written last: a picture with a record is done."""
        write_atomically(
            self.folder / RECORD,
            lambda path: path.write_text(json.dumps({**self.stamp, **content}, indent=1) + "\n", encoding="utf-8"),
        )

    def read(self) -> dict:
        """The record, with the files' paths below the output folder."""
        content = _record(self.folder) or {}
        return {
            "image": str(self.image),
            "folder": self.folder.name,
            **{key: content[key] for key in ("width", "height", "classes")},
        }

    @property
    def done(self) -> bool:
        content = _record(self.folder) or {}
        return all(content.get(key) == value for key, value in self.stamp.items()) and all(
            (self.folder / one[kind]).is_file()
            for row in content["classes"]
            for one in row["maps"].values()
            for kind in ("map", "overlay")
        )


def plan(words: Sequence[str], output: Path, settings: dict) -> tuple[list[Job], list[Job]]:
    """The pictures to localise, and those that are done with the same settings.

    Args:
        words: files, and folders of pictures (searched through and through).
        output: each picture gets a folder of its own name in it, with a number where another picture has that name.
        settings: what decides the maps; JSON.

    Raises:
        InputError: a file or folder is missing, or a folder has no pictures.
    """
    todo, done, taken = [], [], set()
    settings = json.loads(json.dumps(settings))
    for image in find_images(words, output):
        state = image.stat()
        stamp = {
            "image": str(image.resolve()),
            "bytes": state.st_size,
            "modified": state.st_mtime_ns,
            "settings": settings,
        }
        number, folder = 1, output / image.stem
        while folder in taken or (_record(folder) or stamp)["image"] != stamp["image"]:
            number += 1
            folder = output / f"{image.stem}-{number}"
        taken.add(folder)
        job = Job(image, folder, stamp)
        (done if job.done else todo).append(job)
    return todo, done


def find_images(words: Sequence[str], output: Path) -> list[Path]:
    """Files as they are named, pictures of folders sorted; each once. Overlays that lie in ``output`` are none of
    them."""
    found: dict[Path, Path] = {}
    own = output.resolve()
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(
                each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and not each.name.startswith(".")
            )
            inside = [each for each in inside if own not in each.resolve().parents]
            if not inside:
                raise InputError(
                    f"{path} holds no pictures ({', '.join(SUFFIXES)}); give files, or a folder that has some"
                )
        elif path.is_file():
            inside = [path]
        else:
            raise InputError(f"{path}: no such picture or folder")
        for each in inside:
            found.setdefault(each.resolve(), each)
    return list(found.values())


def _record(folder: Path) -> dict | None:
    """What is written in a picture's folder; None where nothing readable is."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        content
        if isinstance(content, dict) and {"image", "settings", "width", "height", "classes"} <= content.keys()
        else None
    )
