"""Lists of class names in JSON, and with the classes' numbers in front."""

from __future__ import annotations

import re
from collections.abc import Sequence

from protomask.errors import InputError
from protomask.files import parse_json

# "4:3" and "1,4-dioxane" are names: no digit follows a comma or a colon at once.
_NUMBERED = re.compile(r"([0-9]{1,9})( *\t\s*| *[,:;=|)]\s+| *[,:;=|)](?![0-9])| *\.\s+| +)(\S.*)")
_QUOTED = re.compile(r'"([0-9]{1,9})"( *[,;:\t|]\s*)(\S.*)')
# "type 2" and "Boeing-747" are names, "16:9" is one.
_BEHIND = re.compile(r'(.*?\S)(\s*[,;:=|\t]\s*| +)(?:"([0-9]{1,9})"|([0-9]{1,9}))')
# "2. Liga", "35) x" and "3=three" are names, unless all numbers are those of the classes.
_MAY_BE_NAMES = (".", ")", "=", "|")
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
    """Put lines that all begin, or all end, with their classes' numbers in the classes' order; take the numbers off.

    A number is followed by a blank or one of ``, ; : . ) = |`` or a tab, and by a name; CUB's
    "001.Black_footed_Albatross" is a name. The numbers are those of the classes if they are 0 to C - 1 or 1 to C, each
    once, unless names would then be the same ("1 stripe", "2 stripes", "3 stripes"). Others are part of the names ("2
    door car", "18. Jahrhundert"), and so are all that stand behind names, unless they are the classes' and one of
    ``, ; : = |`` or a tab is before them, or they follow paths ("/a/airfield 0"). Numbers and names may be quoted.

    Raises:
        InputError: numbers that are meant for the classes', and are not theirs; names the first such line.
    """
    found = [_NUMBERED.fullmatch(line) or _QUOTED.fullmatch(line) for line in lines]
    parts = [match.groups() for match in found if match]
    if not lines or len(parts) < len(lines):
        return _without_numbers_behind(lines)
    numbers, names = [int(number) for number, _, _ in parts], [_unquoted(name, mark) for _, mark, name in parts]
    marked = all(mark.strip(" ") for _, mark, _ in parts)
    may_be_names = any(mark.strip() in _MAY_BE_NAMES for _, mark, _ in parts)
    ordered = in_order(numbers, names)
    # A few names may be doubled: ImageNet has two cranes.
    if 10 * len(set(names)) < 9 * len(names) and (ordered is not None or not marked):
        return list(lines)
    if ordered is not None:
        return ordered
    if may_be_names:
        return list(lines)
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


def _without_numbers_behind(lines: Sequence[str]) -> list[str]:
    """Put lines "dog,1" in the order of the numbers where these are the classes', and leave others as they are."""
    found = [_BEHIND.fullmatch(line) for line in lines]
    parts = [(match[1], match[2], int(match[3] or match[4])) for match in found if match]
    if not lines or len(parts) < len(lines):
        return list(lines)
    numbers, names = [number for *_, number in parts], [_unquoted(name, mark) for name, mark, _ in parts]
    ordered = in_order(numbers, names)
    if ordered is None or 10 * len(set(names)) < 9 * len(names) or all(name.isdecimal() for name in names):
        return list(lines)
    # "Diabetes type 1" is a name; the list of Places365 has paths.
    paths = all(name.startswith("/") and not any(map(str.isspace, name)) for name in names)
    return ordered if paths or all(mark.strip(" ") for _, mark, _ in parts) else list(lines)


def _unquoted(name: str, mark: str) -> str:
    """Take off the quotes that a CSV file puts around a name with commas or semicolons."""
    quoted = mark.strip() in (",", ";", "") and len(name) > 2 and name[0] == name[-1] == '"'
    return name[1:-1].replace('""', '"').strip() if quoted else name
