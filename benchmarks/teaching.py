"""What does teaching cost and change? Forgets the prototypes of a run that look least at the object, and compares.

    python benchmarks/teaching.py runs/birds --forget 10
    python benchmarks/teaching.py runs/birds --forget 10 --features  # the features learn, too

Plays a person who looks at the gallery and marks those N prototypes "forget" whose learned masks in their training
pictures lie beside the object most (background, burnt-in letters, calipers); nothing of the test images is looked at.
The run is refined by that review, into RUN-taught or --output, and the price is printed: accuracy on the test images
before and after with the 95 % interval of the paired difference, the share of the prototypes' masks beside the object,
and the same for those that were marked and their successors. RUN must be of data that know where the object is.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
from bad_input import check_counts, exit_code

from protomask import open_run
from protomask.errors import InputError
from protomask.json_files import write_json
from protomask.run.review import Review, add_judgements


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run with pictures of its prototypes; it stays as it is")
    parser.add_argument("--forget", type=int, default=10, metavar="N", help="prototypes that are marked (10)")
    parser.add_argument("--epochs", type=int, help="in which the network settles (3)")
    parser.add_argument("--features", action="store_true", help="the features learn, too")
    parser.add_argument("--root", help="folder of the data; the run's own by default")
    parser.add_argument("--output", type=Path, help="folder of the new run; RUN-taught by default")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args(words)
    return exit_code("teaching", lambda: teach(given))


def teach(given: argparse.Namespace) -> dict:
    """Forget, refine and print; what was measured."""
    check_counts(given, ["forget"])
    run = open_run(given.run, root=given.root, progress=not given.quiet)
    beside = shares_beside(run)
    if len(beside) < given.forget:
        raise InputError(f"{given.run}: {len(beside)} of its prototypes are known to lie on or beside the object")
    marked = sorted(sorted(beside, key=lambda number: -beside[number])[: given.forget])
    output = given.output or given.run.with_name(given.run.name + "-taught")
    refined = run.refine(review_of(run, marked, output), output=output, epochs=given.epochs, features=given.features)
    told, after = refined.files.read("refined.json"), shares_beside(refined)
    scores, span = told["test_accuracy"], told["difference"]
    print(f"forgotten: {len(marked)} of {len(run.pictures)} prototypes, those most beside the object: {marked}")
    known = span["low"] is not None and span["high"] is not None  # not where next to no answer changed
    interval = f"[{span['low']:+.3f}, {span['high']:+.3f}]" if known else "(too few answers changed for an interval)"
    print(
        f"test accuracy {scores['before']:.3f} -> {scores['after']:.3f}, difference {span['mean']:+.3f} {interval}, "
        f"{told['test_images']} images"
    )
    followed = successors(told["pairs"], marked)
    print(shares_line("all prototypes", beside.values(), after.values()))
    print(
        shares_line(
            "the forgotten and their successors",
            [beside[number] for number in marked],
            [after[number] for number in followed if number in after],
            removed=not followed,
        )
    )
    seconds = refined.metrics["seconds"]["refining"]
    print(f"{seconds:.0f} s; the new run is {refined.folder}")
    found = {"marked": marked, "beside": beside, "beside_after": after, "seconds": seconds, **told}
    write_json(refined.folder / "teaching.json", found)
    return found


def shares_beside(run) -> dict[int, float]:
    """Give the share of each prototype's learned mask beside the object in its training image, where it is known."""
    return {
        picture.record.prototype: next(iter(picture.inspection.outside.values()))
        for picture in run.pictures
        if picture.inspection is not None and picture.inspection.outside
    }


def successors(pairs: list[dict], marked: Collection[int]) -> list[int]:
    """Give the numbers, in the new run, of what stands for the marked prototypes; their own numbers are the old run's.

    Args:
        pairs: of ``refined.json``.
    """
    return sorted({now for pair in pairs if pair["before"] in marked for now in pair["after"]})


def shares_line(name: str, before: Collection[float], after: Collection[float], removed: bool = False) -> str:
    """Say how much lies beside the object before and after, each of its own number of prototypes."""
    half, now = (sum(share > 0.5 for share in shares) for shares in (before, after))
    old = f"beside the object, {name}: {np.mean(list(before)):.1%}"
    if not after:
        return f"{old} -> {'removed' if removed else 'unknown'}; more than half beside it: {half} of {len(before)}"
    return (
        f"{old} -> {np.mean(list(after)):.1%}; more than half beside it: {half} of {len(before)} -> "
        f"{now} of {len(after)}"
    )


def review_of(run, marked: list[int], output: Path) -> Review:
    """Make the review that forgets ``marked``."""
    judgements = [{"prototype": number, "by": "bench", "verdict": "forget", "note": "background"} for number in marked]
    place = output.with_name(output.name + "-review")
    try:
        return add_judgements(place, judgements, [picture.record for picture in run.pictures])
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
