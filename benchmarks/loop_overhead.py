"""What learning a mask costs beside the network: MDM's time over as many bare passes.

    python benchmarks/loop_overhead.py                            # MobileNetV2 at 224 pixels, random weights
    python benchmarks/loop_overhead.py --model resnet50 --precision bf16 --device cuda

Both sides run the same numbers of passes, forward and forward with input gradient, on the same batch with the same network
(batch norms folded on both) and precision. They take turns, and the least time of each counts: on the clock, and on the
processor (all threads together), which a busy machine does not lengthen.
"""

from __future__ import annotations

import argparse
import json
import time

import timm
import torch
from methods import CountedClassifier

from protomask.localizers import MDM
from protomask.localizers.speed import PRECISIONS, faster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mobilenetv2_100", help="timm name")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="also write the figures here")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = timm.create_model(options.model).eval().to(options.device, memory_format=torch.channels_last)
    classifier = CountedClassifier(model)
    size = options.image_size
    images = torch.randn(options.batch_size, 3, size, size, device=options.device).contiguous(memory_format=torch.channels_last)
    index = torch.arange(options.batch_size, device=options.device)
    localizer = MDM(batch_size=options.batch_size, precision=options.precision)
    localizer(classifier, images, index)
    passes, forward = (count // options.batch_size for count in (classifier.tally.backward, classifier.tally.forward))
    network = faster(classifier, images, index, options.precision)

    def bare() -> None:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for _ in range(passes):
            shown = images.detach().requires_grad_()
            torch.autograd.grad(network.score(shown, index).sum(), shown)
        with torch.no_grad():
            for _ in range(forward):
                network.score(images, index)

    def seconds(work) -> tuple[float, float]:
        _synchronize(options.device)
        before = time.perf_counter(), time.process_time()
        work()
        _synchronize(options.device)
        return time.perf_counter() - before[0], time.process_time() - before[1]

    works = {"bare": bare, "loop": lambda: localizer(classifier, images, index)}
    times = {name: [] for name in works}
    for _ in range(options.repeats):
        for name, work in works.items():
            times[name].append(seconds(work))
    least, least_processor = ({name: min(pair[kind] for pair in found) for name, found in times.items()} for kind in (0, 1))
    row = {**vars(options), "passes": passes, "forward": forward, "seconds": times, "ratio": least["loop"] / least["bare"],
           "processor_ratio": least_processor["loop"] / least_processor["bare"], "maps_per_second": options.batch_size / least["loop"],
           "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(f"{options.model}, {size} px, batch {options.batch_size}, {options.precision}, {passes} passes and {forward} forward: "
          f"bare {least['bare']:.2f} s, loop {least['loop']:.2f} s, ratio {row['ratio']:.3f} "
          f"(processor time {row['processor_ratio']:.3f}), {row['maps_per_second']:.2f} maps/s")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(row, file, indent=1)


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
