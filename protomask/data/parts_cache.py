"""Renders the scenes of a ``parts`` split once, and keeps them on disk."""

import multiprocessing
import os
import sys
import tempfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from protomask.data.parts_render import Rendering, render
from protomask.data.parts_scene import Scene, class_table, draw_scene
from protomask.interruption import end_with_parent, leave_signals_to_parent

PARALLEL_FROM = 500  # scenes; fewer are rendered before a pool of processes would have started


@dataclass(frozen=True)
class Request:
    """The scenes of one stream: numbers ``0..per_class - 1`` of each class, class after class."""

    stream: str
    classes: int
    per_class: int
    size: int
    seed: int

    def __len__(self) -> int:
        return self.classes * self.per_class

    def scene(self, index: int) -> Scene:
        """Give the description of scene ``index``, 0..len - 1."""
        label, number = divmod(index, self.per_class)
        return draw_scene(class_table(self.classes)[label], self.seed, self.stream, label, number)

    def render(self, index: int) -> Rendering:
        return render(self.scene(index), self.size)

    @property
    def file_name(self) -> str:
        return f"parts-{self.stream}-c{self.classes}-n{self.per_class}-p{self.size}-s{self.seed}.npz"


def user_cache() -> Path | None:
    """Tell where this user's programs keep what they can make again; None where that cannot be told."""
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    if os.environ.get(variable):
        return Path(os.environ[variable]) / "protomask"
    try:
        return Path.home() / ".cache" / "protomask"
    except RuntimeError:
        return None


def render_scenes(request: Request, folder: Path | None, progress: bool = False) -> Rendering:
    """Render all scenes of a request, stacked: each field of :class:`Rendering` with a leading axis N.

    Taken from the cache file in ``folder`` if that holds just these scenes; otherwise rendered and, where the folder
    can be written, put there. A damaged, outdated or foreign file is replaced.

    Args:
        folder: of the cache; None keeps nothing on disk.
        progress: shows a bar while rendering.
    """
    if folder is None:
        return _render_all(request, progress)
    path = folder / request.file_name
    found = _load(path, request)
    if found is not None:
        return found
    stacked = _render_all(request, progress)
    _save(path, stacked)
    return stacked


def _render_all(request: Request, progress: bool) -> Rendering:
    # On Linux, where processes can be forked, all cores take part; elsewhere new ones would run the user's script anew.
    workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    allowed = multiprocessing.get_start_method(allow_none=True) in (None, "fork")
    parallel = (
        len(request) >= PARALLEL_FROM and workers > 1 and allowed and not multiprocessing.current_process().daemon
    )
    fork = multiprocessing.get_context("fork") if parallel else None
    pool = ProcessPoolExecutor(workers, fork, initializer=_begin) if parallel else None
    stacked = Rendering(*(np.empty((len(request), *field.shape), field.dtype) for field in request.render(0)))
    with pool or nullcontext():
        indices = range(len(request))
        renderings = pool.map(request.render, indices, chunksize=16) if pool else map(request.render, indices)
        bar = tqdm(renderings, f"rendering parts/{request.stream}", len(request), unit=" scenes", disable=not progress)
        for index, rendering in enumerate(bar):
            for whole, field in zip(stacked, rendering):
                whole[index] = field
    return stacked


def _begin() -> None:
    """Prepare a rendering process: it must not outlive the one that it renders for."""
    leave_signals_to_parent()
    end_with_parent()


def _load(path: Path, request: Request) -> Rendering | None:
    """Read what the file holds; None unless it is whole, and its first and last scenes as they would be today."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Rendering(*(stored[field] for field in Rendering._fields))
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile):
        return None
    for index in (0, len(request) - 1):
        for whole, field in zip(found, request.render(index)):
            same_kind = whole.dtype == field.dtype and whole.shape == (len(request), *field.shape)
            if not same_kind or not np.array_equal(whole[index], field):
                return None
    return found


def _save(path: Path, stacked: Rendering) -> None:
    """Write beside the file and rename, so that nobody reads half of it; where that fails, only the cache is lost."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=".tmp", delete=False) as stream:
            temporary = Path(stream.name)
            np.savez(stream, **stacked._asdict())
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    except BaseException:  # an interruption leaves no litter either
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise
