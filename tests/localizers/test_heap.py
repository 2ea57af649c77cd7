"""Freed memory stays at hand inside, and only inside."""

import os
import resource

import pytest
import torch

from protomask.localizers import heap
from protomask.localizers.heap import kept_memory

LARGE = 16 << 20
"""floats: 64 MiB, which glibc always gives back"""


def page_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(LARGE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_large_tensors_come_from_memory_that_is_there():
    if heap._mallopt() is None or any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        pytest.skip("another C library, or limits set in the environment")
    usual = page_faults()
    if usual < 4096:
        pytest.skip("this system gives memory in huge pages")
    with kept_memory():
        page_faults()
        assert page_faults() < usual / 10
    page_faults()
    assert page_faults() > usual / 2


def test_limits_of_the_environment_stand(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    monkeypatch.setattr(heap, "_mallopt", lambda: pytest.fail("the limits were changed"))
    with kept_memory():
        pass


@pytest.mark.parametrize("error", [TypeError, OSError, AttributeError])
def test_other_systems_do_without(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    with kept_memory():
        assert torch.ones(3).sum() == 3
