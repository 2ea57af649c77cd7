"""The classes of a second network, a judge, as those of the first."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

from protomask.errors import InputError
from protomask.localization.class_names import have_names, numbers_called, plain_name


def judge_numbers(
    names: Mapping[int, str], own: Mapping[int, str], judge: Mapping[int, str], classes: int
) -> tuple[int, ...] | None:
    """Find the judge's number of each of a model's classes by their names; None where they are numbered alike.

    Where one of the two has no names, nothing tells another order. Where all that both call alike are numbered alike, a
    class that the judge calls otherwise at the same place ("car" and "automobile", or in another language) is taken for
    the same one; a warning says so, but for further names of it ("tench" and "tench, Tinca tinca").

    Args:
        names: of the model's classes, as far as they are known: those that a user gave, or its own.
        own: those that the model brings; they count where the judge knows none of ``names``.
        judge: those that the judge brings.
        classes: how many each of them has.

    Raises:
        InputError: of another order, and the judge lacks a class, or classes cannot be told apart; names the first.
    """
    named = [each for each in (names, own) if have_names(each)]
    if not named or not have_names(judge):
        return None
    for names in named:
        found = _places({number: name for number, name in names.items() if 0 <= number < classes}, judge)
        if any(place >= 0 for place in found.values()):
            break
    missing = [number for number, place in found.items() if place < 0]
    if all(place in (number, -1) for number, place in found.items()):
        _check_others(missing, len(missing) == len(found), names, judge)
        return None
    taken: set[int] = set()
    for number in range(classes):
        if number not in found:
            raise InputError(
                f"the judge has its classes in another order than the model, whose class {number} has no name; give "
                "the names of all by labels="
            )
        if found[number] < 0 or found[number] in taken:
            raise _lacking(number, names)
        taken.add(found[number])
    return tuple(found[number] for number in range(classes))


def _places(names: Mapping[int, str], judge: Mapping[int, str]) -> dict[int, int]:
    """Find the judge's class of each name; of several that have it, the one that is numbered alike; -1 for none."""
    places = dict(zip(names, numbers_called(names.values(), judge)))
    for number, name in names.items():
        there = judge.get(number, "")
        if there == name or (places[number] < 0 and plain_name(there) == plain_name(name)):
            places[number] = number
    return places


def _check_others(missing: list[int], all_of_them: bool, names: Mapping[int, str], judge: Mapping[int, str]) -> None:
    """Warn of classes that the judge calls otherwise, where all that it calls alike are numbered alike."""
    others = [number for number in missing if not _have_in_common(names[number], judge.get(number, ""), r"[^,;]+")]
    if not others:
        return
    first = others[0]
    warnings.warn(
        f"the judge calls {'its' if all_of_them else 'some'} classes otherwise than the model, {judge.get(first)!r} "
        f"for {names[first]!r}: they are taken to be the same ones in the same order; if they are, name the model's as "
        "the judge's by labels=",
        stacklevel=4,
    )


def _have_in_common(name: str, other: str, part: str) -> bool:
    """Tell whether a part of one name is one of the other, in any case."""
    first, second = ({each.strip() for each in re.findall(part, plain_name(name))} for name in (name, other))
    return bool(first & second)


def _lacking(number: int, names: Mapping[int, str]) -> InputError:
    return InputError(
        f"the judge has no class, or no single one, called {names[number]!r} as class {number} of the model is; a "
        "judge needs the same classes: give another one, or name the model's as the judge's by labels="
    )
