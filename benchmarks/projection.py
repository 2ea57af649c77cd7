"""Memory and time of the projection against one bare forward pass over the same images.

    python benchmarks/projection.py --output runs/projection.json          # 2,000 prototypes, 6,000 images
    python benchmarks/projection.py --images 600                           # the memory does not depend on their number

Synthetic images at the network's size, made in memory, so that neither disk nor decoding is measured. Peak memory is
the process's largest resident size so far, less that before the first pass (network and data set there already). Bare
passes are the network's own forward pass in the same batches, one before the projection and one after it; their mean is
what it is compared with, by the clock and in seconds of the processor, which a busy machine does not lengthen.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bad_input import check_counts, exit_code
from torchvision import tv_tensors

from protomask.backbones import build_backbone
from protomask.data import AnnotatedImages
from protomask.devices import choose_device
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.json_files import write_json
from protomask.projection import project
from protomask.run_folder import versions
from protomask.training import TrainingSet
from protopnet import ProtoPNet

CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


class Synthetic(AnnotatedImages):
    """Noise of few cells, magnified and shifted, another for each image; normalised already."""

    def __init__(self, count: int, classes: int, size: int) -> None:
        torch.manual_seed(0)
        self.base = torch.nn.functional.interpolate(torch.randn(1, 3, 17, 17), (size, size), mode="bicubic")[0]
        super().__init__(
            [f"class {number}" for number in range(classes)],
            torch.arange(count) % classes,
            [f"image {number}" for number in range(count)],
        )

    def load(self, index: int) -> dict:
        size = self.base.shape[1]
        image = self.base.roll((index * 7 % size, index * 13 % size), (1, 2)) * (0.5 + index % 11 / 10)
        boxes = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(size, size))
        return {"image": tv_tensors.Image(image), "boxes": boxes}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--prototypes", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--similarity", default="cosine", choices=("cosine", "l2-log"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(words)
    return exit_code("projection", lambda: measure(options))


def measure(options: argparse.Namespace) -> None:
    check_counts(options, ("images", "prototypes", "classes", "image_size", "batch_size"))
    if options.prototypes % options.classes:
        raise InputError(
            f"--prototypes {options.prototypes} is no multiple of --classes {options.classes}; each has equally many"
        )
    device = choose_device(options.device)
    torch.manual_seed(0)
    data = Synthetic(options.images, options.classes, options.image_size)
    network = ProtoPNet(
        build_backbone(options.backbone),
        data.classes,
        image_size=options.image_size,
        prototypes_per_class=options.prototypes // options.classes,
        similarity=options.similarity,
    )
    network.eval().to(device, memory_format=torch.channels_last)
    setup = TrainingSet(data, data, data.subset([]), device=device, batch_size=options.batch_size)

    before = resident()
    passes = [timed(lambda: bare_pass(network, setup), device)]
    peak_bare = peak() - before
    projection = timed(lambda: project(network, setup), device)
    peak_projection = peak() - before
    passes.append(timed(lambda: bare_pass(network, setup), device))
    forward = {clock: sum(taken[clock] for taken in passes) / 2 for clock in CLOCKS}
    ratios = {clock: projection[clock] / forward[clock] for clock in CLOCKS}

    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    found = {
        "options": settings,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "forward": passes,
        "projection": projection,
        "ratios": ratios,
        "peak_mb_forward": peak_bare,
        "peak_mb_projection": peak_projection,
    }
    print(
        f"{network.prototype_count} prototypes, {len(data)} images, {options.backbone} at {options.image_size} px, "
        f"batches of {options.batch_size}, {torch.get_num_threads()} threads"
    )
    print(f"{'':14}{'clock':>9}{'processor':>11}   peak over network and data")
    for name, taken, most in (("forward pass", forward, peak_bare), ("projection", projection, peak_projection)):
        print(f"{name:14}{taken['clock']:7.1f} s{taken['processor']:9.1f} s{most:9.0f} MB")
    print(f"{'ratio':14}{ratios['clock']:9.3f}{ratios['processor']:11.3f}")
    if options.output:
        write_json(options.output, found)


def bare_pass(network: ProtoPNet, setup: TrainingSet) -> None:
    """A forward pass over all images, results thrown away."""
    with frozen(network), torch.inference_mode():
        for batch in setup.loader(setup.plain):
            network(batch["images"].to(setup.device, memory_format=torch.channels_last))


def timed(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds that it takes, by each of CLOCKS."""
    begin = {name: clock() for name, clock in CLOCKS.items()}
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {name: clock() - begin[name] for name, clock in CLOCKS.items()}


def resident() -> float:
    """Resident memory of the process now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak() -> float:
    """Its largest resident memory so far, in MB."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
