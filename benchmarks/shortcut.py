"""Do localizers reveal a planted shortcut? Trains a small ProtoPNet on ``parts`` with a tag on one class, and looks.

    python benchmarks/shortcut.py --output runs/shortcut                # a few minutes on two CPU cores

Prints and writes (OUTPUT/shortcut.json), for each localizer: in how many test images of the tagged class it points at
the tag, given a prototype that loses more similarity without the tag than without any part of the creature (detected);
how often it does for a prototype that does not depend on the tag (false alarms); and the share of its map on the tag
(energy). Intervals are 95 %; the definitions are in protomask/evaluation/shortcut.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation.shortcut import detect, tag_pairs
from protomask.localizers import get_localizers
from protomask.networks import get_network
from protomask.options import Options
from protomask.run.setup import choose_device, complete, training_set
from protomask.run_folder import versions
from protomask.training import train


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/shortcut"))
    parser.add_argument("--localizers", default="mdm,hdm,similarity,center,random", help="separated by commas")
    parser.add_argument("--tagged", type=int, default=0, metavar="LABEL", help="the class that wears the tag")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--train-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=100)
    parser.add_argument("--network", default="protopnet")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true")
    try:
        run(parser.parse_args(words))
    except InputError as error:
        print(f"shortcut: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(given: argparse.Namespace) -> None:
    localizers = get_localizers(given.localizers)
    options = complete(
        Options(
            network=given.network,
            epochs=given.epochs,
            image_size=given.image_size,
            seed=given.seed,
            device=given.device,
        )
    )
    splits = load_data(
        "parts",
        classes=given.classes,
        train_per_class=given.train_per_class,
        test_per_class=given.test_per_class,
        shortcut=given.tagged,
        validation=0.0,
        image_size=given.image_size,
        progress=not given.quiet,
    )
    device = choose_device(options.device)
    torch.manual_seed(options.seed)
    module = get_network(options.network)
    network = module.build(options, splits.train.classes)
    setup = training_set(options, splits, network, device, not given.quiet)
    train(network, module.stages(network, options), setup)
    test = splits.test.with_transform(evaluation_transform(options.image_size, network.mean, network.std))
    pairs = tag_pairs(network.eval(), test, device=device)
    rows = detect(network, test, localizers, pairs, device=device, progress=not given.quiet)
    print(
        f"class {splits.test.classes[given.tagged]}: {pairs.images} tagged test images, accuracy "
        f"{pairs.accuracy[0]:.3f}, "
        f"{pairs.accuracy[1]:.3f} with the tag taken off; a prototype looks at the tag in {len(pairs.looking)} of "
        "them\n"
    )
    print(table(rows))
    given.output.mkdir(parents=True, exist_ok=True)
    content = {
        "options": {**vars(given), "output": str(given.output)},
        "versions": versions(),
        "tagged_images": pairs.images,
        "accuracy": {"with_tag": pairs.accuracy[0], "without_tag": pairs.accuracy[1]},
        "rows": rows,
        "localizers": {name: repr(localizer) for name, localizer in localizers.items()},
    }
    (given.output / "shortcut.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def table(rows: list[dict]) -> str:
    lines = [("localizer", "detected", "n", "false alarms", "n", "energy on the tag")]
    for row in rows:
        lines.append(
            (
                row["localizer"],
                _cell(row, "detected"),
                str(row["detected_n"]),
                _cell(row, "false_alarms"),
                str(row["false_alarms_n"]),
                _cell(row, "energy"),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _cell(row: dict, name: str) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_interval"]
    return f"{row[name]:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
