"""What a user may write for a backbone, and what to say when it is not understood."""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from protomask.errors import InputError
from protomask.given import short

# Arguments that name files, addresses or code instead of a network's shape: timm unpickles a ``checkpoint_path``.
_FILES = re.compile(
    r"pretrained|checkpoint|weights|cache|cfg|config|hub|url|script|export|jit|filter|strict$|loader|progress|model_name"
    r"|(^|_)(path|paths|file|files|filename|dir|folder|source|token|revision|fn)$"
)
_MAPS = ("features_only", "out_indices", "feature_cls")
_CHANNELS = ("in_chans", "in_channels")
_SHAPING = ("init_weights", "weight_init", "strict_img_size")
_WORD = re.compile(r"[\w.+-]{0,64}")


def parse_name(text: str) -> tuple[str, str, dict]:
    """Split ``[torchvision/]NAME[:argument=value,...]`` into the library, the name and the arguments.

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


def check_arguments(model: str, arguments: Mapping[str, object]) -> None:
    """Let through only what shapes a network: no argument that names files, hubs or code, and plain values alone.

    Arguments come from run folders and option files that others wrote, too.

    Args:
        model: what they are for, as errors call it ("backbone resnet18").

    Raises:
        InputError: for the first other argument.
    """
    if not isinstance(arguments, Mapping):
        raise InputError(f"{model}: arguments must be names with values, not {type(arguments).__name__}")
    for name, value in arguments.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"{model}: {str(name)[:80]!r} is no name of an argument; leave it out")
        if name in _MAPS:
            raise InputError(
                f"{model}: argument {name} would choose feature maps, which is done by features= (--features) here; "
                f"leave {name} out"
            )
        if name not in _SHAPING and _FILES.search(name.lower()):
            raise InputError(
                f"{model}: argument {name} names files or where weights come from, not a network's shape; leave it "
                "out, and give weights as such"
            )
        if name in _CHANNELS and value != 3:
            raise InputError(
                f"{model}: argument {name} is {str(value)[:80]}, but images have three channels here, grey ones the "
                f"same three times; leave {name} out"
            )
        if not _plain(value):
            raise InputError(
                f"{model}: argument {name} is {str(value)[:80]!r}; it must be a number, a plain word, or a list of "
                "these"
            )


def _plain(value: object, depth: int = 3) -> bool:
    if isinstance(value, str):
        return bool(_WORD.fullmatch(value))
    if isinstance(value, (list, tuple)):
        return depth > 0 and all(_plain(each, depth - 1) for each in value)
    return value is None or isinstance(value, (bool, int, float))


def parse_features(features: int | str | None) -> int | str | None:
    """Give the stride as an int where it is written as text; None for an empty text."""
    if isinstance(features, str):
        features = features.strip()
        return int(features) if features.isdecimal() and len(features) < 10 else features or None
    return features


def parse_statistics(
    key: str, value: float | Sequence[float] | None, default: tuple[float, ...]
) -> tuple[float, float, float]:
    """Give one number per channel, from one number, three numbers or None (the default).

    Raises:
        InputError: for anything else, and for numbers that are not finite, or a standard deviation not positive.
    """
    value = default if value is None else value
    try:
        numbers = (
            tuple(float(v) for v in value)
            if isinstance(value, Sequence) and not isinstance(value, str)
            else (float(value),) * 3
        )
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (key == "std" and not min(numbers) > 0):
        number = "positive number" if key == "std" else "number"
        raise InputError(f"backbone: {key} {short(value)} is neither a {number} nor three of them")
    return numbers


def unknown(kind: str, name: str, known: Iterable[str], also: dict[str, str] | None = None) -> InputError:
    """Give the error for a name that is not known, with the nearest ones.

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
    """Give an exception of another library in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[:limit] + "..."


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
