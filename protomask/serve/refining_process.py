"""A process of its own that refines a run, and tells how far it is: what the page's refining runs in.

Reads one line of JSON from standard input (``folder``, ``device``, ``root``, ``review``, ``output``), writes lines of
JSON to standard output: ``{"share": ..., "words": ...}`` while it works, at the end ``{"done": true}`` or
``{"error": ...}``. It stops when its standard input ends: where the page ends, however, nothing half made is left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import traceback
from typing import TextIO

NICE = 5
"""how far it steps back behind the page, which answers meanwhile"""


def main() -> int:
    """Refine as standard input says; exit code 0, or 1 where it failed."""
    told, sys.stdout = sys.stdout, sys.stderr  # what libraries print does not disturb the lines
    asked = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(NICE)
    try:
        threading.Thread(target=_stop_with, args=(sys.stdin,), daemon=True).start()
        _refine(asked, told)
    except KeyboardInterrupt:
        shutil.rmtree(asked["output"], ignore_errors=True)
        return 1
    return 0


def _refine(asked: dict, told: TextIO) -> None:
    def tell(**words: object) -> None:
        told.write(json.dumps(words) + "\n")
        told.flush()

    from protomask.errors import InputError
    from protomask.run.opened import open_run
    from protomask.run.review import Review

    try:
        run = open_run(asked["folder"], device=asked["device"], root=asked["root"], progress=False)
        review = Review(tuple(asked["review"]))
        run.refine(review, output=asked["output"], tell=lambda share, words: tell(share=share, words=words))
    except InputError as error:
        tell(error=" ".join(str(error).split()))
    except Exception as error:  # a fault of ours: whoever waits must be told
        traceback.print_exc()
        tell(error=f"something went wrong here ({type(error).__name__}); the terminal says more")
    else:
        tell(done=True)


def _stop_with(stream: TextIO) -> None:
    stream.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
