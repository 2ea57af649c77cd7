"""What re-fitting the last layer of many prototypes costs: memory and time, by synthetic similarities, projected.

    python benchmarks/last_layer.py --rows 16384 --steps 2 --memory 1024

Similarities of ``--rows`` images to ``--prototypes`` prototypes are written to the temporary file as a training would,
and a few of its 300 steps are made. The rest is proportion: rows and steps.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from types import SimpleNamespace

import torch
from bad_input import check_counts, exit_code

from protomask.training.last_layer import fit_rows
from protomask.training.stored_rows import StoredRows


def main(words: list[str] | None = None) -> int:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("rows", 16384),
        ("prototypes", 10_000),
        ("classes", 1000),
        ("steps", 2),
        ("images", 1281167),
    ):
        found.add_argument(f"--{name}", type=int, default=default)
    found.add_argument("--memory", type=float, default=1024.0, help="megabytes (1024)")
    found.add_argument("--evidence", choices=("positive", "signed"), default="positive")
    options = found.parse_args(words)
    return exit_code("last_layer", lambda: print(json.dumps(measure(options), indent=1)))


def network_of(options: argparse.Namespace) -> SimpleNamespace:
    """As much of a prototype network as the fit looks at."""
    owners = torch.arange(options.prototypes) * options.classes // options.prototypes
    layer = torch.nn.Linear(options.prototypes, options.classes, bias=False)
    own = owners[None, :] == torch.arange(options.classes)[:, None]
    with torch.no_grad():
        layer.weight.copy_(3.0 * own)
    return SimpleNamespace(
        last_layer=layer, prototype_classes=owners, own_class=lambda: own, evidence=options.evidence, scale=3.0
    )


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and megabytes of the part, and of the whole as proportion says."""
    check_counts(options, ("rows", "prototypes", "classes", "steps", "images"))
    network, generator = network_of(options), torch.Generator().manual_seed(0)
    labels = torch.randint(options.classes, (options.rows,), generator=generator)
    before = peak()
    with StoredRows(options.prototypes, options.memory) as stored:
        begin = time.perf_counter()
        for part in labels.split(256):
            rows = torch.rand(len(part), options.prototypes, generator=generator) * 0.4
            stored.append(rows + 0.4 * (network.prototype_classes[None] == part[:, None]))
        written = time.perf_counter() - begin
        begin, busy = time.perf_counter(), time.process_time()
        fitted = fit_rows(network, stored.chunks, labels, options.rows, 1e-4, options.steps)
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    share = options.images / options.rows
    return {
        **vars(options),
        "chunk_rows": stored.rows,
        "megabytes_before": before,
        "megabytes_peak": peak(),
        "seconds_write": written,
        "seconds_step": seconds / options.steps,
        "processor_seconds_step": busy / options.steps,
        "projected_hours_300_steps": 300 * share * seconds / options.steps / 3600,
        "projected_processor_hours_300_steps": 300 * share * busy / options.steps / 3600,
        "projected_file_gigabytes": options.images * options.prototypes * 4 / 2**30,
        **fitted,
    }


def peak() -> float:
    """Most memory that this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
