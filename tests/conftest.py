"""Fixtures for every room."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

# Tests work on tiny tensors: threads that wait for each other cost more than they bring, above all beside pytest -n.
# The processes that tests start have one, too.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hugging Face datasets asks nobody on the network, and leaves nothing in the user's folder.
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
_CACHE = tempfile.mkdtemp(prefix="protomask-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ.setdefault("HF_DATASETS_CACHE", _CACHE)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that PROTOMASK_DATA names; tests that need it are skipped where there is none."""
    root = os.environ.get("PROTOMASK_DATA")
    if not root:
        pytest.skip("PROTOMASK_DATA is not set: no real data here")
    if not Path(root).is_dir():
        pytest.skip(f"PROTOMASK_DATA={root}: no such folder")
    return Path(root)
