"""Two processes end where one does."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from protomask.training import train
from tests.distributed import shared_work
from tests.distributed.forks import all_done, together

# Weights of the last layer that L1 holds at zero jitter about it by a step of the optimiser, which rounding decides.
SPARSE = {"last_layer.weight": 1e-3, "logits": 1e-3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results of one process and of two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    shared_work.everything(one)
    all_done(together(2, shared_work.everything, two))
    return one, two


@pytest.mark.parametrize("name", ["batch5", "batch24", "same"])
def test_the_projection_is_the_same_to_the_bit(folders, name):
    one, two = (load_file(folder / f"projection-{name}.safetensors") for folder in folders)
    assert one["source_positions"].min() >= 0
    for key, tensor in one.items():
        assert torch.equal(tensor, two[key]), key
    first, second = ((folder / f"projection-{name}.json").read_text() for folder in folders)
    assert first == second


def test_training_is_the_same_but_for_rounding(folders):
    one, two = (load_file(folder / "trained.safetensors") for folder in folders)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, atol=SPARSE.get(key, 2e-4), rtol=2e-3, msg=key)
    first, second = (json.loads((folder / "rows.json").read_text()) for folder in folders)
    assert (
        [row["stage"] for row in first]
        == [row["stage"] for row in second]
        == ["start", *["joint"] * 4, "projection", "last layer"]
    )
    for row, other in zip(first, second):
        assert row.keys() == other.keys()
        for name in row.keys() - {"stage", "seconds"}:
            assert other[name] == pytest.approx(row[name], rel=1e-3, abs=1e-4), (row["stage"], name)


def test_one_process_goes_on_from_the_checkpoint_of_two(folders, tmp_path):
    one, two = folders
    shutil.copy(two / "two_epochs.pt", tmp_path / "state.pt")
    network, setup = shared_work.new_network(), shared_work.training_set()
    rows = train(network, shared_work.plan(), setup, checkpoint=tmp_path / "state.pt")
    assert len(rows) == 7
    expected = load_file(one / "trained.safetensors")
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], atol=SPARSE.get(key, 2e-4), rtol=2e-3, msg=key)


def test_batch_normalisation_ends_with_the_mean_of_the_processes_statistics(folders):
    one, two = (load_file(folder / "statistics.safetensors") for folder in folders)
    assert torch.equal(two["mean0"], two["mean1"]) and torch.equal(two["var0"], two["var1"])
    torch.testing.assert_close(two["mean0"], one["mean0"], atol=1e-5, rtol=1e-5)
    # What the means of the two parts differ by is in no part's variance.
    assert (two["var0"] < 1.05 * one["var0"]).all() and (two["var0"] > 0.6 * one["var0"]).all()
