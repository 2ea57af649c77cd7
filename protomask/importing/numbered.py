"""Lists of class names in JSON, and with the classes' numbers in front."""

from __future__ import annotations

import re
from collections.abc import Sequence

from protomask.errors import InputError
from protomask.files import parse_json

# "4:3" and "1,4-dioxane" are names: no digit follows a comma or a colon at once.
_NUMBERED = re.compile(r"([0-9]{1,9})( *\t\s*| *[,:]\s+| *[,:](?![0-9])| +)(\S.*)")
_MEND = 'give one class name per line, or JSON: ["cat", "dog"] or {"0": "cat", "1": "dog"}'


def names_of_json(text: str, path: str) -> list[str] | None:
    """Read a list of names, or an object of them by number (from 0 or 1 on), in JSON; None where the text is no JSON.

    Raises:
        InputError: it begins as JSON does and is neither.
    """
    text = text.strip()
    closed = text[:1] + text[-1:] in ("[]", "{}")
    if not closed and not re.match(r'[\[{]\s*"', text):  # "[background]" is a name
        return None
    content = parse_json(text, path, _MEND)
    if isinstance(content, dict) and all(re.fullmatch("[0-9]{1,9}", number) for number in content):
        names = in_order([int(number) for number in content], list(content.values()))
    else:
        names = content if isinstance(content, list) else None
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{path} holds other JSON than a list of names; {_MEND}")
    return [name.strip() for name in names]


def without_numbers(lines: Sequence[str], path: str) -> list[str]:
    """Put lines that all begin with their classes' numbers in the classes' order, and take the numbers off.

    A number is followed by a blank, a tab, a comma or a colon, and by a name; CUB's "001.Black_footed_Albatross" is a
    name. The numbers are those of the classes if they are 0 to C - 1 or 1 to C, each once, unless names would then be
    the same ("1 stripe", "2 stripes", "3 stripes"). Others are part of the names ("2 door car").

    Raises:
        InputError: numbers that are meant for the classes', and are not theirs; names the first such line.
    """
    found = [_NUMBERED.fullmatch(line) for line in lines]
    parts = [match.groups() for match in found if match]
    if not lines or len(parts) < len(lines):
        return list(lines)
    numbers, names = [int(number) for number, _, _ in parts], [_unquoted(name, mark) for _, mark, name in parts]
    marked = all(mark.strip(" ") for _, mark, _ in parts)
    ordered = in_order(numbers, names)
    # A few names may be doubled: ImageNet has two cranes.
    if 10 * len(set(names)) < 9 * len(names) and (ordered is not None or not marked):
        return list(lines)
    if ordered is not None:
        return ordered
    first = 0 if 0 in numbers else 1
    at_their_places = sum(number == place for place, number in enumerate(numbers, first))
    if not marked and 2 * at_their_places <= len(lines):
        return list(lines)
    seen: set[int] = set()
    for line, number in enumerate(numbers, 1):
        if number in seen or not first <= number < first + len(lines):
            break
        seen.add(number)
    raise InputError(
        f"{path}:{line}: {number} is {'there twice' if number in seen else 'no number of a class'}; numbers before "
        f"{len(lines)} names must be 0 to {len(lines) - 1} or 1 to {len(lines)}, each once; mend them, "
        "leave them out, or give the names as JSON if they belong to them"
    )


def in_order(numbers: Sequence[int], names: Sequence[str]) -> list[str] | None:
    """Sort names by their numbers; None where these are not 0 to C - 1 or 1 to C, each once."""
    if sorted(numbers) not in (list(range(len(names))), list(range(1, len(names) + 1))):
        return None
    return [name for _, name in sorted(zip(numbers, names))]


def _unquoted(name: str, mark: str) -> str:
    """Take off the quotes that a CSV file puts around a name with commas."""
    quoted = "," in mark and len(name) > 2 and name[0] == name[-1] == '"'
    return name[1:-1].replace('""', '"').strip() if quoted else name
