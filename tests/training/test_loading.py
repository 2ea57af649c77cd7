"""What a sample looks like depends on the seed and its position alone."""

import sys

import pytest
import torch

from protomask import distributed
from protomask.data.depth import RangeNeeded
from protomask.errors import InputError
from protomask.training.loading import SeededLoader, derive_seed, ordered_batches, own_part, shuffled_batches
from tests.distributed.jobs import run_group
from tests.support.toy import ColourImages


def noisy(count=6):
    """Images through a transform that draws from the global generator, and tells by its label which one it is."""

    def transform(sample):
        sample["image"] = sample["image"] + torch.rand(3, 16, 16)
        return sample

    return ColourImages(count).with_transform(transform)


def images(loader, batches):
    found = {}
    for batch in loader(batches):
        found.update(zip(batch["positions"].tolist(), batch["images"]))
    return [found[position] for position in sorted(found)]


def test_neither_workers_nor_order_nor_batch_size_change_a_sample():
    data = noisy()
    torch.manual_seed(1)
    expected = images(SeededLoader(data), ordered_batches(range(18), 5, 7))
    for workers, batches in ((0, ordered_batches(range(17, -1, -1), 4, 7)), (2, ordered_batches(range(18), 3, 7))):
        torch.manual_seed(2)
        assert all(map(torch.equal, images(SeededLoader(data, workers), batches), expected))
    assert not torch.equal(images(SeededLoader(data), ordered_batches([0], 1, 8))[0], expected[0])


def test_loading_draws_nothing_from_the_network_s_random_numbers():
    data = noisy()
    loader = SeededLoader(data)
    drawn = []
    for read in (False, True):
        iterator = loader(ordered_batches(range(6), 2, 0))
        torch.manual_seed(5)
        if read:
            next(iterator)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_workers_stay_alive_from_pass_to_pass():
    class Who(ColourImages):
        def load(self, index):
            return {
                **super().load(index),
                "points": torch.tensor([[float(torch.utils.data.get_worker_info().seed), 0.0]]),
            }

    loader = SeededLoader(Who(2), workers=1)
    seeds = [
        {float(batch["points"][0, 0, 0]) for batch in loader(ordered_batches(range(6), 2, number))}
        for number in range(2)
    ]
    assert seeds[0] == seeds[1] and len(seeds[0]) == 1


@pytest.mark.parametrize("count, size", [(10, 3), (9, 3), (2, 5), (1, 1)])
def test_shuffled_batches(count, size):
    batches = shuffled_batches(count, size, 4)
    positions = [position for batch in batches for position, _ in batch]
    assert len(set(positions)) == len(positions) == (count - count % size or count)
    assert all(seed == derive_seed(4, position) for batch in batches for position, seed in batch)
    assert batches == shuffled_batches(count, size, 4)
    assert count < 9 or batches != shuffled_batches(count, size, 5)


@pytest.mark.parametrize("count, processes", [(8, 2), (7, 3), (2, 2)])
def test_processes_share_a_batch(monkeypatch, count, processes):
    monkeypatch.setattr(distributed, "size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(own_part(list(range(count))))
    assert sum(parts, []) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_seeds_differ_between_epochs_samples_and_steps():
    seeds = {derive_seed(epoch, number) for epoch in range(50) for number in range(-100, 100)}
    assert len(seeds) == 50 * 200 and min(seeds) >= 0


class Broken(ColourImages):
    error = InputError("picture 4 is cut")

    def load(self, index):
        if index == 4:
            raise self.error
        return super().load(index)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [InputError("picture 4 is cut"), RangeNeeded("picture 4 has floats; convert it")])
def test_a_bad_picture_is_one_line_wherever_it_is_loaded(workers, error, monkeypatch):
    monkeypatch.setattr(Broken, "error", error)
    with pytest.raises(InputError) as caught:
        list(SeededLoader(Broken(3), workers)(ordered_batches(range(9), 3, 0)))
    assert str(caught.value) == str(error)


KEPT = """
from protomask.errors import InputError
from protomask.training.loading import SeededLoader, ordered_batches
from tests.training.test_loading import Broken
loader = SeededLoader(Broken(3), 1)
try:
    list(loader(ordered_batches(range(9), 3, 0)))
except InputError as error:
    kept = error
"""


def test_python_ends_though_somebody_keeps_the_error():
    assert run_group([sys.executable, "-c", KEPT], timeout=120).returncode == 0
