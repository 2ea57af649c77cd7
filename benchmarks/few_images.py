"""Measure what few images, and classes of unequal size, cost a prototype network on a frozen backbone.

    python benchmarks/few_images.py --data cub --root CUB_200_2011 --backbone NAME --weights FILE --per-class 5,10,20,0
    python benchmarks/few_images.py --data busi --root BUSI --backbone NAME --weights FILE --per-class 0 --balance both

The feature maps of all images are computed once; each training takes some of them. Prints a line of JSON for each
training, then a Markdown table of means and ranges over the seeds. Where a class has fewer images than are asked for,
all of them are taken, and both say so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from protomask.errors import InputError
from protomask.networks import get_network
from protomask.options import Options
from protomask.run.frozen import VIEWS
from protomask.run.measures import with_test_accuracy
from protomask.run.setup import choose_device, complete, open_data, plan_of, training_set
from protomask.training import train
from protomask.training.feature_maps import passing_features, store_features
from protomask.training.stages import TrainingSet

WHEN = {"test before projection": "before", "test after projection": "after", "test at the end": "re-fitted"}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--network", default="protopnet")
    made.add_argument("--data", default="cub")
    made.add_argument("--root", required=True, metavar="DIR")
    made.add_argument("--backbone", required=True, metavar="NAME")
    made.add_argument("--weights", required=True, metavar="FILE")
    made.add_argument("--image-size", type=int)
    made.add_argument(
        "--per-class", default="5,10,20,0", help="training images of each class, all that it has where fewer; 0: all"
    )
    made.add_argument("--balance", choices=("no", "yes", "both"), default="no")
    made.add_argument("--seeds", default="0,1,2", help="of the images that are chosen, and of the training")
    made.add_argument("--epochs", type=int)
    made.add_argument("--device", default="auto")
    return made


def choose(labels: torch.Tensor, each: int, seed: int) -> torch.Tensor:
    """Choose ``each`` images of every class, all where 0; positions in ascending order."""
    if not each:
        return torch.arange(len(labels))
    if labels.ndim == 2:
        raise InputError("--per-class: images of several findings have no class each; give 0, for all of them")
    generator = torch.Generator().manual_seed(seed)
    parts = [(labels == label).nonzero().flatten() for label in labels.unique()]
    return torch.cat([part[torch.randperm(len(part), generator=generator)[:each]] for part in parts]).sort().values


def numbers(words: str, option: str) -> list[int]:
    """Read whole numbers from 0 on, separated by commas; InputError: something else, or none."""
    texts = [text.strip() for text in words.split(",") if text.strip()]
    if not texts or not all(text.isdecimal() for text in texts):
        raise InputError(f"{option} is {words!r}; give whole numbers of at least 0, separated by commas")
    return [int(text) for text in texts]


def of_each_class(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Count the images of each class, or finding."""
    return labels.sum(0).long() if labels.ndim == 2 else torch.bincount(labels, minlength=classes)


def asked(each: int, sizes: torch.Tensor) -> str:
    """Label a row of the table by what was asked for, and in how many classes there was less.

    >>> asked(5, torch.tensor([5, 3, 5]))
    '5 (fewer in 1 of 3 classes, 3 at least)'
    """
    fewer = int((sizes < each).sum())
    least = f" (fewer in {fewer} of {len(sizes)} classes, {int(sizes.min())} at least)" if fewer else ""
    return f"{each}{least}" if each else "all"


def measure(options: Options, setup: TrainingSet, test, classes: tuple[str, ...]) -> dict:
    """Train one network on stored feature maps, and say what its answers on the test images are worth."""
    chosen = complete(options)
    torch.manual_seed(options.seed)
    network = get_network(options.network).build(chosen, classes).to(setup.device)
    with passing_features(network):
        rows = train(network, with_test_accuracy(plan_of(network, chosen), test), setup)
    found = {}
    for row in rows:
        if row["stage"] in WHEN:
            scores = [each["auroc"] for each in row["per_class"].values() if each["auroc"] is not None]
            found[WHEN[row["stage"]]] = {"accuracy": row["test_accuracy"], "auroc": sum(scores) / len(scores)}
    return {**found, "seconds": sum(row["seconds"] for row in rows)}


def main(words: Sequence[str] | None = None) -> int:
    given = parser().parse_args(words)
    options = Options(
        network=given.network,
        data=given.data,
        root=given.root,
        backbone=given.backbone,
        weights=given.weights,
        image_size=given.image_size,
        epochs=given.epochs,
        recipe="frozen",
        validation=0.0,
        device=given.device,
    )
    try:
        counts, seeds = numbers(given.per_class, "--per-class"), numbers(given.seeds, "--seeds")
        chosen = complete(options)
        splits, device = open_data(options), choose_device(options.device)
        for each in counts:  # whether it can be done, before anything is computed
            choose(splits.train.labels, each, 0)
        network = get_network(options.network).build(chosen, splits.train.classes).to(device).eval()
        setup = training_set(chosen, splits, network, device, progress=sys.stderr.isatty())
        table: dict[tuple[str, str], list[dict]] = {}
        with tempfile.TemporaryDirectory() as folder:
            test = splits.test.with_transform(setup.plain.transform)
            kept = [
                store_features(network, data, setup, Path(folder), name, views)
                for data, name, views in (
                    (setup.train, "training", VIEWS),
                    (setup.plain, "plain", 1),
                    (test, "test", 1),
                )
            ]
            for each in counts:
                for balance in {"no": (False,), "yes": (True,), "both": (False, True)}[given.balance]:
                    for seed in seeds:
                        some = choose(kept[1].labels, each, seed)
                        own = replace(
                            setup,
                            train=kept[0].subset(some),
                            plain=kept[1].subset(some),
                            workers=0,
                            seed=seed,
                            balance=balance,
                        )
                        found = measure(options.replace(seed=seed), own, kept[2], splits.train.classes)
                        sizes = of_each_class(own.plain.labels, len(splits.train.classes))
                        kind = (asked(each, sizes), "yes" if balance else "no")
                        table.setdefault(kind, []).append(found)
                        spans = {"per class": each, "fewest": int(sizes.min()), "most": int(sizes.max())}
                        print(json.dumps({**spans, "balance": balance, "seed": seed, **found}), flush=True)
    except (InputError, ValueError) as error:
        print(f"few_images.py: {error}", file=sys.stderr)
        return 2
    print("| images per class | balanced | accuracy before projection | after | re-fitted | AUROC re-fitted |")
    print("|---|---|---|---|---|---|")
    for (each, balance), rows in table.items():
        cells = [spread([row[when]["accuracy"] for row in rows]) for when in WHEN.values()] + [
            spread([row["re-fitted"]["auroc"] for row in rows])
        ]
        print(f"| {each} | {balance} | {' | '.join(cells)} |")
    return 0


def spread(values: Sequence[float]) -> str:
    """Write mean and range.

    >>> spread([0.8, 0.84, 0.82])
    '0.820 [0.800, 0.840]'
    """
    return f"{sum(values) / len(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    sys.exit(main())
