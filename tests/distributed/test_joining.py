"""What keeps processes from joining is told by its cause."""

import socket

import pytest
import torch

from protomask import distributed, launched
from protomask.errors import InputError, PeerLost


def start(monkeypatch, **more):
    words = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", **more}
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    launched.launched.cache_clear()


@pytest.fixture(autouse=True)
def alone_again():
    yield
    launched.launched.cache_clear()


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        start(monkeypatch, MASTER_PORT=str(port))
        said = rf"^cannot join the job at 127.0.0.1:{port} \(.*(EADDRINUSE|in use).*\); give a free port"
        with pytest.raises(InputError, match=said) as caught, distributed.job(torch.device("cpu")):
            pass
    assert "\n" not in str(caught.value)


def test_one_device_for_all_processes_of_a_machine(monkeypatch):
    start(monkeypatch, LOCAL_WORLD_SIZE="2")
    with pytest.raises(InputError, match="device is cuda:1, which all 2 processes .* give device=cuda"):
        with distributed.job(torch.device("cuda:1")):
            pass


def test_a_lost_process_is_told_with_what_was_seen_here(monkeypatch):
    start(monkeypatch)
    monkeypatch.setattr(distributed, "_join", lambda device: None)
    with pytest.raises(PeerLost, match=r"its own message says why \(here: Connection closed by peer"):
        with distributed.job(torch.device("cpu")):
            raise RuntimeError("Connection closed by peer [127.0.0.1]:1\nmore")
