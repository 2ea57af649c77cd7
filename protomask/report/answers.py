"""Every answer on the test images: who is taken for whom, each class on its own, and all of them by confidence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from protomask.labels import is_multi_label, log_odds, most_likely, positives, probabilities
from protomask.metrics.classification import auroc, average_precision
from protomask.report.wording import Namer, count, number, percent, readable_all, shorten

LISTED = 10_000
"""answers that the page lists at most; wrong ones come first"""
MATRIX = 30
"""classes up to which the whole matrix of confusions is shown; of more the most frequent confusions alone"""
PAIRS = 40
"""confusions that are listed of more classes"""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answered on its test images."""

    classes: Sequence[str]
    names: Sequence[str]
    logits: Tensor
    """(N, C)"""
    labels: Tensor
    """(N,) classes, or (N, C) findings"""

    @property
    def findings(self) -> bool:
        return is_multi_label(self.labels)


def answers_section(
    answers: Answers | None, anchors: Mapping[str | tuple[str, str], str], names: Namer | None = None
) -> dict:
    """Give the page's tables of answers; empty without answers.

    Args:
        answers: of the network as it is now.
        anchors: name of an explained image to the place of the page that explains it; (name, finding) to that which
            explains this finding of it.
        names: gives the classes' names as they are shown.
    """
    if answers is None or not len(answers.names):
        return {}
    names = names or readable_all(answers.classes)
    rows = _finding_rows(answers) if answers.findings else _class_rows(answers)
    rows.sort(key=lambda row: (row[5], -row[3]))
    kept = rows[:LISTED]
    return {
        "classes": per_class_table(answers, names),
        "confusion": None if answers.findings else confusion(answers, names),
        "list": {
            "findings": answers.findings,
            "classes": [names(name) for name in answers.classes],
            "rows": [[*row, _anchor(row, answers, anchors)] for row in kept],
        },
        "findings": answers.findings,
        "count": len(rows),
        "listed": len(kept),
        "wrong": sum(not row[5] for row in rows),
    }


def _anchor(row: list, answers: Answers, anchors: Mapping[str | tuple[str, str], str]) -> str:
    """Find the place of the page that explains an answer; empty where there is none."""
    name, number = row[:2]
    finding = answers.classes[number if number >= 0 else -1 - number] if answers.findings else ""
    return anchors.get((name, finding), anchors.get(name, ""))


def _class_rows(answers: Answers) -> list[list]:
    """Name, true class, predicted class, its probability, runner-up with the points to it, and right (1) or not (0)."""
    two = most_likely(answers.logits, 2)
    chances = probabilities(answers.logits.double(), False)
    found = []
    for place, name in enumerate(answers.names):
        first, last = int(two[place, 0]), int(two[place, -1])
        truth = int(answers.labels[place])
        margin = float(answers.logits[place, first] - answers.logits[place, last])
        found.append(
            [name, truth, first, round(float(chances[place, first]), 6), [last, round(margin, 2)], int(first == truth)]
        )
    return found


def _finding_rows(answers: Answers) -> list[list]:
    """Tell the same of each finding that an image has or is said to have; -1 - f is the absence of finding f."""
    chances, has = probabilities(answers.logits.double(), True), answers.labels > 0.5
    found = []
    for place, finding in ((answers.logits > 0) | has).nonzero().tolist():
        said, true = bool(answers.logits[place, finding] > 0), bool(has[place, finding])
        chance = float(chances[place, finding])
        margin = round(abs(float(answers.logits[place, finding])), 2)
        found.append(
            [
                answers.names[place],
                finding if true else -1 - finding,
                finding if said else -1 - finding,
                round(chance if said else 1 - chance, 6),
                [None, margin],
                int(said == true),
            ]
        )
    return found


def confusion(answers: Answers, written: Namer | None = None) -> dict:
    """Count the true classes (rows) by what they were taken for; of many classes the most frequent confusions alone.

    Returns:
        ``matrix``: rows of (count, share of the row, right), the classes' ``names``, and ``short`` ones that still tell
        them apart; or ``pairs``: (true, taken for, count), the most frequent first, with what is said of those that are
        ``left_out``, empty where none are.
    """
    size = len(answers.classes)
    taken = answers.logits.argmax(1)
    matrix = torch.zeros(size, size, dtype=torch.long)
    matrix.index_put_((answers.labels, taken), torch.ones_like(taken), accumulate=True)
    written = written or readable_all(answers.classes)
    names = [written(name) for name in answers.classes]
    pairs = [
        (names[true], names[other], int(matrix[true, other]))
        for true, other in (matrix * (1 - torch.eye(size, dtype=torch.long))).nonzero().tolist()
    ]
    pairs.sort(key=lambda pair: -pair[2])
    if size > MATRIX:
        return {"names": [], "short": [], "matrix": [], "pairs": pairs[:PAIRS], "left_out": _left_out(pairs)}
    sums = matrix.sum(1).clamp_min(1)
    rows = [
        [
            {"count": int(matrix[true, other]), "share": round(float(matrix[true, other] / sums[true]), 3)}
            for other in range(size)
        ]
        for true in range(size)
    ]
    return {"names": names, "short": _short(names), "matrix": rows, "pairs": pairs[:10], "left_out": ""}


def _left_out(pairs: Sequence[tuple[str, str, int]]) -> str:
    """Say how many confusions there are beside those that are listed, and where equals of the last one are among them;
    nothing of few."""
    if len(pairs) <= PAIRS:
        return ""
    said, last = f"The {PAIRS} most frequent of {len(pairs)} confusions", pairs[PAIRS - 1][2]
    if pairs[PAIRS][2] < last:
        return f"{said}."
    alike = [place for place, pair in enumerate(pairs) if pair[2] == last]
    listed = sum(place < PAIRS for place in alike)
    return f"{said}; of {len(alike)} with {count(last, 'image')} each, the first {listed} in the order of the classes."


def _short(names: Sequence[str]) -> list[str]:
    """Shorten names in their middle where that still tells them apart."""
    short = [shorten(name, 28) for name in names]
    often = Counter(short)
    return [one if often[one] == 1 else name for one, name in zip(short, names)]


def per_class_table(answers: Answers, names: Namer | None = None) -> list[dict]:
    """Give one row a class: images, recall (share of its images that are found), AUROC, average precision."""
    names = names or readable_all(answers.classes)
    odds = log_odds(answers.logits.double(), answers.findings)  # probabilities near 1 would tie
    has = positives(answers.labels, len(answers.classes))
    said = answers.logits > 0 if answers.findings else positives(answers.logits.argmax(1), len(answers.classes))
    areas, precisions = auroc(odds, has).tolist(), average_precision(odds, has).tolist()
    rows = []
    for place, name in enumerate(answers.classes):
        images, claims = int(has[:, place].sum()), int(said[:, place].sum())
        hits = int((has[:, place] & said[:, place]).sum())
        values = {
            "recall": hits / images if images else None,
            "precision": hits / claims if claims else None,
            "auroc": areas[place],
            "ap": precisions[place],
        }
        shown = {
            key: percent(value) if key in ("recall", "precision") else number(value, 3) for key, value in values.items()
        }
        rows.append(
            {
                "name": names(name),
                "images": images,
                "shown": shown,
                "sort": {
                    key: -1 if value is None or math.isnan(value) else round(value, 6) for key, value in values.items()
                },
            }
        )
    return rows
