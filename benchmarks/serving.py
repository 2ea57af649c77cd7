"""How fast does the page answer? Serves a run in a process of its own, and uploads photographs as browsers would.

    python benchmarks/serving.py runs/birds                             # 20 uploads of 12 megapixels each
    python benchmarks/serving.py runs/birds --uploads 50 --megapixels 2

Photographs are made of noise and bars, each of its own colours and size, so that answers that were mixed up would
show. Prints

- one after the other: milliseconds from the end of the upload to the answer (with the similarity map), and seconds
  from there to the last learned mask, beside the same localizer called on as many prototypes in this process;
- all at once: how many were answered, each under its own name and size and as it was alone, and after how long the
  last one was;
- the memory that the server held at most after its start, before and after (Linux).
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from PIL import Image

from protomask import open_run
from protomask.errors import InputError

ALONE = 3
"""uploads one after the other"""


class Answer(NamedTuple):
    """Hold what an upload was told, and seconds after its last byte was sent."""

    name: str
    size: tuple[int, int]
    classes: list
    masks: int
    first: float
    """until the answer"""
    last: float
    """until the last mask"""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run with pictures of its prototypes")
    parser.add_argument("--uploads", type=int, default=20, metavar="N", help="at once (20)")
    parser.add_argument("--megapixels", type=float, default=12, metavar="N", help="of each photograph (12)")
    parser.add_argument("--root", help="folder of the data; the run's own by default")
    try:
        measure(parser.parse_args(words))
    except InputError as error:
        print(f"serving: error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(given: argparse.Namespace) -> dict:
    """Upload, compare and print; what was measured."""
    if given.uploads < ALONE:
        raise InputError(f"--uploads is {given.uploads}; give at least {ALONE}")
    if not 0.001 <= given.megapixels <= 100:
        raise InputError(f"--megapixels is {given.megapixels:g}; give a number from 0.001 to 100")
    run = open_run(given.run, root=given.root, progress=False)
    contents = [photograph(number, given.megapixels) for number in range(given.uploads)]
    with served(given) as (process, port, key):
        before = peak_memory(process.pid)
        alone = [upload(port, key, number, contents[number]) for number in range(ALONE)]
        between = peak_memory(process.pid)
        begin = time.perf_counter()
        with ThreadPoolExecutor(given.uploads) as pool:
            answers = list(pool.map(lambda number: upload(port, key, number, contents[number]), range(given.uploads)))
        seconds = time.perf_counter() - begin
        after = peak_memory(process.pid)
    own = [
        each.name == name_of(number) and each.size == size_of(number, given.megapixels)
        for number, each in enumerate(answers)
    ]
    same = [answers[number].classes == each.classes for number, each in enumerate(alone)]
    found = {
        "first_ms": [1000 * each.first for each in alone],
        "masks_s": [each.last - each.first for each in alone],
        "loop_s": loop_seconds(run, alone[0].masks),
        "answered": sum(own),
        "same": sum(same),
        "seconds": seconds,
        "peak_mb": [before, between, after],
    }
    print(f"{given.megapixels:g} megapixels, {torch.get_num_threads()} threads")
    print(
        f"one after the other, {ALONE}: answer after {_three(found['first_ms'])} ms; {alone[0].masks} learned masks "
        f"after further {_three(found['masks_s'])} s (the localizer alone, here: {found['loop_s']:.2f} s)"
    )
    print(
        f"{given.uploads} at once: {found['answered']} answered under their own names and sizes, {found['same']} of "
        f"{ALONE} the same as alone; all masks after {seconds:.1f} s"
    )
    print(
        f"memory of the server at most: {before:.0f} MB at its start, {between:.0f} after {ALONE}, {after:.0f} after "
        f"{given.uploads} at once"
    )
    return found


def _three(values: list[float]) -> str:
    digits = 0 if max(values) > 10 else 2
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def name_of(number: int) -> str:
    return f"photograph {number}.jpg"


def size_of(number: int, megapixels: float) -> tuple[int, int]:
    height = round((megapixels * 1e6 / (4 / 3)) ** 0.5)
    return round(height * 4 / 3) + number, height


def photograph(number: int, megapixels: float) -> bytes:
    """Make a JPEG file of noise with bars; no two numbers have the same size."""
    width, height = size_of(number, megapixels)
    draw = np.random.default_rng(number)
    pixels = draw.integers(0, 90, (height, width, 3), dtype=np.uint8)
    step = 40 + 7 * number
    for left in range(0, width, 2 * step):
        pixels[:, left : left + step] += draw.integers(40, 160, 3, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=85)
    return file.getvalue()


@contextmanager
def served(given: argparse.Namespace) -> Iterator[tuple[subprocess.Popen, int, str]]:
    """Serve the run in another process; its port and key."""
    command = [sys.executable, "-m", "protomask", "serve", str(given.run), "--port", "0", "--quiet"]
    process = subprocess.Popen(
        command + (["--root", given.root] if given.root else []), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "http://" in line), None)
        if line is None:
            raise InputError(f"protomask serve {given.run} did not start; its own message says why")
        address = urlsplit(line.split()[-1])
        assert address.port is not None
        yield process, address.port, unquote(address.fragment.removeprefix("key="))
    finally:
        process.terminate()
        process.wait(30)


def upload(port: int, key: str, number: int, content: bytes) -> Answer:
    """Upload a photograph, and read on until the last mask."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    path = "/api/pictures?name=" + name_of(number).replace(" ", "%20")
    connection.request("POST", path, content, {"x-protomask-key": key})
    sent, answer, first, masks = time.perf_counter(), None, 0.0, {}
    response = connection.getresponse()
    if response.status != 200:
        raise InputError(f"{name_of(number)} was refused: {response.read().decode()}")
    for line in response:
        event = json.loads(line)
        if "error" in event:
            raise InputError(f"{name_of(number)}: {event['error']}")
        if "answer" in event:
            answer, first = event["answer"], time.perf_counter() - sent
        masks.update(event.get("masks", {}))
    last = time.perf_counter() - sent
    connection.close()
    if answer is None:
        raise InputError(f"{name_of(number)} got no answer")
    return Answer(answer["name"], (answer["width"], answer["height"]), answer["classes"], len(masks), first, last)


def loop_seconds(run, masks: int) -> float:
    """Seconds of the run's localizer, called on as many prototypes of one image; the second of two calls."""
    localizer = next(iter(run.localizers(None).values()))
    image = run.test[0]["image"].as_subclass(torch.Tensor)[None].to(run.device)
    images, index = image.repeat(masks, 1, 1, 1), torch.arange(masks, device=run.device) % run.network.prototype_count
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        localizer(run.network, images, index)
        seconds = time.perf_counter() - begin
    return seconds


def peak_memory(process: int) -> float:
    """Megabytes that a process has held at most; not a number where /proc does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.exit(main())
