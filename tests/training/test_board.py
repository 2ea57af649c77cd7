"""The log for TensorBoard, read by TensorBoard's own reader."""

import sys

import pytest

from protomask.errors import InputError
from protomask.training.board import Board

ROWS = [
    {"stage": "joint", "epoch": 1, "loss": 2.0, "train_accuracy": 0.5, "seconds": 1.0},
    {"stage": "joint", "epoch": 2, "loss": 1.5, "train_accuracy": 0.6, "seconds": 1.0},
    {"stage": "test at the end", "test_accuracy": 0.7, "per_class": {"a": {}}, "seconds": 0.1},
]


def test_every_number_is_written_once_at_its_epoch(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = Board(tmp_path)
    for count in (1, 2, 3):
        board(ROWS[:count])
    board.close()
    reader = accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert [(each.step, each.value) for each in reader.Scalars("joint/loss")] == [(1, 2.0), (2, 1.5)]
    assert [(each.step, round(each.value, 4)) for each in reader.Scalars("test_at_the_end/test_accuracy")] == [(3, 0.7)]
    assert len(reader.Tags()["scalars"]) == 5


def test_without_tensorboard_the_mend_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install tensorboard"):
        Board(tmp_path)
