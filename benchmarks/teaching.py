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
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from protomask import open_run
from protomask.errors import InputError
from protomask.run.review import Review, add_judgements


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run with pictures of its prototypes; it stays as it is")
    parser.add_argument("--forget", type=int, default=10, metavar="N", help="prototypes that are marked (10)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--features", action="store_true", help="the features learn, too")
    parser.add_argument("--root", help="folder of the data; the run's own by default")
    parser.add_argument("--output", type=Path, help="folder of the new run; RUN-taught by default")
    parser.add_argument("--quiet", action="store_true")
    try:
        teach(parser.parse_args(words))
    except InputError as error:
        print(f"teaching: error: {error}", file=sys.stderr)
        return 2
    return 0


def teach(given: argparse.Namespace) -> dict:
    """Forget, refine and print; what was measured."""
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
    for name, numbers in (("all prototypes", list(beside)), ("the forgotten and their successors", marked)):
        now = [after[number] for number in numbers if number in after]
        print(
            f"beside the object, {name}: {np.mean([beside[number] for number in numbers]):.1%} -> {np.mean(now):.1%}; "
            f"more than half beside it: {sum(beside[number] > 0.5 for number in numbers)} -> "
            f"{sum(share > 0.5 for share in now)} of {len(numbers)}"
        )
    seconds = refined.metrics["seconds"]["refining"]
    print(f"{seconds:.0f} s; the new run is {refined.folder}")
    found = {"marked": marked, "beside": beside, "beside_after": after, "seconds": seconds, **told}
    (refined.folder / "teaching.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def shares_beside(run) -> dict[int, float]:
    """Give the share of each prototype's learned mask beside the object in its training image, where it is known."""
    return {
        picture.record.prototype: next(iter(picture.inspection.outside.values()))
        for picture in run.pictures
        if picture.inspection is not None and picture.inspection.outside
    }


def review_of(run, marked: list[int], output: Path) -> Review:
    """Make the review that forgets ``marked``."""
    judgements = [{"prototype": number, "by": "bench", "verdict": "forget", "note": "background"} for number in marked]
    place = output.with_name(output.name + "-review")
    try:
        return add_judgements(place, judgements, [picture.record for picture in run.pictures])
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
