"""What several processes have learned in an epoch is kept where its validation fails in one of them."""

from dataclasses import replace

import pytest
import torch

from protomask import distributed
from protomask.errors import InputError
from protomask.training import Epochs, train
from protomask.training.checkpoint import load_checkpoint
from protopnet.losses import ProtoPNetLoss
from tests.distributed.forks import together
from tests.support.toy import ColourImages
from tests.training.test_trainer import RATES, make


class Unreadable(ColourImages):
    """Images that one process cannot read."""

    def __init__(self, rank, error):
        super().__init__(4, seed=1)
        self.rank, self.error = rank, error

    def load(self, index):
        if distributed.rank() == self.rank:
            raise self.error
        return super().load(index)


def trained(path, rank, error):
    net, setup = make()
    setup = replace(setup, validation=Unreadable(rank, error))
    with distributed.job(torch.device("cpu")):
        train(net, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup, checkpoint=path)


@pytest.mark.parametrize("rank, error", [(0, KeyboardInterrupt()), (1, InputError("cannot be read"))])
def test_an_epoch_is_kept_whoever_ends(tmp_path, rank, error):
    ended = together(2, trained, tmp_path / "state.pt", rank, error)
    assert all(each.code != 0 for each in ended) and type(error).__name__ in ended[rank].said
    saved = load_checkpoint(tmp_path / "state.pt")
    assert saved is not None and saved["epoch"] == 0 and saved["within"]["step"] == 4, ended
