"""A checkpoint is whole or it is the one before."""

import errno
import os

import pytest
import torch

from protomask.errors import InputError
from protomask.networks import save_network
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import load_checkpoint, previous, save_checkpoint, write_atomically
from protopnet import ProtoPNet
from tests.distributed.forks import together
from tests.support.toy import ToyBackbone


def full(folder):
    """Writes beyond what a file may have, in a process of its own: the limit is for all that it writes."""
    import resource

    network = ProtoPNet(ToyBackbone(), ("a", "b"), image_size=16, channels=64)
    run = RunFolder(folder)
    save_checkpoint(folder / "state.pt", {"step": 1, "weights": torch.ones(10)})
    save_network(network, "protopnet", folder)
    run.write("metrics.json", {"seconds": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    large = {"step": 2, "weights": torch.ones(10_000)}
    for name, write in (
        ("state.pt", lambda: save_checkpoint(folder / "state.pt", large)),
        ("model.safetensors", lambda: save_network(network, "other", folder)),
        ("metrics.json", lambda: run.write("metrics.json", {"seconds": [0.5] * 10_000})),
    ):
        before = (folder / name).read_bytes()
        try:
            write()
        except InputError as error:
            text = str(error)
            assert name in text and "File too large" in text and "\n" not in text, text
        else:
            raise AssertionError(f"{name} was written beyond the limit")
        assert (folder / name).read_bytes() == before, name
    assert load_checkpoint(folder / "state.pt")["step"] == 1
    assert not list(folder.glob("*.part"))
    print("intact")


def test_where_no_more_can_be_written_the_files_before_stand(tmp_path):
    (ended,) = together(1, full, tmp_path)
    assert (ended.code, ended.said.strip()) == (0, "intact"), ended.said


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_or_a_read_only_folder_is_one_clear_line(tmp_path, monkeypatch, function, number):
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"step": 1})

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(InputError, match=f"cannot write .*state.pt: {os.strerror(number)}; .*output="):
        save_checkpoint(path, {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(path) == {"step": 1}
    assert {other.name for other in tmp_path.iterdir()} <= {"state.pt", "state.previous.pt"}


def test_an_interruption_while_writing_leaves_the_file_before(tmp_path):
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"step": 1})

    def interrupted(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert load_checkpoint(path) == {"step": 1}
    save_checkpoint(path, {"step": 2})  # what was left behind is in nobody's way
    assert load_checkpoint(path) == {"step": 2}
    assert {other.name for other in tmp_path.iterdir()} == {"state.pt", "state.previous.pt"}


def test_one_changed_bit_gives_the_checkpoint_before_and_a_line_that_says_so(tmp_path, capsys):
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"step": 1, "weights": torch.arange(100.0)})
    save_checkpoint(path, {"step": 2, "weights": torch.arange(100.0) + 1})
    whole = path.read_bytes()
    steps = []
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        found = load_checkpoint(path)
        steps.append(found["step"])
        assert torch.equal(found["weights"], torch.arange(100.0) + found["step"] - 1)
        assert ("training goes on from the checkpoint before it" in capsys.readouterr().err) == (found["step"] == 1)
    assert steps.count(1) > len(steps) / 2
    previous(path).write_bytes(b"")
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"state.pt is not a readable checkpoint .*; delete"):
        load_checkpoint(path)


def test_the_file_is_on_the_disk_before_it_takes_the_old_one_s_place_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):

        def recorded(*arguments, name=name, real=getattr(os, name)):
            kind = "folder" if name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}") else "file"
            calls.append((name, kind))
            return real(*arguments)

        monkeypatch.setattr(os, name, recorded)
    save_checkpoint(tmp_path / "state.pt", {"step": torch.tensor(1)})
    if os.path.isdir("/proc/self/fd"):
        assert calls == [("fsync", "file"), ("replace", "file"), ("fsync", "folder")]
