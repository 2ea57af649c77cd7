"""The examples on a Hugging Face classifier, ultrasound, and a table of pictures, on small folders in their formats."""

import csv

import numpy as np
import pytest
from PIL import Image

from examples import own_dataset, ultrasound

SMALL = {
    "backbone": "test_resnet",
    "pretrained": False,
    "features": 8,
    "image_size": 64,
    "epochs": 1,
    "batch_size": 8,
    "prototypes_per_class": 2,
    "prototype_channels": 8,
    "samples": 4,
    "workers": 0,
    "localizer": "center",
    "progress": False,
    "device": "cpu",
}


def write_scans(root):
    """Ten scans of each class as BUSI has them: a bright lesion on speckle, and its mask; empty where it is normal."""
    random = np.random.default_rng(0)
    for kind, size in (("benign", 12), ("malignant", 24), ("normal", 0)):
        (root / kind).mkdir(parents=True)
        for number in range(1, 11):
            pixels, mask = random.integers(0, 80, (60, 72), dtype=np.uint8), np.zeros((60, 72), np.uint8)
            x, y = random.integers(2, 30, 2)
            mask[y : y + size, x : x + size] = 255
            pixels[mask > 0] += 150
            Image.fromarray(pixels).save(root / kind / f"{kind} ({number}).png")
            Image.fromarray(mask).save(root / kind / f"{kind} ({number})_mask.png")
    return root


def test_ultrasound(tmp_path, capsys):
    run = ultrasound.main(str(write_scans(tmp_path / "Dataset_BUSI_with_GT")), str(tmp_path / "run"), **SMALL)
    out = capsys.readouterr().out
    assert run.options.network == "xprotonet" and run.options.balance and run.network.classes[0] == "benign"
    assert out.count("% on the lesion") >= 4 and "prototype 5 (normal)" in out
    assert "energy_mask" in out or "Energy" in out
    assert "(normal" in out.splitlines()[-1] or "points" in out


def test_a_table_of_pictures(tmp_path):
    random = np.random.default_rng(0)
    with open(tmp_path / "own.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "class"])
        for number in range(24):
            name = ("rot", "blau")[number % 2]
            pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[..., 2 * (number % 2)] += 150
            Image.fromarray(pixels).save(tmp_path / f"Größe {number}.png")
            table.writerow([f"Größe {number}.png", name])
    run = own_dataset.main(str(tmp_path / "own.csv"), str(tmp_path / "run"), **SMALL)
    assert run.network.classes == ("blau", "rot") and len(run.splits.test) == 4


def test_a_classifier_of_hugging_face(tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    from examples import hugging_face

    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "cat", 1: "dog", 2: "owl"}
    config = transformers.ViTConfig(image_size=32, patch_size=8, id2label=names, **settings)
    transformers.set_seed(0)
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path / "hub")
    processor.save_pretrained(tmp_path / "hub")
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        pixels = random.integers(0, 255, (48, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    overlays = tmp_path / "overlays"
    table = hugging_face.explain(model, processor, str(tmp_path / "pictures"), str(overlays), ("occlusion", "center"))
    assert "occlusion" in table and "center" in table
    assert sorted(path.name for path in overlays.iterdir()) == ["0.png", "1.png"]
    said = capsys.readouterr().out
    assert any(name in said for name in names.values())
    loaded = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "hub")
    assert type(loaded) is type(model)  # a folder is a name, as main() takes it
