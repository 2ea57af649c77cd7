"""What a run answers: lists that say, draw and save themselves."""

from __future__ import annotations

import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protomask.errors import InputError
from protomask.explanations.inspection import FLAGS
from protomask.explanations.records import Explanation, PrototypePicture
from protomask.files import file_name
from protomask.given import as_path
from protomask.json_files import read_json, write_json
from protomask.own_pictures import PANELS
from protomask.run_folder import alone_in
from protomask.schema import TypedDict, check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PATIENCE = 60.0
"""seconds that a ``save`` waits for another one into the same folder, in another thread for example"""


class PanelsFile(TypedDict):
    """Hold ``panels.json``."""

    panels: dict[str, str]
    """the name of a panel, without ending, to its picture, and finding"""


class _Drawn(list):
    """A list whose first figure is what a notebook shows."""

    def figure(self) -> Figure:
        raise NotImplementedError

    def _repr_png_(self) -> bytes | None:
        if not self:
            return None
        file = io.BytesIO()
        self.figure().savefig(file, format="png", dpi=110)
        return file.getvalue()


class Explanations(_Drawn):
    """One :class:`protomask.explanations.records.Explanation` per image, or per image and finding."""

    def text(self) -> str:
        """Give the reasoning in words."""
        return "\n".join(each.text() for each in self)

    def figure(self, number: int = 0) -> Figure:
        """Draw the panel "this looks like that" of explanation ``number``."""
        return panel(self[number])

    def save(self, folder: str | os.PathLike, format: str = "png") -> list[Path]:
        """Write one panel per explanation into ``folder``, named by its image; return the files.

        Raises:
            InputError: the folder cannot be written to, or another process or thread stays at work there for a minute.
        """
        target = as_path(folder, "folder")
        with alone_in(target, patience=_PATIENCE):
            names = NameGiver(target)
            return [save_panel(each, target / f"{names.name(each)}.{format}") for each in self]

    def to_json(self) -> list[dict]:
        """Give numbers and names, without pictures."""
        return [each.to_json() for each in self]

    def table(self) -> str:
        """Give one line per explanation: image, answer, probability, strongest prototype."""
        from protomask.report.wording import chance

        return _aligned(
            ["image", "answer", "probability", "most like"],
            [
                [
                    each.name,
                    each.answer,
                    chance(each.probability),
                    "prototype {0.prototype} ({0.class_name})".format(each.matches[0].prototype.record),
                ]
                for each in self
            ],
        )


class Prototypes(_Drawn):
    """One :class:`protomask.explanations.records.PrototypePicture` per prototype, in order."""

    def text(self) -> str:
        """Tell how many prototypes are flagged, and what to do about it."""
        if any(picture.inspection is None for picture in self):
            return f"{len(self)} prototypes, not inspected"
        inspections = [picture.inspection for picture in self]
        flags = [flag for each in inspections for flag in each.flags]
        placed = sum(bool(each.outside) for each in inspections)
        compared = any(each.discrimination is not None for each in inspections)
        unknown = ""
        if placed < len(self):
            where = f"is known in the source images of {placed} alone" if placed else "is not known"
            unknown += f"; where the object is, which tells background, {where}, or maps are blank"
        if not compared:
            unknown += "; test images of several classes, which tell common ones, there are none"
        if not flags:
            known = {"background": placed, "duplicate": True, "common": compared}
            return f"no {' or '.join(flag for flag in FLAGS if known[flag])} among {len(self)} prototypes{unknown}"
        found = " and ".join(f"{flags.count(flag)} {flag}" for flag in dict.fromkeys(flags))
        return f"{found} of {len(self)} prototypes are flagged; protomask prune removes them{unknown}"

    def figure(self, class_name: str | None = None, localizer: str | None = None) -> Figure:
        """Draw the gallery of a class's prototypes, by default of the first class's.

        Raises:
            InputError: no prototype is of that class.
        """
        from protomask.report import prototype_gallery

        names = list(dict.fromkeys(picture.record.class_name for picture in self))
        chosen = names[0] if class_name is None else class_name
        if chosen not in names:
            raise InputError(f"no prototype is of class {chosen!r}; choose from {', '.join(names)}")
        members = [picture for picture in self if picture.record.class_name == chosen]
        return prototype_gallery(members, localizer or next(iter(self[0].maps)), classes=names)

    def save(self, folder: str | os.PathLike, format: str = "png") -> list[Path]:
        """Write a gallery of each class into ``folder``; return the files.

        Raises:
            InputError: the folder cannot be written to, or another process or thread stays at work there for a minute.
        """
        from protomask.report import save_figure

        target = as_path(folder, "folder")
        names = dict.fromkeys(picture.record.class_name for picture in self)
        with alone_in(target, patience=_PATIENCE):
            return [
                save_figure(self.figure(name), target / f"gallery_{file_name(name)}.{format}", dpi=110)
                for name in names
            ]

    def table(self) -> str:
        """Give one line per prototype: class, source image, similarity to it, weight, flags."""
        return _aligned(
            ["prototype", "class", "source", "similarity", "weight", "flags"],
            [_prototype_row(picture) for picture in self],
        )


@dataclass(frozen=True)
class Report(os.PathLike):
    """The page that was written, and the figures beside it."""

    path: Path
    figures: tuple[Path, ...] = ()

    def __fspath__(self) -> str:
        return str(self.path)

    def text(self) -> str:
        """Tell where the page is, and how large."""
        from protomask.report.paging import written_pages

        pages = len(written_pages(self.path))
        beside = f", and {pages} pages of prototypes beside it" if pages else ""
        return f"report {self.path} ({self.path.stat().st_size / 1e6:.1f} MB){beside}"

    def _repr_html_(self) -> str:
        return f'<a href="{html.escape(str(self.path))}">{html.escape(self.text())}</a>'


def panel(explanation: Explanation) -> Figure:
    """Draw the panel "this looks like that", by the first localizer."""
    from protomask.report import this_looks_like_that

    return this_looks_like_that(explanation, next(iter(explanation.matches[0].maps)))


def save_panel(explanation: Explanation, path: Path) -> Path:
    """Write the panel of one explanation; the ending decides the format."""
    from protomask.report import save_figure

    return save_figure(panel(explanation), path, dpi=120)


class NameGiver:
    """Gives each explanation a file name of its own within a folder that nobody else writes into, without ending.

    It is its image's, with -2, -3, ... where the panel of another image stands there, also of an earlier call:
    ``panels.json`` in the folder says whose each is.

    Raises:
        InputError: ``panels.json`` is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._used = folder / PANELS, set[str]()
        self._there = {path.stem for path in folder.iterdir()}
        self._owners: dict[str, str] = {}
        if self._file.exists():
            content: Any = read_json(self._file, "remove it")
            try:
                check(content, PanelsFile)
            except ValueError as error:
                raise InputError(f"{self._file} is damaged ({error}); remove it") from error
            self._owners = content["panels"]

    def name(self, explanation: Explanation) -> str:
        """Give the name of one explanation, and keep whose it is: a call that is killed then makes no second copies."""
        finding = f"-{file_name(explanation.finding)}" if explanation.finding else ""
        path = Path(explanation.name)
        owner = (os.path.abspath(path) if os.path.exists(path) else explanation.name) + finding
        stem = file_name(path.stem) + finding
        name, number = stem, 1
        while name in self._used or not self._may_have(name, owner):
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        if self._owners.get(name) != owner:
            self._owners[name] = owner
            write_json(self._file, {"panels": self._owners})
        return name

    def _may_have(self, name: str, owner: str) -> bool:
        return self._owners.get(name) == owner if name in self._owners else name not in self._there


def _prototype_row(picture: PrototypePicture) -> list[str]:
    record, found = picture.record, picture.inspection
    flags = ", ".join(found.flags) if found else ""
    return [
        str(record.prototype),
        record.class_name,
        record.source,
        f"{record.similarity:.3f}",
        f"{record.weight:.3f}",
        flags,
    ]


def _aligned(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows])
