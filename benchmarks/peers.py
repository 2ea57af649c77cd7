"""The table of an evaluation as the documentation shows it: every localizer beside one that all are compared with.

    protomask evaluate RUN --localizers mdm,hdm,similarity,prp,smoothgrad,occlusion --samples 100
    python benchmarks/peers.py RUN

Means; + and - mark what is ahead of, and behind, the localizer compared with, by paired differences that are corrected
for all metrics (Holm); without a mark the two are not told apart.
"""

from __future__ import annotations

import argparse
import sys

from protomask.errors import InputError
from protomask.evaluation.catalogue import HIGHER_IS_BETTER
from protomask.evaluation.texts import short
from protomask.run_folder import RunFolder


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run that was evaluated")
    parser.add_argument("--against", default="similarity", metavar="NAME", help="the localizer compared with")
    given = parser.parse_args(words)
    try:
        print(table(RunFolder.open(given.run).read("evaluation.json", "protomask evaluate"), given.against))
    except InputError as error:
        print(f"peers: error: {error}", file=sys.stderr)
        return 2
    return 0


def table(evaluation: dict, against: str) -> str:
    """Write Markdown: a line per metric, a column per localizer, that compared with first.

    Args:
        evaluation: see ``evaluation.json``.
        against: name of the localizer that the others are compared with.

    Raises:
        InputError: it was not evaluated.
    """
    names = list(dict.fromkeys(row["localizer"] for row in evaluation["rows"]))
    if against not in names:
        raise InputError(f"localizer {against!r} was not evaluated; these were: {', '.join(names)}")
    names.sort(key=lambda name: name != against)
    better = {}
    for each in evaluation["comparisons"]:
        if against in (each["a"], each["b"]):
            other = each["b"] if each["a"] == against else each["a"]
            better[other, each["metric"]] = {other: "+", against: "-"}.get(each["better"], "")
    found = {(row["localizer"], row["metric"]): row for row in evaluation["rows"]}
    lines = [f"| metric | {' | '.join(names)} | n |", "|" + "---|" * (len(names) + 2)]
    for metric in dict.fromkeys(row["metric"] for row in evaluation["rows"]):
        cells = [_cell(found[name, metric]["mean"], better.get((name, metric), "")) for name in names]
        arrow = "↑" if HIGHER_IS_BETTER.get(metric, True) else "↓"
        lines.append(f"| `{metric}` {arrow} | {' | '.join(cells)} | {found[against, metric]['n']} |")
    marks = [[better.get((name, metric), "") for name, metric in found if name == each] for each in names]
    counts = ["" if each == against else f"{own.count('+')} / {own.count('-')}" for each, own in zip(names, marks)]
    lines.append(f"| ahead / behind | {' | '.join(counts)} | |")
    seconds = [
        short(next(row["seconds_per_map"] for row in evaluation["rows"] if row["localizer"] == n)) for n in names
    ]
    lines.append(f"| seconds a map | {' | '.join(seconds)} | |")
    return "\n".join(lines)


def _cell(mean: float | None, mark: str) -> str:
    return "" if mean is None else f"{short(mean)} {mark}".strip()


if __name__ == "__main__":
    sys.exit(main())
