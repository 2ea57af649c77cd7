"""Everything that reads a file or words that others wrote: how it is called, and good examples to begin with."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_safetensors

from protomask.backbones import build_backbone
from protomask.backbones.weights import read_tensors
from protomask.data import load_data
from protomask.data.decoding import decode, image_size
from protomask.data.depth import depth_remark
from protomask.data.duplicates import copy_groups
from protomask.data.masks import mask_box, read_mask
from protomask.errors import InputError
from protomask.evaluation.results import Evaluation
from protomask.explanations.files import read_nearest_maps, read_pictures
from protomask.importing.lists import names_in, read_names, read_owners
from protomask.importing.torch_files import TorchFile
from protomask.json_files import with_checksum
from protomask.localization.folder import read_labels
from protomask.localizers import get_localizers
from protomask.localizers.amortised.explainer import Explainer
from protomask.localizers.amortised.files import Opened, open_explainer
from protomask.networks import load_network
from protomask.options import parse_range
from protomask.run.forbids import read_forbids
from protomask.run.review import read_review
from protomask.run_folder import RunFolder, read_options
from protomask.serve.versions import verdict
from protomask.tensor_files import load_tensors, save_tensors
from protomask.training.checkpoint import load_checkpoint, save_checkpoint
from protopnet.cabrnet import read_architecture
from protopnet.checkpoint import read_checkpoint

JUDGEMENT = {"id": "a1", "at": "2026-01-31T23:59:59+00:00", "by": "RB", "prototype": 0, "source": "train/a.png"}
CORNERS = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.6]]
REVIEW = {
    "judgements": [
        {**JUDGEMENT, "verdict": "forget", "note": "a caliper"},
        {**JUDGEMENT, "id": "a2", "region": CORNERS, "meaning": "distraction"},
    ]
}
REFINED = {
    "from": "runs/a",
    "forgotten": [0],
    "replaced": [0],
    "pairs": [{"before": 0, "after": [0], "why": "forgotten"}],
    "test_images": 40,
    "test_accuracy": {"before": 0.9, "after": 0.95},
    "difference": {"mean": 0.05, "low": -0.01, "high": 0.11},
    "right_to_wrong": 1,
    "wrong_to_right": 3,
    "answers_changed": 1,
    "changed": [{"image": "a.png", "truth": "a", "before": "a", "after": "b", "was_right": True, "is_right": False}],
    "outside": {"before": 0.4, "after": None},
}


class Reader(NamedTuple):
    """One file of a folder, and what reads it there."""

    name: str
    read: Callable[[Path], object]
    examples: tuple[bytes, ...]
    beside: dict[str, bytes] = {}


def _picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8))


def _saved(image: Image.Image, kind: str, **others) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **others)
    return file.getvalue()


def pictures() -> dict[str, tuple[bytes, ...]]:
    """Suffix -> pictures of that kind."""
    grey = Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16) * 300)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "png": (
            _saved(_picture(), "PNG"),
            _saved(_picture().convert("P"), "PNG"),
            _saved(grey, "PNG"),
            _saved(_picture().convert("RGBA"), "PNG", exif=exif),
            _saved(_picture().convert("1"), "PNG"),
        ),
        "jpg": (_saved(_picture(), "JPEG", exif=exif), _saved(_picture().convert("CMYK"), "JPEG", progressive=True)),
        "gif": (_saved(_picture(), "GIF", save_all=True, append_images=[_picture(1)]),),
        "tif": (
            _saved(_picture(), "TIFF"),
            _saved(grey, "TIFF", compression="tiff_lzw"),
            _saved(Image.fromarray(np.full((4, 5), 7_000, dtype=np.int32)), "TIFF"),
        ),
        "bmp": (_saved(_picture(), "BMP"), _saved(_picture().convert("L"), "BMP")),
        "webp": (_saved(_picture(), "WEBP"), _saved(_picture(), "WEBP", lossless=True)),
        "ppm": (_saved(_picture(), "PPM"), b"P3\n2 1\n255\n1 2 3 4 5 6\n", b"P5\n# grey\n2 2\n65535\n12345678"),
    }
    return {**found, "dcm": (_dicom(),)}


def _dicom() -> bytes:
    from tests.data.test_dicom import RAMP, dataset

    file = io.BytesIO()
    dataset(RAMP).save_as(file, enforce_file_format=True)
    return file.getvalue()


def _decode(path: Path) -> None:
    assert image_size(path)
    pixels, (width, height) = decode(path)
    assert pixels.shape == (height, width, 3) and pixels.dtype == np.uint8
    decode(path, intensity_range=(-5, 70_000))
    copy_groups([path, path])
    depth_remark([path])


def _mask(path: Path) -> None:
    found, box = read_mask(path), mask_box(path)
    assert (box is None) == (not found.any())


def _json(content) -> tuple[bytes, ...]:
    """With a checksum and without."""
    if isinstance(content, list):
        return tuple(
            "".join(json.dumps(row) + "\n" for row in rows).encode() for rows in (with_checksum(content), content)
        )
    return tuple(json.dumps(each).encode() for each in (with_checksum(content), content))


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _torch(content, **others) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **others)
    return file.getvalue()


def _run(name: str) -> Callable[[Path], object]:
    return lambda path: RunFolder(path.parent).read(name)


def _look(run: RunFolder) -> None:
    for each in read_pictures(run):
        assert each.image.ndim == 3 and each.maps


def _read_rows(root: Path) -> None:
    splits = load_data(f"hf:{root}", validation=0)
    for data in (splits.train, splits.test):
        for position in range(len(data)):
            with contextlib.suppress(InputError):
                data[position]


def _tables(folder: Path) -> dict[str, Reader]:
    """Files of Hugging Face ``datasets``."""
    from tests.data.hf_folders import table, write_hf, write_parquet

    root = write_hf(folder / "hf")
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found = {}
    for name in ("train/state.json", "train/dataset_info.json", "train/data-00000-of-00001.arrow"):
        beside = {other: content for other, content in files.items() if other != name}
        found[f"hf {name}"] = Reader(name, lambda path: _read_rows(path.parents[1]), (files[name],), beside)
    (folder / "parquet").mkdir()
    content = next(write_parquet(folder / "parquet", train=table(6)).iterdir()).read_bytes()
    found["hf parquet"] = Reader("train.parquet", lambda path: _read_rows(path.parent), (content,))
    return found


def all_readers(folder: Path) -> dict[str, Reader]:
    """Name -> reader; examples are made in ``folder``."""
    from tests.report.scenes import CONFIG, LOG, METRICS, evaluation, inspected
    from tests.report.scenes import pictures as prototypes

    found: dict[str, Reader] = {}
    for suffix, examples in pictures().items():
        found[f"picture {suffix}"] = Reader(f"x.{suffix}", _decode, examples)
    found |= _tables(folder)
    found["mask"] = Reader("x_mask.png", _mask, pictures()["png"])

    options = {"backbone": "test_resnet", "seed": 3, "localizer": "mdm:damping=1,similarity"}
    found["options"] = Reader("o.json", read_options, _json(options))
    found["options.yaml"] = Reader("o.yaml", read_options, (b"seed: 3\nlocalizer: 'mdm:damping=1'\nbalance: true\n",))
    config = _json({**CONFIG, "options": {**CONFIG["options"], "root": "x"}})
    found["config.json"] = Reader("config.json", lambda path: RunFolder.open(path.parent).options(), config)
    found["metrics.json"] = Reader("metrics.json", _run("metrics.json"), _json(METRICS))
    found["log.jsonl"] = Reader("log.jsonl", _run("log.jsonl"), _json(LOG))

    evaluation(localizers=("mdm", "similarity")).save(folder / "evaluation.json")
    found["evaluation.json"] = Reader(
        "evaluation.json", lambda path: Evaluation.load(path).table(), ((folder / "evaluation.json").read_bytes(),)
    )
    shown = prototypes(each=1)
    rows = [each.record.to_json() for each in shown]
    maps = np.stack([np.rint(each.maps["mdm"] * 255).astype(np.uint8) for each in shown])
    images = {
        f"prototypes/{place:04d}.png": _saved(Image.fromarray(each.image), "PNG") for place, each in enumerate(shown)
    }
    whole = {
        "prototypes.json": json.dumps(rows).encode(),
        "prototypes/maps.npz": _npz(mdm=maps, similarity=maps),
        **images,
    }
    for name, examples in (
        ("prototypes.json", _json_list(rows)),
        ("prototypes/maps.npz", (whole["prototypes/maps.npz"],)),
        ("prototypes/0000.png", (images["prototypes/0000.png"],)),
    ):
        beside = {other: content for other, content in whole.items() if other != name}
        up = name.count("/")
        found[name] = Reader(name, lambda path, up=up: _look(RunFolder(path.parents[up])), examples, beside)
    digests = {
        Path(name).name: hashlib.blake2b(content, digest_size=16).hexdigest()
        for name, content in whole.items()
        if name.startswith("prototypes/")
    }
    found["prototypes/files.json"] = Reader(
        "prototypes/files.json", lambda path: _look(RunFolder(path.parents[1])), _json(digests), whole
    )
    inspection = [each.inspection.to_json() for each in inspected(shown)[0]]
    nearest = _npz(similarity=np.zeros((len(rows), 2, 4, 4), np.uint8))
    found["prototypes/nearest.npz"] = Reader(
        "prototypes/nearest.npz",
        lambda path: read_nearest_maps(RunFolder(path.parents[1])),
        (nearest,),
        {"inspection.json": json.dumps(inspection).encode()},
    )
    found["inspection.json"] = Reader(
        "inspection.json",
        lambda path: (read_nearest_maps(RunFolder(path.parent)), read_pictures(RunFolder(path.parent))),
        _json_list(inspection),
        {**whole, "prototypes/nearest.npz": nearest},
    )

    from protopnet.model import ProtoPNet

    network = ProtoPNet(
        build_backbone("test_resnet", features=8, image_size=32),
        ("a", "b"),
        image_size=32,
        channels=4,
        prototypes_per_class=1,
    )
    network.save(folder / "network", "protopnet")
    description, weights = ((folder / "network" / name).read_bytes() for name in ("model.json", "model.safetensors"))
    plain = {key: value for key, value in json.loads(description).items() if key != "checksum"}
    found["review.json"] = Reader("review.json", lambda path: read_review(path).standing(), _json(REVIEW))
    found["refined.json"] = Reader(
        "refined.json", lambda path: verdict(RunFolder(path.parent).read("refined.json")), _json(REFINED)
    )
    cell = {"image": "one.png", "position": 0, "row": 1, "column": 0}
    found["forbidden.json"] = Reader(
        "forbidden.json",
        lambda path: read_forbids(RunFolder(path.parent), network, SimpleNamespace(names=["one.png"])),
        _json({"cells": [cell], "outlined": []}),
    )
    found["model.json"] = Reader(
        "model.json",
        lambda path: load_network(path.parent),
        (description, json.dumps(plain).encode()),
        {"model.safetensors": weights},
    )
    Opened(Explainer([4], 3), ("layer",), 1.0, None).save(folder / "explainer")
    about, explainer = (
        (folder / "explainer" / name).read_bytes() for name in ("localizer.json", "localizer.safetensors")
    )
    bare = {key: value for key, value in json.loads(about).items() if key != "checksum"}
    found["localizer.json"] = Reader(
        "localizer.json",
        lambda path: open_explainer(path.parent),
        (about, json.dumps(bare).encode()),
        {"localizer.safetensors": explainer},
    )
    save_tensors(
        folder / "small.safetensors", {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0, dtype=torch.int8)}
    )
    tensors = (
        (folder / "small.safetensors").read_bytes(),
        save_safetensors({"a": torch.ones(3, dtype=torch.bfloat16), "b": torch.tensor(1, dtype=torch.int64)}),
    )
    found["safetensors"] = Reader("t.safetensors", lambda path: load_tensors(path, "delete it", older=True), tensors)
    found["weights safetensors"] = Reader("w.safetensors", read_tensors, tensors)

    state = {
        "state_dict": {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)},
        "epoch": 3,
    }
    saved = (_torch(state), _torch(state, _use_new_zipfile_serialization=False))
    found["weights pth"] = Reader("w.pth", read_tensors, saved)
    found["torch file"] = Reader("t.pth", _read_torch_file, saved)
    official = {
        "prototype_vectors": torch.rand(4, 3, 1, 1),
        "ones": torch.ones(4, 3, 1, 1),
        "last_layer.weight": torch.rand(2, 4),
        "add_on_layers.0.weight": torch.rand(3, 5, 1, 1),
        "add_on_layers.0.bias": torch.rand(3),
        "features.conv1.weight": torch.rand(5, 3, 3, 3),
    }
    found["official"] = Reader("o.pth", read_checkpoint, (_torch(official), _torch({"model": official})))
    save_checkpoint(folder / "state.pt", {"plan": [["joint", 2]], "stage": 0, "network": {"a": torch.ones(2)}})
    found["checkpoint"] = Reader("state.pt", load_checkpoint, ((folder / "state.pt").read_bytes(),))

    found["architecture"] = Reader(
        "model_arch.yml",
        lambda path: read_architecture(path.parent / "x.pth", path),
        (b"extractor:\n  backbone:\n    arch: resnet34\n    layer: layer4\ntop_arch: {}\n",),
    )
    found["names"] = Reader(
        "classes.txt",
        lambda path: names_in(read_names(path), ["a bird", "another"]),
        (b"1 a bird\n2 another\n", "\ufeffé\nü\n".encode()),
    )
    found["labels"] = Reader("labels.txt", lambda path: read_labels(str(path)), (b"cat\nfox\ndog\n",))
    found["owners"] = Reader("owners.txt", read_owners, (b"0 0 1, 1\n[2 2]",))
    found["owners npy"] = Reader("owners.npy", read_owners, (_npy(np.array([[0, 1], [3, 1]])),))
    found["localizers"] = Reader("spec", _words(get_localizers), _SPECS)
    found["backbone"] = Reader("spec", _words(lambda text: build_backbone(text, image_size=32)), _BACKBONES)
    found["range"] = Reader("spec", _words(parse_range), (b"0,4095", b"-1e3,nan"))
    return found


_SPECS = (
    b"mdm:damping=1,keep.steps=8,seed=3,similarity",
    b"hdm:seed=2,gradcam:layer=backbone",
    b"rise:masks=10,extremal,center",
    b"neuromask , mdm-published:seed=-1",
)
_BACKBONES = (b"test_resnet", b"test_resnet:output_stride=8,mean=0.5,std=0.25", b"test_resnet:block_args=None")


def _json_list(rows: list) -> tuple[bytes, ...]:
    return tuple(json.dumps(each).encode() for each in (with_checksum(rows), rows))


def _words(read: Callable[[str], object]) -> Callable[[Path], object]:
    return lambda path: read(path.read_bytes().decode("utf-8", "surrogateescape"))


def _read_torch_file(path: Path) -> None:
    file = TorchFile(path)
    for name, value in list(_mapping(file.content).items())[:20]:
        for each in (value, *list(_mapping(value).values())[:20]):
            if type(each).__name__ == "Stored":
                file.tensor(each)


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def survives(reader: Reader, folder: Path, content: bytes) -> bool:
    """Read ``content`` in place of the reader's file; anything but a result or an InputError comes through.

    Returns:
        Whether it was read.
    """
    path = folder / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, other in reader.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(other)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(path)
        except InputError as error:
            message = str(error)
            assert message.strip()
            return False
    return True
