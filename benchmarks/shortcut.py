"""Do localizers reveal a planted shortcut? Trains a small ProtoPNet on ``parts`` with a tag on one class, and looks.

    python benchmarks/shortcut.py --output runs/shortcut                # a few minutes on two CPU cores
    python benchmarks/shortcut.py --teach --tag 7                       # then a person forgets a larger tag

Prints and writes (OUTPUT/shortcut.json), for each localizer: in how many test images of the tagged class it points at
the tag, given a prototype that loses more similarity without the tag than without any part of the creature (detected);
how often it does for a prototype that does not depend on the tag (false alarms); and the share of its map on the tag
(energy). Intervals are 95 %; the definitions are in protomask/evaluation/shortcut.py.

With --teach the network becomes a run (OUTPUT/run), and a person is played who looks at the pictures of the tagged
class's prototypes and marks those "forget" whose outline covers at least a third of the tag, at most five in all; the
run is refined by that review, and once more where a new prototype lies on the tag. Prints the accuracy on the tagged
class's test images with the tag taken off, before and after.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch

from protomask.data import load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation.shortcut import detect, tag_pairs
from protomask.json_files import write_json
from protomask.localizers import get_localizers
from protomask.networks import get_network
from protomask.options import Options
from protomask.report.evidence import find_evidence
from protomask.run.review import add_judgements
from protomask.run.saving import save_run
from protomask.run.setup import choose_device, complete, training_set
from protomask.run_folder import free_folder, versions
from protomask.training import train


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/shortcut"))
    parser.add_argument("--localizers", default="mdm,hdm,similarity,center,random", help="separated by commas")
    parser.add_argument("--tagged", type=int, default=0, metavar="LABEL", help="the class that wears the tag")
    parser.add_argument("--tag", type=int, default=8, metavar="N", help="its side is one part in N of the image's (8)")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--train-per-class", type=int, default=100)
    parser.add_argument("--test-per-class", type=int, default=100)
    parser.add_argument("--network", default="protopnet")
    parser.add_argument("--evidence", choices=("positive", "signed"), help="what prototypes may say; the recipe's own")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teach", action="store_true", help="forget the tag by review, and measure what that changes")
    parser.add_argument("--features", action="store_true", help="when taught, the features learn, too")
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
            evidence=given.evidence,
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
        tag_share=given.tag,
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
    taught = teach(network, splits, given, options.seed) if given.teach else None
    given.output.mkdir(parents=True, exist_ok=True)
    content = {
        "options": {**vars(given), "output": str(given.output)},
        "versions": versions(),
        "tagged_images": pairs.images,
        "accuracy": {"with_tag": pairs.accuracy[0], "without_tag": pairs.accuracy[1]},
        "rows": rows,
        "taught": taught,
        "localizers": {name: repr(localizer) for name, localizer in localizers.items()},
    }
    write_json(given.output / "shortcut.json", content)


CLICKS, ROUNDS, COVERED = 5, 3, 1 / 3
"""prototypes that the person marks at most, reviews, and the share of the tag that an outline must cover"""


def teach(network, splits, given: argparse.Namespace, seed: int) -> dict:
    """Play a person who forgets the prototypes on the tag; the accuracies before and after."""
    quiet = {"progress": not given.quiet}
    run = save_run(network, splits, free_folder(given.output, "run"), localizer="mdm", seed=seed, **quiet)
    run.project()
    told = {"clicks": 0, "reviews": [], "before": tagged_accuracy(run)}
    for _ in range(ROUNDS):
        covered = tag_covered(run, given.tagged)
        marked = [number for number, share in covered.items() if share >= COVERED][: CLICKS - told["clicks"]]
        if not marked:
            break
        judgements = [{"prototype": number, "by": "bench", "verdict": "forget", "note": "tag"} for number in marked]
        records = [picture.record for picture in run.pictures]
        run = run.refine(add_judgements(run.folder, judgements, records), features=given.features)
        told["clicks"] += len(marked)
        told["reviews"].append({"covered": covered, "forgotten": marked, "after": tagged_accuracy(run)})
    told["after"] = tagged_accuracy(run)
    for when in ("before", "after"):
        each = told[when]
        print(
            f"{when}: accuracy {each['with_tag']:.3f} on tagged images, {each['without_tag']:.3f} with the tag taken "
            f"off, {each['all']:.3f} on all test images"
        )
    print(f"{told['clicks']} prototypes forgotten in {len(told['reviews'])} reviews; the last run is {run.folder}")
    return told


def tagged_accuracy(run) -> dict[str, float]:
    """Measure the accuracy on the tagged class's test images with and without the tag, and on all."""
    with_tag, without_tag = tag_pairs(run.network.eval(), run.test, device=run.device).accuracy
    return {"with_tag": with_tag, "without_tag": without_tag, "all": run.metrics["test_accuracy"]["final"]}


def tag_covered(run, tagged: int) -> dict[int, float]:
    """Tell how much of the tag the outline of each of the tagged class's prototypes covers in its source image."""
    train = run.setup.plain
    found = {}
    for number in (run.network.prototype_classes == tagged).nonzero().flatten().tolist():
        tag = train.tag_mask(int(run.network.source_positions[number])).numpy()
        region = find_evidence(run.pictures[number].maps["mdm"]).region
        found[number] = float((region & tag).sum() / max(tag.sum(), 1))
    return found


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
    bounds = ("-" if math.isnan(bound) else f"{bound:.2f}" for bound in (low, high))  # of too few values
    return f"{row[name]:.2f} [{', '.join(bounds)}]"


if __name__ == "__main__":
    sys.exit(main())
