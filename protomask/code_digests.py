"""The source code that objects are made of, in a few digits."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType

from protomask.files import text_digest

OWN = ("protomask", "protopnet", "xprotonet")
LIBRARIES = ("torch", "torchvision", "timm", "transformers")
"""whose code stays as long as their version does"""


def top_of(kind: object) -> str:
    """Name the top package of a class or function."""
    return str(getattr(kind, "__module__", None) or "").partition(".")[0]


def is_foreign(kind: object) -> bool:
    """Tell whether a class is somebody's own: neither of this package nor of Python or a library of layers."""
    return top_of(kind) not in (*OWN, *LIBRARIES, "numpy", *sys.stdlib_module_names) or top_of(kind) == "__main__"


def code_of_kind(kind: type | FunctionType) -> str | None:
    """Digest the code of a class, and of those that it inherits from, or of a function; None where it cannot be read.

    Of this package that is the room that each lies in; of somebody else's all files of the package, since a class may
    call what lies in another one; of a module in no package, or in none with code of its own, its own file.
    """
    found = []
    for each in inspect.getmro(kind) if isinstance(kind, type) else [kind]:
        if top_of(each) == "protomask":
            code = code_digest(sys.modules[".".join(each.__module__.split(".")[:2])])
        elif each is kind or is_foreign(each):
            foreign = _code_of_module(each.__module__)
            if foreign is None:
                return None
            code = foreign
        else:
            continue
        if code not in found:
            found.append(code)
    return found[0] if len(found) == 1 else digest_of(found)


def code_digest(room: ModuleType, beside: Iterable[Path] = ()) -> str:
    """Digest a package's source files, or a module's, and others beside them; compiled ones where no sources are
    installed."""
    path = Path(str(room.__file__))
    package = hasattr(room, "__path__")
    own = (sorted(path.parent.rglob("*.py")) or sorted(path.parent.rglob("*.pyc"))) if package else [path]
    found = (each if each.is_file() else each.with_suffix(".pyc") for each in (*own, *beside))
    return digest_of([each.read_text(encoding="utf-8", errors="surrogateescape") for each in found if each.is_file()])


def digest_of(texts: Iterable[str]) -> str:
    """Digest several texts."""
    return text_digest("\0".join(texts))


def _code_of_module(name: str) -> str | None:
    """Digest the outermost package that the module lies in and that has code itself, else the module's own file.

    A folder that holds nothing but packages, as ``src`` may, need be none.
    """
    try:
        steps = name.split(".")
        for end in range(1, len(steps) + 1):
            folders = getattr(sys.modules.get(".".join(steps[:end])), "__path__", ())
            found = {path: said for folder in folders for path, said in _python_files(Path(folder))}
            if found:
                own = getattr(sys.modules.get(name), "__file__", None)
                # Below a folder without code nothing was found, though the module may lie there.
                beside = [] if own is None or Path(own) in found else [inspect.getsource(sys.modules[name])]
                return digest_of([*found.values(), *beside])
        return digest_of([inspect.getsource(sys.modules[name])])
    except (OSError, TypeError, KeyError, ValueError, AttributeError):  # some functions are of no module at all
        return None


def _python_files(package: Path) -> Iterator[tuple[Path, str]]:
    """Give each file of code, and its place with its digest, in packages within each other.

    Folders of data beside them are left out.
    """
    for folder, below, names in os.walk(package):
        files = sorted(name for name in names if name.endswith(".py"))
        below[:] = sorted(name for name in below if files and not name.startswith((".", "__")))
        for name in files:
            path = Path(folder, name)
            state = path.stat()
            digest = _digest_of_file(path, state.st_mtime_ns, state.st_size)
            yield path, f"{path.relative_to(package).as_posix()} {digest}"


@lru_cache(maxsize=10_000)
def _digest_of_file(path: Path, modified: int, size: int) -> str:
    return text_digest(path.read_text(encoding="utf-8", errors="surrogateescape"))
