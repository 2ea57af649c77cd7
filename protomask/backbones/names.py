"""What a user may write for a backbone, and what to say when it is not understood."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Sequence

from protomask.errors import InputError


def parse_name(text: str) -> tuple[str, str, dict]:
    """Splits ``[torchvision/]NAME[:argument=value,...]`` into the library, the name and the arguments.

    A value is a Python literal (``4``, ``0.5``, ``True``, ``None``) or else a string (``same``).

    Raises:
        InputError: for an empty name, or an argument without a value.
    """
    name, _, options = text.strip().partition(":")
    library, name = ("torchvision", name[len("torchvision/") :]) if name.startswith("torchvision/") else ("timm", name)
    if not name:
        raise InputError(f"backbone {text!r} has no name; write for example resnet18 or torchvision/mobilenet_v2")
    arguments = {}
    for option in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in option.partition("="))
        if not equals or not key.isidentifier() or not value:
            raise InputError(f"backbone {text!r}: {option!r} is not argument=value, as in resnet18:output_stride=8")
        arguments[key] = _value(value)
    return library, name, arguments


def parse_features(features: int | str | None) -> int | str | None:
    """The stride as an int where it is written as text; None for an empty text."""
    if isinstance(features, str):
        features = features.strip()
        return int(features) if features.isdecimal() else features or None
    return features


def parse_statistics(
    key: str, value: float | Sequence[float] | None, default: tuple[float, ...]
) -> tuple[float, float, float]:
    """One number per channel, from one number, three numbers or None (the default).

    Raises:
        InputError: for anything else, and for a standard deviation that is not positive.
    """
    value = default if value is None else value
    try:
        numbers = tuple(float(v) for v in value) if isinstance(value, Sequence) else (float(value),) * 3
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or (key == "std" and not min(numbers) > 0):
        number = "positive number" if key == "std" else "number"
        raise InputError(f"backbone: {key} {value!r} is neither a {number} nor three of them")
    return numbers


def unknown(kind: str, name: str, known: Iterable[str], also: dict[str, str] | None = None) -> InputError:
    """The error for a name that is not known, with the nearest ones.

    Args:
        kind: What is named, for the sentence ("backbone").
        known: The names there are.
        also: Further names, and how to write them.
    """
    written = {**(also or {}), **{k: k for k in known}}
    close = difflib.get_close_matches(name, written, n=5, cutoff=0.6)
    if close:
        hint = f"did you mean {', '.join(written[c] for c in close)}?"
    elif len(written) <= 60:
        hint = f"there are {', '.join(written.values())}"
    else:
        hint = "timm.list_models() lists the names"
    return InputError(f"unknown {kind} {name!r}; {hint}")


def one_line(error: BaseException, limit: int = 200) -> str:
    """An exception of another library in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[:limit] + "..."


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
