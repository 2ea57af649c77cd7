"""The cache of rendered scenes: used when it is right, made again when it is not, done without where it cannot be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from protomask.data import parts, parts_cache
from protomask.data.parts import load_parts


@pytest.fixture
def renders(monkeypatch):
    """Counts the scenes that are rendered."""
    calls = []
    original = parts_cache.render
    monkeypatch.setattr(parts_cache, "render", lambda *args: calls.append(1) or original(*args))
    return calls


FEW = {"classes": 2, "train_per_class": 3, "test_per_class": 2, "image_size": 32}


def pictures(splits) -> Tensor:
    return torch.stack(
        [split[i]["image"].as_subclass(Tensor) for split in (splits.train, splits.test) for i in range(len(split))]
    )


def test_the_second_time_scenes_come_from_the_cache(tmp_path, renders):
    first = pictures(load_parts(tmp_path, **FEW))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(renders) >= 10 and len(files) == 2 and all(name.endswith(".npz") for name in files)
    renders.clear()
    torch.testing.assert_close(pictures(load_parts(tmp_path, **FEW)), first)
    assert len(renders) == 4  # the first and the last of each split, to compare


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "pickle", "empty", "outdated", "folder"])
def test_a_bad_cache_is_made_again(tmp_path, damage):
    first = pictures(load_parts(tmp_path, **FEW))
    path = next(tmp_path.glob("parts-test-*"))
    good = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "flipped":
        path.write_bytes(good[:3000] + bytes([good[3000] ^ 1]) + good[3001:])
    elif damage == "foreign":
        np.savez(path, image=np.zeros(3), something=np.ones(2))
    elif damage == "pickle":
        np.savez(path, image=np.array([{"a": 1}], dtype=object))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "outdated":
        with np.load(path) as stored:
            fields = dict(stored)
        fields["image"][0, 0, 0, 0] ^= 255
        np.savez(path, **fields)
    else:
        path.unlink()
        path.mkdir()
    torch.testing.assert_close(pictures(load_parts(tmp_path, **FEW)), first)
    if damage != "folder":
        assert path.read_bytes() == good
    assert not list(tmp_path.glob("*.tmp"))


def test_a_cache_that_cannot_be_written_costs_the_cache_only(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(parts, "user_cache", lambda: tmp_path / "file" / "below")
    splits = load_parts(**FEW)
    assert len(splits.test) == 4 and list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_user_s_cache_folder(tmp_path, monkeypatch):
    variable = "LOCALAPPDATA" if parts_cache.sys.platform == "win32" else "XDG_CACHE_HOME"
    monkeypatch.setenv(variable, str(tmp_path / "kept"))
    load_parts(**FEW)
    assert len(list((tmp_path / "kept" / "protomask").glob("parts-*.npz"))) == 2


def test_several_processes_render_the_same(tmp_path, monkeypatch):
    alone = load_parts(cache=False, **FEW).test
    monkeypatch.setattr(parts_cache, "PARALLEL_FROM", 2)
    together = load_parts(cache=False, **FEW).test
    for position in range(len(alone)):
        assert torch.equal(alone[position]["image"], together[position]["image"])
