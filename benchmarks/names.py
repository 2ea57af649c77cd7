"""What the names and labels of a large data set take: memory of each loading process, and seconds until it starts.

    python benchmarks/names.py --images 1281167 --workers 2

Names are made up. Each loading process reads the names of a share of its images, as loading does; its own memory (what
it shares with nobody) is printed beside that of the same with Python's own texts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import torch
from bad_input import check_counts, exit_code

from protomask.data.images import AnnotatedImages


def main(words: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--images", type=int, default=1_281_167)
    found.add_argument("--classes", type=int, default=1000)
    found.add_argument("--workers", type=int, default=2)
    options = found.parse_args(words)
    return exit_code("names", lambda: run(options))


def run(options: argparse.Namespace) -> None:
    check_counts(options, ("images", "classes", "workers"))
    print(
        json.dumps({"empty process": memory(), "arrays": measure(options), "objects": measure(options, True)}, indent=1)
    )


def name(number: int, classes: int) -> str:
    return f"train/n{number % classes:08d}/n{number % classes:08d}_{number}.JPEG"


def measure(options: argparse.Namespace, objects: bool = False) -> dict:
    """Make the data set, divide it, and read names in forked processes."""
    begin = time.perf_counter()
    texts = (name(number, options.classes) for number in range(options.images))
    data = AnnotatedImages((), [], ())
    if objects:
        names = tuple(texts)
    else:
        data = AnnotatedImages(map(str, range(options.classes)), torch.arange(options.images) % options.classes, texts)
        data = data.subset(torch.randperm(options.images))
        names = data.names
    made = time.perf_counter() - begin
    with multiprocessing.get_context("fork").Pool(options.workers, _keep, (names,)) as pool:
        apart = pool.map(_read, range(options.workers), 1)
        started = time.perf_counter() - begin
    return {"seconds": made, "seconds_with_processes": started, "main": memory(), "loading": apart}


_NAMES: list = []


def _keep(names) -> None:
    _NAMES[:] = [names]


def _read(_: int) -> dict[str, float]:
    names = _NAMES[0]
    letters = sum(len(names[place]) for place in range(0, len(names), 3))
    return {**memory(), "letters": letters}


def memory() -> dict[str, float]:
    """Megabytes of this process: all that it sees, and what it shares with no other."""
    rows = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {row[0].rstrip(":"): int(row[1]) for row in rows}
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"resident": kilobytes["Rss"] / 1024, "own": own / 1024, "share": kilobytes["Pss"] / 1024}


if __name__ == "__main__":
    raise SystemExit(main())
