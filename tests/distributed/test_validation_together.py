"""What several processes have learned in an epoch is kept where its validation fails in one of them."""

from protomask.training.checkpoint import load_checkpoint
from tests.distributed.jobs import torchrun

FAILING = """
import sys, torch
from dataclasses import replace
from pathlib import Path
from protomask import distributed
from protomask.errors import InputError
from protomask.training import Epochs, train
from protopnet.losses import ProtoPNetLoss
from tests.support.toy import ColourImages
from tests.training.test_trainer import RATES, make

class Unreadable(ColourImages):
    def load(self, index):
        if distributed.rank() == int(sys.argv[2]):
            raise KeyboardInterrupt if sys.argv[3] == "interrupted" else InputError("cannot be read")
        return super().load(index)

net, setup = make()
setup = replace(setup, validation=Unreadable(4, seed=1))
with distributed.job(torch.device("cpu")):
    train(net, [Epochs("joint", 2, ProtoPNetLoss(), RATES)], setup, checkpoint=Path(sys.argv[1]))
"""


def test_an_epoch_is_kept_whoever_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    for rank, how in ((0, "interrupted"), (1, "unreadable")):
        path = tmp_path / f"{how}.pt"
        done = torchrun(2, [str(script), str(path), str(rank), how])
        assert done.returncode != 0
        saved = load_checkpoint(path)
        assert saved is not None and saved["epoch"] == 0 and saved["within"]["step"] == 4, done.stderr[-2000:]
