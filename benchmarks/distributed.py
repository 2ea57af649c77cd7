"""Speed of two processes relative to one, on the same machine: training steps, projection and prediction.

    python benchmarks/distributed.py --processes 2 --output runs/distributed.json

Starts itself with one process and, by torchrun, with several; each process with one thread, so that N processes use N
cores. The work is the same: the same batches, shared. Of two training epochs the second is counted (the first pays for
warming up).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bad_input import check_counts, exit_code
from projection import Synthetic

from protomask import distributed
from protomask.backbones import build_backbone
from protomask.devices import choose_device
from protomask.errors import InputError
from protomask.json_files import write_json
from protomask.projection import project
from protomask.run_folder import versions
from protomask.training import Epochs, TrainingSet, predict, train
from protopnet import ProtoPNet
from protopnet.losses import ProtoPNetLoss

RATES = {"backbone": 1e-4, "add_on": 3e-3, "prototypes": 3e-3}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    words = sys.argv[1:] if words is None else words
    options = parser.parse_args(words)
    return exit_code("distributed", lambda: measure(options) if options.measure else compare(options, words))


def compare(options: argparse.Namespace, words: list[str]) -> None:
    """Measure both, and print."""
    check_counts(options, ("images", "classes", "image_size", "batch_size"))
    check_counts(options, ["processes"], 2)
    choose_device(options.device)
    one, several = start(words, 1), start(words, options.processes)
    rows = {name: {"one": one[name], "several": several[name], "speed": one[name] / several[name]} for name in one}
    print(f"{'':12}{'1 process':>12}{f'{options.processes} processes':>14}{'speed':>8}")
    for name, row in rows.items():
        print(f"{name:12}{row['one']:10.1f} s{row['several']:12.1f} s{row['speed']:8.2f}")
    if options.output:
        settings = {name: value for name, value in vars(options).items() if name not in ("output", "measure")}
        write_json(options.output, {"options": settings, "versions": versions(), "rows": rows})


def start(words: list[str], processes: int) -> dict[str, float]:
    """The seconds that so many processes take.

    Raises:
        InputError: they failed; what they said stands on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "seconds.json"
        words = [__file__, *words, "--measure", str(result)]
        launcher = (
            ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        )
        done = subprocess.run([sys.executable, *launcher, *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            count = f"{processes} process" + ("es" if processes > 1 else "")
            raise InputError(f"the job of {count} failed ({done.returncode}); mend what it says above")
        return json.loads(result.read_text())


def measure(options: argparse.Namespace) -> None:
    with distributed.job(choose_device(options.device)) as device:
        torch.manual_seed(0)
        data = Synthetic(options.images, options.classes, options.image_size)
        network = ProtoPNet(build_backbone(options.backbone), data.classes, image_size=options.image_size)
        setup = TrainingSet(data, data, data.subset([]), device=device, batch_size=options.batch_size)
        rows = train(network, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup)
        seconds = {"training": rows[-1]["seconds"]}
        for name, work in (
            ("projection", lambda: project(network, setup)),
            ("prediction", lambda: predict(network, data, setup)),
        ):
            distributed.barrier()
            begin = time.perf_counter()
            work()
            distributed.barrier()
            seconds[name] = time.perf_counter() - begin
        if distributed.is_first():
            options.measure.write_text(json.dumps(seconds))


if __name__ == "__main__":
    sys.exit(main())
