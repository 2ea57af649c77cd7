"""Quality and cost of localizers on the same images, for a plain classifier's own top class.

    python benchmarks/masks.py --root CUB_200_2011 --weights FILE --images 100 --methods gradcam,mdm --output runs/masks
    python benchmarks/masks.py --device cuda --speed resnet50        # maps per second, memory, speed-up of batching

Every (method, image) is measured once and kept in OUTPUT; the same command goes on where it was stopped, and methods
that are measured later meet the same images. At the end a table of all that OUTPUT holds is printed, and written to
OUTPUT/masks.json.

The class is the one the classifier finds most probable. Insertion and deletion are RISE's, in softmax probabilities;
average drop and gain in percent; energy pointing and the pointing game against the boxes, in whole images squashed to a
square. Intervals are 95 %, over images; differences are paired, verdicts corrected for all metrics. Seconds are those
of the whole call per image, with ``--batch-size`` images in a call, on the clock and (of all threads together) on the
processor, which a busy machine does not lengthen; passes are counted per image.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from bad_input import exit_code
from methods import SCORES, CountedClassifier, Method
from subject import add_options, chosen_methods, opened
from tables import difference_table, differences, means, table
from throughput import throughput
from torch import Tensor
from tqdm import tqdm

from protomask import localizers, metrics
from protomask.backbones.classifier import BuiltClassifier
from protomask.code_digests import code_digest
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.files import file_name
from protomask.fingerprints import fingerprint
from protomask.json_files import write_json
from protomask.localizers import get_localizer
from protomask.metrics import (
    average_drop,
    average_gain,
    box_regions,
    deletion,
    energy_pointing,
    insertion,
    masked_scores,
    pointing_game,
)
from protomask.run.setup import choose_device
from protomask.run_folder import versions
from protomask.statistics import Comparison, Interval

FULL = 0.95
"""A box that covers more of the image than this decides nothing."""


def main(words: list[str] | None = None) -> int:
    options = parser().parse_args(words)
    return exit_code("masks.py", lambda: run(options))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(found, methods="mdm,gradcam", images=100, help="its folder; without it, only speed is measured")
    found.add_argument("--speed", metavar="MODEL", help="timm model whose speed is measured; resnet50 on CUDA")
    found.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so long")
    found.add_argument("--seed", type=int, default=0, help="of the choice of images")
    found.add_argument("--output", default="runs/masks", help="folder of the measurements (runs/masks)")
    return found


def run(options: argparse.Namespace) -> None:
    device, output = choose_device(options.device), Path(options.output)
    methods = chosen_methods(options)
    output.mkdir(parents=True, exist_ok=True)
    speed = measure_speed(options, device, output)
    if options.root is None:
        if speed is None:
            raise InputError(
                "--root names no data set; give the folder of the images, or --speed MODEL for the speed alone"
            )
        return
    built, data, order = opened(options, device, torch.Generator().manual_seed(options.seed))
    # What every row must share with this call, to be one of its measurements.
    setting = {
        "data": data.fingerprint(),
        "split": options.split,
        "model": options.model,
        "image_size": built.image_size,
        "weights": fingerprint(built.model),
        "code": [code_digest(localizers), code_digest(metrics)],
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    deadline = time.monotonic() + 60 * options.minutes
    measure_all(methods, built, data.subset(order), output, setting, options.batch_size, deadline, device)
    rows = {}
    for name in dict.fromkeys([*SCORES, *methods]):
        # Of a method of this call its own rows: the latest in the file may be those of another batch size.
        if kept := read(output, name, setting, methods.get(name), options.batch_size):
            rows[name] = {
                data.names[place]: kept[data.names[place]] for place in order.tolist() if data.names[place] in kept
            }
    ours = [name for name in ("mdm", "hdm") if name in rows]
    print(f"{table(rows)}\n\n{difference_table(rows, ours)}")
    content = {
        "setting": setting,
        "weights": options.weights,
        "versions": versions(),
        "throughput": speed,
        "means": _named(means(rows)),
        "differences": {one: _named(others) for one, others in differences(rows, ours).items()},
        "rows": rows,
    }
    write_json(output / "masks.json", content)


def measure_speed(options: argparse.Namespace, device: torch.device, output: Path) -> list[dict] | None:
    """MDM's speed, printed and written to OUTPUT/throughput.json; on a CPU with one batch size alone, since maps take
    long there."""
    name = options.speed or ("resnet50" if device.type == "cuda" else None)
    if name is None:
        return None
    few = {"precisions": ("fp32", "bf16")} if device.type == "cuda" else {"batches": (8,), "repeats": 2}
    rows = throughput(get_localizer("mdm"), device, name=name, side=options.image_size or 224, **few)
    for row in rows:
        print(json.dumps({"model": name, **row}))
    write_json(output / "throughput.json", {"model": name, "device": str(device), "rows": rows})
    return rows


def measure_all(
    methods: dict[str, Method],
    built: BuiltClassifier,
    data: AnnotatedImages,
    output: Path,
    setting: dict,
    batch_size: int,
    deadline: float,
    device: torch.device,
) -> None:
    """Measures what is missing, a few images at a time, every method in turn, and appends it to OUTPUT/METHOD.jsonl."""
    if importlib.util.find_spec("captum"):
        import captum.attr  # noqa: F401 - so that no method pays for the import
    done = {name: read(output, name, setting, method, batch_size) for name, method in methods.items()}
    total = sum(len(data) - sum(name in done[method] for name in data.names) for method in methods)
    warm = torch.zeros(batch_size, 3, built.image_size, built.image_size, device=device)
    built.model(warm).sum().backward()
    built.model.zero_grad()
    with tqdm(total=total, desc="maps", unit="map") as bar:
        for start in range(0, len(data), batch_size):
            for name, method in methods.items():
                positions = [
                    place
                    for place in range(start, min(start + batch_size, len(data)))
                    if data.names[place] not in done[name]
                ]
                if not positions or time.monotonic() > deadline:
                    continue
                rows = measure(method, built, data, positions, device)
                identity = {
                    "localizer": repr(method.localizer),
                    "score": method.score,
                    "batch_size": batch_size,
                    "setting": setting,
                }
                named = [{"image": data.names[place], **identity, **row} for place, row in zip(positions, rows)]
                append(output / f"{file_name(name)}.jsonl", named)
                bar.update(len(positions))


def measure(
    method: Method, built: BuiltClassifier, data: AnnotatedImages, positions: list[int], device: torch.device
) -> list[dict]:
    """One row per image; None where a metric is undefined."""
    batch = collate([data[place] for place in positions])
    images = batch["images"].to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        probabilities = built.model(images).softmax(1)
    whole, index = probabilities.max(1)
    explained = CountedClassifier(built.model, method.score, mean=built.mean, std=built.std)
    _wait(device)
    start, busy = time.perf_counter(), time.process_time()
    saliency = method.localizer(explained, images, index)
    _wait(device)
    count, seconds, busy = len(positions), time.perf_counter() - start, time.process_time() - busy
    judge = Classifier(built.model, "probability")

    def score(perturbed: Tensor, classes: Tensor) -> Tensor:
        return judge.score(perturbed.contiguous(memory_format=torch.channels_last), classes)

    kept = masked_scores(score, images, index, saliency)
    region = box_regions(batch["boxes"], *images.shape[2:]).to(device)
    region &= region.float().mean((1, 2), keepdim=True) <= FULL
    found = {
        "insertion": insertion(score, images, index, saliency).auc,
        "deletion": deletion(score, images, index, saliency).auc,
        "average_drop": average_drop(whole, kept),
        "average_gain": average_gain(whole, kept),
        "energy": energy_pointing(saliency, region),
        "pointing": pointing_game(saliency, region, tolerance=15 * built.image_size / 224),
        "probability": whole,
    }
    cost = {
        "seconds": seconds / count,
        "cpu_seconds": busy / count,
        "forward": explained.tally.forward / count,
        "backward": explained.tally.backward / count,
    }
    return [
        {"class": int(index[place]), **cost, **{key: _or_none(values[place].item()) for key, values in found.items()}}
        for place in range(count)
    ]


def append(path: Path, rows: Iterable[dict]) -> None:
    """Append a line for each row; a last line that a kill cut off is ended first, or the next row would be lost."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            text = text if file.read() == b"\n" else "\n" + text
        file.write(text.encode())


def read(output: Path, name: str, setting: dict, method: Method | None, batch_size: int = 0) -> dict[str, dict]:
    """image -> row of OUTPUT/NAME.jsonl with this setting, and the method's own with this batch size (which its seconds
    depend on); the last row of an image counts.

    Without ``method``, of several settings of it in the file the latest alone is given.
    """
    path = output / f"{file_name(name)}.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:  # the line that an interruption cut off
            continue
    rows = [row for row in rows if row["setting"] == setting]
    if not rows:
        return {}
    kinds = [(row["localizer"], row["score"], row.get("batch_size", 0)) for row in rows]
    wanted = kinds[-1] if method is None else (repr(method.localizer), method.score, batch_size)
    return {row["image"]: row for row, kind in zip(rows, kinds) if kind == wanted}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _named(table: dict) -> dict:
    return {name: {key: _plain(each) for key, each in columns.items()} for name, columns in table.items()}


def _plain(found: Interval | Comparison) -> dict:
    if isinstance(found, Interval):
        return found._asdict()
    return found.interval._asdict() | {"p": found.p, "p_corrected": found.p_corrected, "needed": found.needed}


if __name__ == "__main__":
    sys.exit(main())
