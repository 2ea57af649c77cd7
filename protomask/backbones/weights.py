"""Weights from a file into a backbone: nothing is executed, and what does not fit is told."""

from __future__ import annotations

import pickle
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from protomask.backbones.backbone import Backbone
from protomask.backbones.names import one_line
from protomask.errors import InputError
from protomask.files import refuse_bombs
from protomask.importing.model_files import WRAPPERS

# Names of the first DenseNet weights: denselayer1.norm.1.weight is now denselayer1.norm1.weight.
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


def load_weights(backbone: Backbone, path: Path) -> None:
    """Load a file into `backbone.body`, strictly in all that the backbone keeps.

    The file is `.safetensors`, or else what `torch.load(weights_only=True)` reads: a state dict, or one under
    `state_dict`, `model_state_dict` or `model`. A common prefix of the names (`module.`, `model.`, `backbone.`) is
    taken off, and then names without it are ignored; files of the `features` of a model alone fit too, and the original
    names of models that timm has taken over, where timm itself converts them. Ignored are the tensors of what the
    backbone dropped: the classifier, whatever its number of classes, and layers behind the feature map.

    Raises:
        InputError: for a file that is missing, unreadable or a pickle with code, and, in one line with the first names
            and the numbers, for tensors that are missing, unexpected or of another shape.
    """
    load_tensors(backbone, read_tensors(path), str(path))


def load_tensors(backbone: Backbone, state: Mapping[str, Tensor], source: str) -> None:
    """Load tensors by name as :func:`load_weights` does; ``source`` names their file in errors.

    Raises:
        InputError: tensors are missing, unexpected or of another shape.
    """
    features = "" if backbone.features is None else f" with features {backbone.features}"
    fit_weights(
        backbone.body,
        state,
        backbone.dropped,
        f"weights {source} do not fit {backbone.name}{features}",
        "name by backbone= the one (and the features) that they were made for",
    )


def fit_weights(body: nn.Module, state: Mapping[str, Tensor], dropped: Iterable[str], misfit: str, mend: str) -> None:
    """Load tensors into `body`; see :func:`load_weights`.

    Args:
        dropped: Names that the tensors may have beyond those of `body`.
        misfit, mend: The beginning and the end of the error.

    Raises:
        InputError: where they do not fit, fit under two prefixes of the names, or hold NaN or infinite values.
    """
    wanted = body.state_dict()
    fitted = _renamed(state, wanted, misfit)
    problems = _problems(fitted, wanted, dropped)
    if problems:
        converted = _converted(state, body)
        if converted and not _problems(converted, wanted, dropped):
            fitted, problems = converted, ""
    if problems:
        raise InputError(f"{misfit}: {problems}; {mend}")
    wrong = not_finite({name: fitted[name] for name in wanted if name in fitted}, body)
    if wrong:
        raise InputError(
            f"{misfit}: {len(wrong)} with NaN or infinite values: {_first(wrong)}; their training diverged, give others"
        )
    # Not strict: counters of batches are the one thing that may be missing, and dropped parts are not there to load.
    body.load_state_dict({name: fitted[name] for name in wanted if name in fitted}, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file or a weights-only checkpoint, by name.

    Raises:
        InputError: see :func:`load_weights`.
    """
    if not path.is_file():
        raise InputError(f"weights {path}: no such file")
    if path.suffix == ".safetensors":
        import safetensors.torch

        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # the library's own error class is not part of its interface for all versions
            raise InputError(f"weights {path}: not a readable safetensors file ({one_line(error)})") from error
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                refuse_bombs(archive)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):  # how the unpickler names a class or function that it would have to call
            raise InputError(f"weights {path}: not a readable checkpoint, nor named .safetensors") from error
        raise InputError(
            f"weights {path}: a pickle with code, which is not executed; if you trust it, convert it where its code is:"
            " torch.save(torch.load(FILE, weights_only=False).state_dict(), NEW) (or its ['state_dict'] or ['model'])"
        ) from error
    except Exception as error:  # a truncated or foreign file fails in many ways
        raise InputError(f"weights {path}: not a readable checkpoint ({one_line(error)})") from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"weights {path}: holds no tensors by name; save model.state_dict()")
    return tensors


def not_finite(state: Mapping[str, Tensor], body: nn.Module) -> list[str]:
    """Name tensors that hold NaN, and parameters that hold infinite values (a buffer may mask by them)."""
    parameters = {name for name, _ in body.named_parameters()}
    return [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point() and (tensor.isnan().any() or (name in parameters and tensor.isinf().any()))
    ]


def renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors under the names that are wanted, as far as they can be told."""
    return _renamed(state, wanted, None)


def _renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], misfit: str | None) -> dict[str, Tensor]:
    """As :func:`renamed`; where two prefixes fit equally well and nothing tells them apart, an error with
    ``misfit``."""
    state = {OLD_DENSENET.sub(r"\1\2.", name): tensor for name, tensor in state.items()}
    whole = {f"features.{name}": tensor for name, tensor in state.items()}
    if sum(name in whole for name in wanted) > len(wanted) // 2:
        return whole
    counts = {prefix: sum(prefix + name in state for name in wanted) for prefix in _prefixes(state, wanted)}
    order = sorted(counts, key=lambda prefix: (-counts[prefix], len(prefix), prefix))
    best = order[0]
    for other in order[1:] if misfit is not None else ():
        if counts[other] < counts[best] or counts[best] <= len(wanted) // 2:
            break
        if not _same(state, wanted, best, other):
            one, two = (f"{prefix}*" if prefix else "names without a prefix" for prefix in (best, other))
            raise InputError(
                f"{misfit} in one way only: {one} and {two} fit equally well and differ; save a file that holds the "
                "one you mean"
            )
    return {name[len(best) :]: tensor for name, tensor in state.items() if name.startswith(best)}


def _same(state: Mapping[str, Tensor], wanted: Iterable[str], one: str, other: str) -> bool:
    """Whether the wanted tensors are equal under both prefixes."""
    pairs = [(state.get(one + name), state.get(other + name)) for name in wanted]
    return all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def _prefixes(state: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Find what may stand before the wanted names in the file: found with some of these names."""
    names = list(wanted)
    found = {""}
    for probe in names[:: max(1, len(names) // 4)]:
        found.update(name[: -len(probe)] for name in state if name.endswith("." + probe))
    return sorted(found)


def _converted(state: Mapping[str, Tensor], body: nn.Module) -> dict[str, Tensor] | None:
    """Call timm's converter for the family on the tensors: original names, positions for another size."""
    convert = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        return convert(dict(state), body)
    # It is made for the files of its family, and stumbles over others; then the plain misfit is the better message.
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None


def _problems(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], dropped: Iterable[str]) -> str:
    """Say what is missing, unexpected and of another shape; empty where all fits."""
    allowed = {*wanted, *dropped}
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in allowed]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return "; ".join(f"{len(names)} {kind}: {_first(names)}" for kind, names in kinds if names)


def _first(names: list[str], count: int = 6) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
