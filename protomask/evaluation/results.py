"""What an evaluation found: values per pair, means with intervals, who is ahead of whom."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from protomask.errors import InputError
from protomask.evaluation import texts
from protomask.evaluation.catalogue import METRICS
from protomask.evaluation.pairs import Pairs
from protomask.evaluation.shape import check_evaluation
from protomask.evaluation.summaries import Number, band, comparison_rows, higher_is_better, mean_rows, numbers
from protomask.files import write_atomically
from protomask.json_files import read_json, with_checksum


@dataclass(frozen=True)
class Evaluation:
    """Localizers x metrics over the same pairs. Built by :meth:`summarise`, kept in ``evaluation.json``.

    ``comparisons`` holds every two localizers once, in the order they were given: ``difference`` is mean(a) - mean(b)
    over the pairs where both are defined, ``ci_low`` and ``ci_high`` its own 95 % interval, not corrected, and
    ``better_alone`` the one that this interval puts ahead; ``better`` is the verdict, corrected over all metrics of the
    two (:mod:`protomask.statistics.comparing`).
    """

    pairs: Pairs
    names: list[str]
    """the pairs' images"""
    values: dict[str, dict[str, list[Number]]]
    """localizer -> metric -> one value per pair"""
    rows: list[dict]
    """localizer, metric, mean, ci_low, ci_high, n (pairs that count), images (that they come from; of a metric of
    prototypes n and images count prototypes), seconds_per_map"""
    comparisons: list[dict]
    """metric, a, b, difference, ci_low, ci_high, better and better_alone (a's name, b's name or "undecided"), p,
    p_corrected, n, images, images_needed (about how many a difference of this size needs, prototypes of a metric of
    these; None: no difference)"""
    curves: dict[str, dict[str, dict[str, list[Number]]]] = field(default_factory=dict)
    """localizer -> "insertion" or "deletion" -> mean, ci_low, ci_high at equally spaced shares 0...1 of changed pixels,
    the score being divided by its value on the whole image"""
    classes: list[str] = field(default_factory=list)
    """the classes of the pairs' prototypes, "" for an index that is no class of the data; empty in older files"""
    prototypes: list[int] = field(default_factory=list)
    """the prototypes of ``prototype_values``"""
    prototype_values: dict[str, dict[str, list[Number]]] = field(default_factory=dict)
    """localizer -> metric -> one value per prototype, for the metrics that are measured over several images of each"""
    of_classifier: bool = False
    """whether a :class:`protomask.Classifier` was measured; not known of older files"""

    @classmethod
    def summarise(
        cls,
        pairs: Pairs,
        names: list[str],
        values: dict[str, dict[str, Tensor]],
        seconds_per_map: dict[str, float],
        curves: dict[str, dict[str, Tensor]] | None = None,
        *,
        classes: list[str] | None = None,
        prototypes: Tensor | None = None,
        of_classifier: bool = False,
        of_probabilities: bool = False,
        seed: int = 0,
    ) -> Evaluation:
        """Compute means, intervals and comparisons from raw values (n,) and curves (n, T), NaN where undefined.

        Raw values of several shards or sessions may be concatenated first, in the order of ``pairs``. Metrics that are
        measured per prototype have a value for each of ``prototypes`` (P,) instead; what is resampled are the
        prototypes then. Where scores are probabilities (``of_probabilities``) more metrics have bounds, to which
        intervals are cut.
        """
        metrics = list(next(iter(values.values())))
        of_prototypes = [metric for metric in metrics if metric in METRICS and METRICS[metric].of_prototypes]
        of_pairs = [metric for metric in metrics if metric not in of_prototypes]
        ordered = {
            name: {metric: found[metric] for metric in of_pairs + of_prototypes} for name, found in values.items()
        }
        images = dict.fromkeys(of_pairs, pairs.positions)
        bands = {
            localizer: {metric: band(curve, pairs.positions, seed) for metric, curve in each.items()}
            for localizer, each in (curves or {}).items()
        }
        lists, prototype_lists = (
            {localizer: {metric: numbers(each[metric]) for metric in kind} for localizer, each in values.items()}
            for kind in (of_pairs, of_prototypes)
        )
        return cls(
            pairs,
            list(names),
            lists,
            mean_rows(ordered, images, seconds_per_map, seed, of_probabilities),
            comparison_rows(ordered, images, seed, of_probabilities),
            bands,
            list(classes or ()),
            [] if prototypes is None else prototypes.tolist(),
            prototype_lists if of_prototypes else {},
            of_classifier,
        )

    @property
    def localizers(self) -> list[str]:
        return list(self.values)

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(row["metric"] for row in self.rows))

    def save(self, path: Path | str) -> None:
        """Write :meth:`to_json`; the file is whole or not there."""
        text = self.to_json()
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def to_json(self) -> str:
        """Give everything as JSON with a checksum, rows one to a line; undefined values are ``null``."""
        content = {
            "rows": self.rows,
            "comparisons": self.comparisons,
            "curves": self.curves,
            "values": self.values,
            "pairs": {"positions": self.pairs.positions.tolist(), "prototypes": self.pairs.prototypes.tolist()},
            "names": self.names,
            "classes": self.classes,
            "prototypes": self.prototypes,
            "prototype_values": self.prototype_values,
            "of_classifier": self.of_classifier,
        }
        sealed = dict(with_checksum(content))
        lines = ",\n".join(f"{json.dumps(key)}: {_json(value)}" for key, value in sealed.items())
        return "{\n" + lines + "\n}\n"

    @classmethod
    def load(cls, path: Path | str) -> Evaluation:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing or not an evaluation.
        """
        mend = "run the evaluation again"
        content: Any = read_json(path, mend)
        try:
            check_evaluation(content)
        except ValueError as error:
            raise InputError(f"{path} is not a whole evaluation ({error}); {mend}") from error
        _leave_out_values_of_pairs(content)
        pairs = Pairs(content["pairs"]["positions"], content["pairs"]["prototypes"])
        optional = ("classes", "prototypes", "prototype_values", "of_classifier")
        later = {key: content[key] for key in optional if key in content}
        return cls(pairs, *(content[key] for key in ("names", "values", "rows", "comparisons", "curves")), **later)

    def table(self, width: int = 120) -> str:
        """Draw metrics down, localizers across, "mean [interval]".

        An arrow says which way is better, ``*`` marks the best mean.

        Localizers that do not fit in ``width`` characters continue below.
        """
        return texts.mean_table(self, width)

    def _repr_html_(self) -> str:
        return texts.mean_html(self)

    def contest(self, a: str, b: str) -> str:
        """Write every paired difference of two localizers as text: its own interval, the corrected p-value, the
        verdict, and about how many images such a difference would need.

        Raises:
            InputError: a localizer that was not evaluated.
        """
        return texts.contest_table(self.contests(a, b), a, b)

    def verdict(self, a: str, b: str) -> str:
        """Give one sentence: "mdm ahead of similarity in 5 of 6 metrics, behind in deletion; pointing_box undecided".

        Verdicts are corrected over these metrics together.

        Raises:
            InputError: a localizer that was not evaluated.
        """
        return texts.verdict_sentence(self.contests(a, b), a, b)

    def power(self, a: str, b: str) -> str:
        """Say about how many images (or prototypes) the undecided differences of two localizers would need, were they
        as large as those just seen; empty where nothing is undecided."""
        return texts.power_sentence(self.contests(a, b))

    def contests(self, a: str, b: str) -> list[dict]:
        """Give the comparisons of two localizers.

        Raises:
            InputError: a localizer that was not evaluated.
        """
        for name in (a, b):
            if name not in self.values:
                raise InputError(f"localizer {name!r} was not evaluated; these were: {', '.join(self.localizers)}")
        return [each for each in self.comparisons if {each["a"], each["b"]} == {a, b}]

    def best(self, metric: str) -> Number:
        """Give the best mean, or None where all are the same."""
        means = [row["mean"] for row in self.rows if row["metric"] == metric and row["mean"] is not None]
        if len(set(means)) < 2:
            return None
        return (max if higher_is_better(metric) else min)(means)


def _json(value: object) -> str:
    """Rows one to a line, everything else compact."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(json.dumps(each) for each in value) + "\n]"
    return json.dumps(value, separators=(",", ":"))


def _leave_out_values_of_pairs(content: dict) -> None:
    """Leave out metrics that are of prototypes now, and of which a file of before has a value for each pair: their
    intervals were too short."""
    told = {metric for found in content["values"].values() for metric in found}
    old = {metric for metric in told if metric in METRICS and METRICS[metric].of_prototypes}
    for key in ("rows", "comparisons"):
        content[key] = [row for row in content[key] if row["metric"] not in old]
    for found in content["values"].values():
        for metric in old & found.keys():
            del found[metric]
