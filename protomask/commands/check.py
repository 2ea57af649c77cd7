"""``protomask check``: what is wrong with a data set, all of it, in one pass."""

from __future__ import annotations

import time

from protomask.commands.setup import DATA_DEFAULTS, say
from protomask.data.checking import check_data
from protomask.errors import InputError


def check_command(data: str, root: str | None, crop: bool | None, workers: int | None, progress: bool = True) -> int:
    """Prints one line for each problem.

    Raises:
        InputError: there are problems; the message is their number.
    """
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; check with at least 1 thread")
    begin = time.perf_counter()
    size = DATA_DEFAULTS.get(data, {}).get("image_size")
    problems, images = check_data(data, root, crop=crop, image_size=size, workers=workers, progress=progress)
    for problem in problems:
        print(problem.encode("utf-8", "backslashreplace").decode("utf-8"), flush=True)
    what = f"{root}" if root else f"data set {data!r}"
    if problems:
        raise InputError(
            f"{what}: {len(problems)} problem{'s' * (len(problems) > 1)}, {images} images decoded; mend them and check again"
        )
    say(f"protomask: {what}: no problem; {images} images decoded in {time.perf_counter() - begin:.1f} s")
    return 0
