"""The file of weights that a run starts with: known again by its content, wherever it has moved."""

from __future__ import annotations

from pathlib import Path

from protomask.errors import InputError
from protomask.files import content_digest
from protomask.options import Options
from protomask.run_folder import RunFolder


def weights_digest(path: str) -> str:
    """Digest a file of weights."""
    return content_digest(path).hex()


def require_same_weights(files: RunFolder, path: str) -> None:
    """Check a file of weights by which a run shall go on.

    Raises:
        InputError: it is not there, or not the one that the run was started with.
    """
    if not Path(path).is_file():
        raise InputError(
            f"weights {path}: no such file, and the training in {files.folder} starts from it; put it there again, or "
            "give its new place by weights="
        )
    known = (files.read("config.json").get("data") or {}).get("weights")
    if known is not None and known != weights_digest(path):
        raise InputError(
            f"weights {path} is not the file that {files.folder} was started with; give that one by weights=, or start "
            "a new run with another output="
        )


def may_have_moved(files: RunFolder, own: Options, path: str) -> bool:
    """Tell whether ``path`` can be the run's own file of weights at another place.

    Raises:
        InputError: as :func:`require_same_weights`.
    """
    if not own.weights:
        return False
    known = (files.read("config.json").get("data") or {}).get("weights")
    if known is None and Path(own.weights).exists():  # a run of before knows its file by its place alone
        return False
    require_same_weights(files, path)
    return True
