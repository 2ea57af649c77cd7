"""What ``evaluation.json`` holds, and what in it must fit together."""

from __future__ import annotations

from typing import Annotated, Any

from protomask.schema import Range, TypedDict, check

Number = float | None
Count = Annotated[int, Range(0, 2**53)]


class PairsRow(TypedDict):
    positions: list[Count]
    prototypes: list[Count]


class _MeanRowLater(TypedDict, total=False):
    images: Count | None


class MeanRow(_MeanRowLater):
    localizer: str
    metric: str
    mean: Number
    ci_low: Number
    ci_high: Number
    n: Count
    seconds_per_map: Number


class _ComparisonLater(TypedDict, total=False):
    better_alone: str
    p: Number
    p_corrected: Number
    images: Count | None
    images_needed: Count | None


class Comparison(_ComparisonLater):
    metric: str
    a: str
    b: str
    difference: Number
    ci_low: Number
    ci_high: Number
    better: str
    n: Count


class Band(TypedDict):
    mean: list[Number]
    ci_low: list[Number]
    ci_high: list[Number]


class _Later(TypedDict, total=False):
    classes: list[str]
    prototypes: list[Count]
    prototype_values: dict[str, dict[str, list[Number]]]
    of_classifier: bool


class EvaluationFile(_Later):
    rows: Annotated[list[MeanRow], Range(1)]
    comparisons: list[Comparison]
    curves: dict[str, dict[str, Band]]
    values: Annotated[dict[str, dict[str, list[Number]]], Range(1)]
    pairs: PairsRow
    names: list[str]


def check_evaluation(content: Any) -> None:
    """Check what an evaluation's file holds.

    Raises:
        ValueError: says what is missing, of another kind, or does not fit the rest.
    """
    check(content, EvaluationFile)
    count, pairs = len(content["names"]), content["pairs"]
    _expect(len(pairs["positions"]) == count == len(pairs["prototypes"]), "names and pairs differ in number")
    _expect(len(content.get("classes", [])) in (0, count), "names and classes differ in number")
    localizers, metrics = list(content["values"]), list(dict.fromkeys(row["metric"] for row in content["rows"]))
    rows = sorted((row["localizer"], row["metric"]) for row in content["rows"])
    _expect(
        rows == sorted((each, metric) for each in localizers for metric in metrics),
        "rows are not one for each localizer and metric",
    )
    for row in content["comparisons"]:
        _expect({row["a"], row["b"]} <= set(localizers) and row["metric"] in metrics, "comparisons of unknown names")
        _expect(row["better"] in (row["a"], row["b"], "undecided"), "a comparison that neither wins")
    prototypes = len(content.get("prototypes", []))
    for key, length in (("values", count), ("prototype_values", prototypes)):
        for found in content.get(key, {}).values():
            _expect(all(len(column) == length for column in found.values()), f"{key} differ in number")
    for found in content["curves"].values():
        for band in found.values():
            _expect(len({len(band[key]) for key in ("mean", "ci_low", "ci_high")}) == 1, "curves differ in length")


def _expect(fits: bool, words: str) -> None:
    if not fits:
        raise ValueError(words)
