"""Where a learned mask misses the true cause most: a picture of an evaluation's worst maps beside the truth.

    protomask evaluate RUN --localizers mdm,oracle --metrics causal_overlap
    python benchmarks/failures.py RUN failures.png

For a run on ``parts``, whose truth is known: of the pairs in RUN/evaluation.json whose similarity falls by at least
``--least`` without some part, those with the smallest ``causal_overlap``; each as the scene, the localizer's map over
it, and what its similarity truly rests on. Prototypes of the background, for which no part matters, are so left out.
docs/pictures/failures.png is drawn so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from protomask.errors import InputError
from protomask.evaluation import Oracle
from protomask.evaluation.batch import Batch, Subject
from protomask.explanations.predictions import as_pictures
from protomask.freezing import frozen
from protomask.localizers import get_localizer
from protomask.report import style
from protomask.run import open_run

TILE, GAP, LINE = 1.3, 0.08, 0.3
"""inches: a picture's side, what is between two, a line of text"""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a trained and evaluated run on parts")
    parser.add_argument("picture", type=Path, help="PNG, PDF or SVG that is written")
    parser.add_argument("--localizer", default="mdm")
    parser.add_argument("--count", type=int, default=5, help="how many of the worst (5)")
    parser.add_argument(
        "--least", type=float, default=0.2, help="share of the similarity that some part must be worth (0.2)"
    )
    options = parser.parse_args(words)
    try:
        draw(options.run, options.picture, options.localizer, options.count, options.least)
    except InputError as error:
        print(f"failures.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def draw(run: str, picture: Path, name: str, count: int, least: float) -> None:
    if count < 1:
        raise InputError(f"--count is {count}; draw at least 1")
    opened = open_run(run, device="cpu", progress=False)
    evaluated = opened.files.read("evaluation.json") or {}
    overlap = evaluated.get("values", {}).get(name, {}).get("causal_overlap")
    if overlap is None:
        raise InputError(
            f"{run} has no causal_overlap of {name}; run: protomask evaluate {run} --localizers {name} --metrics "
            "causal_overlap"
        )
    network, data, subject = opened.network, opened.test, Subject(opened.network)

    def pairs(places: list[int]) -> Batch:
        positions, prototypes = (
            [evaluated["pairs"][key][place] for place in places] for key in ("positions", "prototypes")
        )
        return Batch(subject, data, positions, torch.tensor(prototypes), "cpu", 16)

    with frozen(network):
        everything = pairs(list(range(len(overlap))))
        matters = (everything.importance.amax(1) >= least * everything.whole).tolist()
        places = [place for place, value in enumerate(overlap) if value is not None and matters[place]]
        worst = sorted(places, key=overlap.__getitem__)[:count]
        if len(worst) < count:
            raise InputError(
                f"only {len(worst)} pairs of {run} rest on a part by {least} of their similarity; lower --count or "
                "--least"
            )
        batch = pairs(worst)
        maps = get_localizer(name)(network, batch.images, batch.index).numpy()
        truth = Oracle().from_truth(batch).numpy()
    width = count * TILE + (count - 1) * GAP
    figure = style.new_figure(width, 3 * TILE + 2 * GAP + LINE)
    for column, pixels in enumerate(as_pictures(batch.images, network)):
        left = column * (TILE + GAP)
        style.write(figure, left, 0.05, f"overlap {overlap[worst[column]]:.2f}")
        for row, saliency in enumerate((None, maps[column], truth[column])):
            axes = style.place(figure, left, LINE + row * (TILE + GAP), TILE, TILE)
            style.tile(axes, pixels, saliency=saliency, localizer=name, overlay=0.6 if row else 0.0)
    style.save_figure(figure, picture, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
