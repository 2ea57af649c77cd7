"""What an evaluation has computed already, on disk, so that no map and no value is computed twice."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import protomask
from protomask import distributed
from protomask import metrics as metric_room
from protomask.capabilities import HasJudge
from protomask.code_digests import code_digest, digest_of
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.files import check_regular_file, file_name
from protomask.localizers.identity import identity_of
from protomask.score_fingerprints import code_of_scores, fingerprint_of_scores
from protomask.tensor_files import load_tensors, save_tensors

MEASURING = (
    *(f"evaluation/{name}.py" for name in ("batch", "cases", "catalogue", "maps", "measuring", "variants")),
    *("capabilities.py", "labels.py", "scores.py", "data/geometry.py", "data/parts*.py"),
    "localizers/engine/speed/folding.py",
)
"""the code, beside the room of metrics, that values come from"""


class Store:
    """Keep tensors by name, in a folder of safetensors files; each :meth:`put` writes one, whole or not at all.

    Several processes may write into one folder: a name always stands for the same tensor. A damaged file counts as
    absent. The tensors of one file are in memory at a time.

    Args:
        folder: made when first written to; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._open: tuple[Path | None, Mapping[str, Tensor]] = (None, {})
        for file in sorted(folder.glob("*.safetensors")) if folder is not None and folder.is_dir() else ():
            self._files.update(dict.fromkeys(_names(file), file))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, names: Iterable[str]) -> list[Tensor] | None:
        """Read the tensors of these names; None unless all are there."""
        names = list(names)
        if not all(name in self._files for name in names):
            return None
        try:
            return [self._read(self._files[name])[name] for name in names]
        except _Gone:
            return None

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        if self._folder is None or not tensors:
            return
        path = self._folder / f"{digest_of(sorted(tensors))}.safetensors"
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_tensors(path, content)
        self._files.update(dict.fromkeys(tensors, path))
        self._open = (path, content)

    def _read(self, path: Path) -> Mapping[str, Tensor]:
        if self._open[0] != path:
            try:
                content = load_tensors(path, "delete it")
                if path.stem != digest_of(sorted(content)):
                    raise InputError(f"{path} holds something else than its name says; delete it")
                self._open = (path, content)
            except InputError as error:
                self._files = {name: file for name, file in self._files.items() if file != path}
                raise _Gone from error
        return self._open[1]


def _names(file: Path) -> list[str]:
    """Name the tensors in a file; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        check_regular_file(file)
        with safe_open(file, "pt") as content:
            return list(content.keys())
    except (InputError, SafetensorError, OSError):
        return []


class _Gone(Exception):
    """A file that was there is not, or cannot be read any more."""


class Stores(NamedTuple):
    """What is kept of one localizer and one network."""

    maps: Store
    values: Store
    """what metrics measured on the network itself"""
    judged: Store
    """what metrics measured on its judge"""


def open_stores(cache: Path | None, explained: object, localizers: Mapping[str, object]) -> dict[str, Stores]:
    """Open for each localizer the stores of its maps of a network, and of what metrics measured on them.

    They are found again by the network's weights, settings, attributes and code, by the localizer's repr, by the
    weights, tensors and arrays that it holds, and by the source code of localizers and metrics: whatever could change a
    figure. A metric of somebody's own is told by the names of its values. What cannot be told apart is not kept: a
    localizer without a repr of its own, a localizer, metric or layer without a file of code (as in a notebook) or with
    something in it whose content nobody can tell, an explained object without weights; of the explained object that is
    said. Maps of one network, and what was measured on the network itself, serve all of its judges.
    """
    stores = dict.fromkeys(localizers, Stores(Store(None), Store(None), Store(None)))
    identities = {} if cache is None else {name: identity_of(localizer) for name, localizer in localizers.items()}
    known = {name: identity for name, identity in identities.items() if identity is not None}
    if cache is None or not known:
        return stores
    judged = _told(explained)
    alone = _told(explained.without_judge()) if isinstance(explained, HasJudge) else judged
    if judged is None or alone is None:
        if distributed.is_first():
            _say_unused(cache, explained)
        return stores
    package = Path(str(protomask.__file__)).parent
    beside = [file for each in MEASURING for file in sorted(package.glob(each))]
    values = f"values-{code_digest(metric_room, beside)}"
    for name, identity in known.items():
        method = f"{file_name(name)}-{digest_of(identity)}"
        own, judge = cache / alone / method, cache / judged / method
        stores[name] = Stores(Store(own / "maps"), Store(own / values), Store(judge / values))
    return stores


def _told(explained: object) -> str | None:
    """Digest all that its scores depend on, code included; None where nobody can tell."""
    scores = fingerprint_of_scores(explained)
    return None if scores is None else f"{scores}-{code_of_scores(explained)}"


def _say_unused(cache: Path, explained: object) -> None:
    name = type(explained.model if isinstance(explained, Classifier) else explained).__name__
    warnings.warn(
        f"the cache {cache} is not used: nobody can tell what the scores of {name} depend on, which has no weights, "
        "code in no file (as in a notebook), or an attribute such as a function made within another one; mend that, or "
        "leave the cache out",
        stacklevel=4,
    )


def image_names(images: Tensor, index: Tensor) -> list[str]:
    """Name each pair by the image's content and the index."""
    pixels = images.detach().cpu().contiguous()
    content = [
        # By bytes, since numpy knows no bfloat16.
        image.view(torch.uint8).numpy().tobytes() + str(tuple(image.shape)).encode()
        for image in pixels
    ]
    digests = [hashlib.blake2b(each, digest_size=8).hexdigest() for each in content]
    return [f"{digest}-{number}" for digest, number in zip(digests, index.tolist())]


def truth_names(names: Iterable[str], *truths: Iterable[Tensor] | None) -> list[str]:
    """Extend the names of pairs by the content of their truths (a tensor per pair each, or None)."""
    rows = zip(*(truth for truth in truths if truth is not None))
    return [f"{name}-{digest_of(str(truth.tolist()) for truth in row)}" for name, row in zip(names, rows, strict=True)]


def extend_names(names: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Extend each name by a digest of its text."""
    return [f"{name}-{digest_of([text])}" for name, text in zip(names, texts, strict=True)]
