"""Large tensors come out of kept memory inside, and only inside."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from protomask.localizers.engine.speed import heap
from protomask.localizers.engine.speed.heap import keep_freed_memory

INSIDE_AND_OUTSIDE = """
import ctypes
import torch
from protomask.localizers.engine.speed.heap import keep_freed_memory

class Statistics(ctypes.Structure):
    "mallinfo2(3)"
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split())]

statistics = ctypes.CDLL(None).mallinfo2
statistics.restype = Statistics

def asked_for(size):
    before = statistics().hblkhd
    tensor = torch.empty(size, dtype=torch.uint8)
    return statistics().hblkhd - before if len(tensor) else 0

with keep_freed_memory():
    inside = asked_for(64 << 20)
# So large that nothing that has stayed can serve it.
print(inside, asked_for(1024 << 20))
"""
"""prints the bytes that the system gave for a large tensor alone; glibc by itself asks for each such tensor"""


def test_large_tensors_come_from_memory_that_is_kept():
    if heap._mallopt() is None or any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        pytest.skip("another C library, or limits set in the environment")
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("glibc before 2.33 cannot tell")
    # A process of its own: a long one may have come to an arena whose large requests glibc always sends to the system.
    printed = subprocess.run(
        [sys.executable, "-c", INSIDE_AND_OUTSIDE], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(printed[0]) == 0
    assert int(printed[1]) >= 1024 << 20


def test_limits_of_the_environment_stand(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    monkeypatch.setattr(heap, "_mallopt", lambda: pytest.fail("the limits were changed"))
    with keep_freed_memory():
        pass


@pytest.mark.parametrize("error", [TypeError, OSError, AttributeError])
def test_other_systems_do_without(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    with keep_freed_memory():
        assert torch.ones(3).sum() == 3
