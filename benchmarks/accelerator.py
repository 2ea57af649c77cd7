"""Does everything run on an accelerator, how fast, and are the maps those of the processor? One command, one table.

    python benchmarks/accelerator.py --device cuda              # in an environment with .[test]; about half an hour
    python benchmarks/accelerator.py --device cuda --only job,maps --training --epochs=2 --image-size=64

Each step is a process of its own, so that one that fails does not stop the others; what it prints is in
OUTPUT/STEP.log. Written to OUTPUT/accelerator.md and .json: whether each step ended well, its seconds, and its last
words.

    suite       the fast tests
    job         the main job with --precision bf16, its pictures, evaluation and report
    distill     an explainer for that run
    masks       MDM's maps per second at several batch sizes (benchmarks/masks.py --speed)
    maps        MDM's and HDM's maps of that run's test images, made on the device, on the processor, and on the device
                one by one: rank correlation and what the first tenths share
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from protomask import open_run
from protomask.data import collate
from protomask.errors import InputError
from protomask.localizers import get_localizers
from protomask.metrics import map_correlation
from protomask.metrics.steadiness import shared_first
from protomask.run.setup import choose_device

HOME = Path(__file__).resolve().parent.parent
STEPS = ("suite", "job", "distill", "masks", "maps")
IMAGES = 8
"""of which maps are compared"""


def main(words: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    more = words[words.index("--training") + 1 :] if "--training" in words else []
    given = parser().parse_args(words[: len(words) - len(more)])
    try:
        return run(given, more)
    except InputError as error:
        print(f"accelerator: error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--device", default="cuda", help="cuda, or cpu to try this script (cuda)")
    found.add_argument("--only", default=",".join(STEPS), metavar="STEPS", help="separated by commas")
    found.add_argument("--output", type=Path, default=Path("runs/accelerator"), help="a folder (runs/accelerator)")
    found.add_argument("--training", action="store_true", help="what follows are further options of the main job")
    found.add_argument("--compare", type=Path, metavar="RUN", help=argparse.SUPPRESS)  # the step maps, in its process
    return found


def run(given: argparse.Namespace, more: list[str]) -> int:
    """Run the steps; 0 where all ended well."""
    device = choose_device(given.device)
    if given.compare is not None:
        print(compare(given.compare, device))
        return 0
    wanted = given.only.split(",")
    unknown = [step for step in wanted if step not in STEPS]
    if unknown:
        raise InputError(f"--only names no such step: {', '.join(unknown)}; choose from {', '.join(STEPS)}")
    given.output.mkdir(parents=True, exist_ok=True)
    job = given.output / "job"
    commands = {
        "suite": ["-m", "pytest", "-q"],
        "job": ["train.py", "--device", given.device, "--precision", "bf16", "--output", str(job.resolve()), *more],
        "distill": ["-m", "protomask", "distill", str(job.resolve())],
        "masks": [
            "benchmarks/masks.py",
            "--device",
            given.device,
            "--speed",
            "resnet50",
            "--output",
            str((given.output / "masks").resolve()),
        ],
        "maps": [str(Path(__file__).resolve()), "--device", given.device, "--compare", str(job.resolve())],
    }
    rows = []
    for step in (step for step in STEPS if step in wanted):
        print(f"{step} ...", flush=True)
        rows.append({"step": step, **step_of(commands[step], given.output / f"{step}.log")})
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    text = table(rows, f"{where}, torch {torch.__version__}")
    (given.output / "accelerator.md").write_text(text + "\n", encoding="utf-8")
    content = {"device": where, "torch": torch.__version__, "steps": rows}
    (given.output / "accelerator.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0 if all(row["ended"] == 0 for row in rows) else 1


def step_of(command: list[str], log: Path) -> dict:
    """Run a command of this environment in the project's folder: its exit code, seconds and last words."""
    begin = time.perf_counter()
    path = os.pathsep.join(filter(None, (str(HOME), os.environ.get("PYTHONPATH"))))
    with log.open("w", encoding="utf-8") as file:
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": path},
            stdout=file,
            stderr=subprocess.STDOUT,
        ).returncode
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    last = lines[-1].rsplit("\r", 1)[-1].strip() if lines else ""
    return {"ended": ended, "seconds": time.perf_counter() - begin, "last": last}


def table(rows: list[dict], where: str) -> str:
    lines = [f"{where}:", "", "| step | ended well | seconds | its last words |", "|---|---|---|---|"]
    for row in rows:
        well = "yes" if row["ended"] == 0 else f"no ({row['ended']})"
        lines.append(f"| {row['step']} | {well} | {row['seconds']:.0f} | {row['last'].replace('|', '/')} |")
    return "\n".join(lines)


def compare(folder: Path, device: torch.device, localizers: str = "mdm,hdm") -> str:
    """Make maps of a run's test images thrice: in a batch on the device, on the processor, one by one on the device."""
    found: dict[str, dict[str, Tensor]] = {}
    index = None
    for way, where, at_once in (
        ("batch", device, IMAGES),
        ("cpu", torch.device("cpu"), IMAGES),
        ("single", device, 1),
    ):
        run = open_run(folder, device=str(where), progress=False)
        images = collate([run.test[place] for place in range(min(IMAGES, len(run.test)))])["images"].to(where)
        with torch.no_grad():
            index = run.network(images).similarities.argmax(1) if index is None else index.to(where)
        for name, localizer in get_localizers(localizers).items():
            parts = [localizer(run.network, *pair) for pair in zip(images.split(at_once), index.split(at_once))]
            found.setdefault(name, {})[way] = torch.cat(parts).cpu()
    told = []
    for name, maps in found.items():
        for way in ("cpu", "single"):
            ranks, first = map_correlation(maps["batch"], maps[way]), shared_first(maps["batch"], maps[way])
            told.append(f"{name} batch against {way}: ranks {ranks.mean():.3f}, first tenths {first.nanmean():.3f}")
    return "; ".join(told)


if __name__ == "__main__":
    sys.exit(main())
