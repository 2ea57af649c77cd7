"""Localizers in words: ``name`` or ``name:setting=value,...``, and lists of them separated by commas.

>>> split_specs("mdm:damping=1,seed=3,similarity")
['mdm:damping=1,seed=3', 'similarity']
"""

from __future__ import annotations

import builtins
import difflib
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from protomask.errors import InputError

T = TypeVar("T")


def split_specs(words: str | Iterable[str]) -> list[str]:
    """Split a list of localizers at its commas, each once, without spaces around words.

    A piece ``setting=value`` without a localizer's name and a colon before it is one more setting of the localizer
    before it; every other piece is the next localizer.

    Args:
        words: one string, or several, each one localizer or a list itself.

    Raises:
        InputError: a setting that follows no localizer; localizers by name, of which only the names would be taken.
    """
    if isinstance(words, Mapping):
        raise InputError("names of localizers are wanted, not localizers by name; for example mdm,similarity")
    texts = [words] if isinstance(words, str) else list(words) if isinstance(words, Iterable) else [words]
    wrong = [each for each in texts if not isinstance(each, str)]
    if wrong:
        raise InputError(f"a localizer's name is a text, not {type(wrong[0]).__name__}; for example mdm,similarity")
    specs: list[str] = []
    for text in texts:
        begun = False
        for piece in filter(None, (piece.strip() for piece in text.split(","))):
            name, colon, setting = (part.strip() for part in piece.partition(":"))
            if "=" in name:
                if not begun:
                    raise InputError(f"the setting {piece!r} follows no localizer; write for example mdm:{piece}")
                specs[-1] += ("," if ":" in specs[-1] else ":") + _tidy(piece)
            else:
                specs.append(f"{name}:{_tidy(setting)}" if colon and setting else name)
                begun = True
    return list(dict.fromkeys(specs))


def name_of(spec: str) -> str:
    """Give the localizer's name, without settings.

    >>> name_of("mdm:damping=1")
    'mdm'
    """
    return spec.partition(":")[0].strip()


def settings_of(spec: str) -> dict[str, str]:
    """Give the settings of one localizer, as they are written.

    >>> settings_of("mdm:damping=1,keep.sizes=7+14")
    {'damping': '1', 'keep.sizes': '7+14'}

    Raises:
        InputError: a piece is no ``setting=value``, or names a setting again.
    """
    found: dict[str, str] = {}
    for piece in filter(None, (piece.strip() for piece in spec.partition(":")[2].split(","))):
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not (key and equals and value):
            raise InputError(f"localizer {spec!r}: {piece!r} is no setting; write setting=value")
        if key in found:
            raise InputError(f"localizer {spec!r} names {key} twice; give it once")
        found[key] = value
    return found


def with_settings(localizer: T, settings: dict[str, str], name: str) -> T:
    """Change settings of a localizer.

    Args:
        localizer: a frozen dataclass; its fields may be dataclasses, too.
        settings: path of a field (``order.steps``), or the field's name alone where no other has it (``damping``), to
            its value: numbers, words, ``true`` and ``false``, ``none``, and tuples joined by ``+`` (``7+14+28``).
        name: of the localizer, for messages.

    Raises:
        InputError: an unknown or ambiguous setting, or a value that is not of its type, or refused.
    """
    if not settings:
        return localizer
    known = _leaves(localizer)
    if not known:
        raise InputError(f"localizer {name!r} has no settings; write {name} alone")
    paths = {}
    for key, value in settings.items():
        path = _path(key, known, name)
        if path in paths:
            raise InputError(f"localizer {name!r}: {path} is given twice; give it once")
        paths[path] = _value(value, known[path], f"{name}: {path}")
    return _replace(localizer, paths, "", name)


def _tidy(settings: str) -> str:
    return "=".join(part.strip() for part in settings.split("="))


def _leaves(part: object, prefix: str = "") -> dict[str, Any]:
    """Map the path of every setting to its type."""
    found: dict[str, Any] = {}
    if not is_dataclass(part) or isinstance(part, type):
        return found
    for each in fields(part):
        if not each.init:
            continue
        value = getattr(part, each.name)
        if is_dataclass(value) and not isinstance(value, type):
            found |= _leaves(value, f"{prefix}{each.name}.")
        else:
            found[prefix + each.name] = _kind(type(part), each)
    return found


def _kind(owner: type, of: Field) -> Any:
    """Give the type of a field; ``object`` where it is known to type checkers alone (``TYPE_CHECKING``)."""
    home = next(
        each for each in reversed(owner.__mro__) if vars(each).get("__dataclass_fields__", {}).get(of.name) is of
    )
    # The class's own names come last: the default of a field that is called like its type hides that type.
    names = {**vars(builtins), **vars(sys.modules.get(home.__module__, types))}
    try:
        return get_type_hints(types.SimpleNamespace(__annotations__={of.name: of.type}), dict(vars(home)), names)[
            of.name
        ]
    except Exception:  # an annotation may be any expression
        return object


def _path(key: str, known: dict[str, Any], name: str) -> str:
    if key in known:
        return key
    same = [path for path in known if path.rpartition(".")[2] == key]
    if len(same) == 1:
        return same[0]
    if same:
        raise InputError(f"localizer {name!r}: {key} may be {' or '.join(same)}; write one of these")
    leaves = {path.rpartition(".")[2]: path for path in known}
    close = [leaves.get(word, word) for word in difflib.get_close_matches(key, [*known, *leaves], n=2, cutoff=0.6)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else f"it has {', '.join(known)}"
    raise InputError(f"localizer {name!r} has no setting {key!r}; {hint}")


def _value(text: str, kind: Any, where: str) -> Any:
    """Read ``text`` as a value of the type ``kind``."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        if text.lower() == "none" and len(kinds) < len(get_args(kind)):
            return None
        if len(kinds) == 1:
            return _value(text, kinds[0], where)
    elif get_origin(kind) is tuple:
        inside = get_args(kind)
        if len(inside) == 2 and inside[1] is Ellipsis:
            return tuple(_value(each.strip(), inside[0], where) for each in text.split("+"))
        pieces = text.split("+")
        if inside and len(pieces) != len(inside):
            raise InputError(f"{where} is {text!r}; give {len(inside)} values joined by +")
        if inside:
            return tuple(_value(each.strip(), one, where) for each, one in zip(pieces, inside))
    elif kind is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"{where} is {text!r}; give true or false")
        return text.lower() == "true"
    elif kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            word = "a whole number" if kind is int else "a number"
            raise InputError(f"{where} is {text!r}; give {word}") from None
    elif kind is str:
        return text
    raise InputError(f"{where} cannot be given in words; set it in Python")


def _replace(part: Any, values: dict[str, Any], prefix: str, name: str) -> Any:
    """Replace all fields of a part at once, so that they are checked together, in whatever order they were written.

    Args:
        values: by the fields' paths within the part.
        prefix: of these paths, "order." for example; with the localizer's ``name`` for messages.
    """
    changed: dict[str, Any] = {path: value for path, value in values.items() if "." not in path}
    for inner in dict.fromkeys(path.partition(".")[0] for path in values if "." in path):
        own = {path.partition(".")[2]: value for path, value in values.items() if path.startswith(f"{inner}.")}
        changed[inner] = _replace(getattr(part, inner), own, f"{prefix}{inner}.", name)
    try:
        return replace(part, **changed)
    except InputError as error:
        raise InputError(_as_written(str(error), changed, prefix, name)) from error
    except Exception as error:  # as localizers of other packages refuse what they are given
        given = ", ".join(f"{prefix}{field} {value!r}" for field, value in changed.items())
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(f"localizer {name!r} does not take {given} ({reason}); give another value") from error


def _as_written(text: str, fields: Iterable[str], prefix: str, name: str) -> str:
    """Name a refused setting as the words do: "Order: damping is -1.0" becomes "mdm: order.damping is -1.0"."""
    refused = text.partition(": ")[2]
    return f"{name}: {prefix}{refused}" if any(refused.startswith(f"{each} is ") for each in fields) else text
