"""Small zip files that hold very much: refused before they are unpacked."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.backbones.weights import read_tensors
from protomask.errors import InputError
from protomask.explanations.files import read_pictures
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import load_checkpoint
from tests.report.scenes import pictures

MANY = 400_000_000


def bomb(path, name):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(name, "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (MANY,)})
            for _ in range(MANY // 10_000_000):
                file.write(bytes(10_000_000))
    assert path.stat().st_size < MANY / 100


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < MANY / 10


def test_maps(tmp_path, little_memory):
    (tmp_path / "prototypes").mkdir()
    shown = pictures(each=1)
    (tmp_path / "prototypes.json").write_text(json.dumps([each.record.to_json() for each in shown]))
    for place, each in enumerate(shown):
        Image.fromarray(each.image).save(tmp_path / "prototypes" / f"{place:04d}.png")
    bomb(tmp_path / "prototypes" / "maps.npz", "mdm.npy")
    with pytest.raises(InputError, match="maps.npz is damaged .more in it than these maps need"):
        read_pictures(RunFolder(tmp_path))


@pytest.mark.parametrize("read, name", [(load_checkpoint, "state.pt"), (read_tensors, "weights.pth")])
def test_what_torch_saves(read, name, tmp_path, little_memory):
    file = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file)
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.namelist():
            packed.writestr(entry, archive.read(entry))
    with pytest.raises(InputError, match=f"{name}.*compressed parts"):
        read(tmp_path / name)
