"""Two processes end where one does."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed.jobs import run_group, torchrun

SCRIPT = str(Path(__file__).with_name("together.py"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results of one process and of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for done in (run_group([sys.executable, SCRIPT, str(one)]), torchrun(2, [SCRIPT, str(two)])):
        assert done.returncode == 0, done.stderr
    return one, two


@pytest.mark.parametrize("name", ["batch5", "batch24", "same"])
def test_the_projection_is_the_same_to_the_bit(folders, name):
    one, two = (load_file(folder / f"projection-{name}.safetensors") for folder in folders)
    assert one["source_positions"].min() >= 0
    for key, tensor in one.items():
        assert torch.equal(tensor, two[key]), key
    first, second = ((folder / f"projection-{name}.json").read_text() for folder in folders)
    assert first == second
