"""Types as schemas: what fits passes, what does not is named with its place."""

from dataclasses import dataclass, field
from typing import Any, Required

import pytest

from protomask import run_schemas
from protomask.schema import Annotated, Range, TypedDict, check


@dataclass
class Point:
    x: int
    y: float = 0.0
    names: tuple[str, ...] = field(default_factory=tuple)


class Shape(TypedDict, total=False):
    points: Required[list[Point]]
    share: Annotated[float, Range(0, 1)] | None
    box: tuple[int, int]
    extra: dict[str, Any]


GOOD = {"points": [{"x": 1, "y": 2, "names": ["a"]}], "share": None, "box": [1, 2], "extra": {"k": [1]}, "other": 1}


def test_what_fits_passes():
    check(GOOD, Shape)
    check({"points": []}, Shape)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"points": None}, "points is None; it must be a list"),
        ({"points": [{"x": "1"}]}, r"points\[0\].x is '1'; it must be a whole number"),
        ({"points": [{"x": True}]}, r"points\[0\].x is True; it must be a whole number"),
        ({"points": [{"y": 1}]}, r"points\[0\].x is missing"),
        ({"points": [{"x": 1, "z": 1}]}, r"points\[0\].z is unknown here"),
        ({"points": [{"x": 1, "y": float("nan")}]}, r"points\[0\].y is nan; it must be a number"),
        ({"share": 1.5}, "share is 1.5; it must be a number from 0 to 1"),
        ({"share": 2}, "share is 2; it must be a number from 0 to 1"),
        ({"share": 10**400}, "share is 1000.*; it must be a number"),
        ({"box": [1]}, r"box is \[1\]; it must be a list of 2"),
        ({"extra": []}, "extra is .*; it must be an object"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        check({**GOOD, **change}, Shape)


def test_what_is_no_object_at_all():
    with pytest.raises(ValueError, match="it is 3; it must be an object"):
        check(3, Shape)
    with pytest.raises(ValueError, match="points is missing"):
        check({}, Shape)


def test_what_a_run_s_files_must_hold_is_missed():
    """Their types are written in modules whose annotations are strings."""
    with pytest.raises(ValueError, match="options is missing"):
        check({"versions": {}}, run_schemas.Config)
    with pytest.raises(ValueError, match="stage is missing"):
        check({"epoch": 1}, run_schemas.LogRow)
    check({"stage": "joint"}, run_schemas.LogRow)
