"""The benchmark's script, on a few small pictures."""

import importlib
import json
import sys

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from protomask.backbones.classifier import build_classifier
from protomask.data import collate, load_data
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localization.compare import JudgedClassifier, PublishedScore
from protomask.localization.preprocessing import Preprocessing
from protomask.localizers import MDM, GradCAM, Keep, Order
from protomask.metrics import average_drop, energy_pointing, insertion, masked_scores
from tests.support.toy import ColourImages

MODULES = ("bad_input", "judges", "masks", "methods", "steadiness", "subject", "tables", "throughput")


@pytest.fixture
def script(monkeypatch, request):
    """The script as a module; it imports its neighbours by their plain names."""
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    yield importlib.import_module("masks")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    root = tmp_path_factory.mktemp("material")
    rows = ["file,x0,y0,x1,y1"]
    for split, count, seed in (("train", 1, 0), ("test", 2, 1)):
        data = ColourImages(count, seed=seed)
        for place, label in enumerate(data.labels.tolist()):
            name = f"{split}/colour {label}/{place}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = (data.pixels[place].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(root / name)
            row, column = data.corners[place].tolist()
            rows.append(f"{name},{column},{row},{column + 8},{row + 8}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), root / "weights.safetensors")
    return root


def words(material, output, *more):
    return [
        "--data",
        "folder",
        "--root",
        str(material),
        "--model",
        "test_resnet",
        "--weights",
        str(material / "weights.safetensors"),
        "--image-size",
        "48",
        "--batch-size",
        "2",
        "--output",
        str(output),
        *map(str, more),
    ]


def test_measures_once_prints_and_writes(script, material, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    assert script.main(words(material, output, "--methods", "gradcam,center", "--images", 3)) == 0
    table = capsys.readouterr().out
    assert "| gradcam | 3 |" in table and "| center | 3 |" in table
    found = json.loads((output / "masks.json").read_text())
    assert set(found["rows"]) == {"gradcam", "center"} and found["means"]["gradcam"]["insertion"]["n"] == 3

    # Every number of a row, computed here without the script.
    built = build_classifier("test_resnet", weights=material / "weights.safetensors", image_size=48)
    data = load_data("folder", material, validation=0, image_size=48).test.with_transform(
        evaluation_transform(48, built.mean, built.std)
    )
    for name, row in found["rows"]["gradcam"].items():
        batch = collate([data[data.names.index(name)]])
        images, index = batch["images"], built.model(batch["images"]).argmax(1)
        saliency = GradCAM()(Classifier(built.model, "logit"), images, index)
        score = Classifier(built.model, "probability").score
        assert row["class"] == int(index) and row["probability"] == pytest.approx(score(images, index).item(), abs=1e-4)
        assert row["insertion"] == pytest.approx(insertion(score, images, index, saliency).auc.item(), abs=1e-3)
        drop = average_drop(score(images, index), masked_scores(score, images, index, saliency))
        assert row["average_drop"] == pytest.approx(drop.item(), abs=0.05)
        x0, y0, x1, y1 = (int(edge) for edge in batch["boxes"][0][0])
        region = torch.zeros(1, 48, 48, dtype=torch.bool)
        region[0, y0:y1, x0:x1] = True
        assert row["energy"] == pytest.approx(energy_pointing(saliency, region).item(), abs=1e-3)
        assert row["backward"] == 1 and row["forward"] <= 1 and row["seconds"] > 0

    # What is measured already is not measured again; a line cut off by an interruption does no harm.
    with open(output / "gradcam.jsonl", "a") as file:
        file.write('{"image": "tes')
    monkeypatch.setattr(script, "measure", None)
    assert script.main(words(material, output, "--methods", "gradcam", "--images", 2)) == 0
    assert "| gradcam | 2 |" in capsys.readouterr().out
    assert script.main(words(material, output, "--methods", "gradcam,center", "--images", 6, "--minutes", 0)) == 0
    assert "| gradcam | 3 |" in capsys.readouterr().out


def test_passes_of_learned_masks_are_counted_and_pairs_compared(script, material, tmp_path, capsys):
    assert script.main(words(material, tmp_path, "--methods", "mdm,random", "--images", 4, "--image-size", 32)) == 0
    assert "| mdm - random | 4 |" in capsys.readouterr().out
    found = json.loads((tmp_path / "masks.json").read_text())
    mdm = MDM.for_classes()
    for row in found["rows"]["mdm"].values():
        assert row["backward"] == mdm.keep.steps + 2 * mdm.order.steps
    first, second = (list(rows.values()) for rows in found["rows"].values())
    difference = sum(one["energy"] - other["energy"] for one, other in zip(first, second)) / 4
    assert found["differences"]["mdm"]["random"]["energy"]["mean"] == pytest.approx(difference)


def test_settings_follow_a_method_and_name_its_file(script, material, tmp_path, capsys):
    assert script.main(words(material, tmp_path, "--methods", "center:width=0.1,center,random", "--images", 2)) == 0
    assert "| center:width=0.1 | 2 |" in capsys.readouterr().out
    files = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert len(files) == 3 and files[1].startswith("center_width_0.1-") and not any(":" in name for name in files)
    assert sys.modules["methods"].get_method("mdm-fine:keep.steps=3").localizer.keep.steps == 3


def test_other_settings_are_never_mixed(script, tmp_path):
    method = sys.modules["methods"].get_method("gradcam")
    row = {
        "image": "a",
        "localizer": repr(method.localizer),
        "score": method.score,
        "setting": {"split": "test"},
        "energy": 1.0,
    }
    other = {**row, "localizer": "GradCAM(layer='x')", "energy": 2.0}
    (tmp_path / "gradcam.jsonl").write_text(
        "\n".join(json.dumps(each) for each in (other, row, {**row, "image": "b"})) + "\n"
    )
    assert {
        name: each["energy"] for name, each in script.read(tmp_path, "gradcam", {"split": "test"}, method).items()
    } == {"a": 1.0, "b": 1.0}
    assert set(script.read(tmp_path, "gradcam", {"split": "test"}, None)) == {"a", "b"}
    assert script.read(tmp_path, "gradcam", {"split": "train"}, None) == {}


def test_weights_batches_and_code_tell_measurements_apart(script, material, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"  # other weights in a file of the same name
    held = load_file(material / "weights.safetensors")
    for factor in (1, 2):
        save_file(held | {"fc.weight": factor * held["fc.weight"]}, weights)
        given = words(material, tmp_path / "out", "--methods", "center", "--images", 1, "--weights", weights)
        assert script.main(given) == 0
    assert script.main([*given, "--batch-size", "1"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "center.jsonl").read_text().splitlines()]
    assert len({json.dumps([row["setting"], row["batch_size"]]) for row in rows}) == len(rows) == 3
    assert rows[1]["setting"] == rows[2]["setting"]  # so that a table holds methods of several batch sizes
    assert rows[0]["probability"] != rows[1]["probability"] == pytest.approx(rows[2]["probability"], abs=1e-4)
    assert rows[0]["setting"]["code"] == rows[2]["setting"]["code"] and all(rows[0]["setting"]["code"])


def test_a_small_trial_with_another_batch_size_does_not_take_the_place_of_a_large_measurement(
    script, material, tmp_path, capsys
):
    large = words(material, tmp_path, "--methods", "center", "--images", 5)
    assert script.main(large) == 0
    measured = capsys.readouterr().out
    trial = [*words(material, tmp_path, "--methods", "center,random", "--images", 1), "--batch-size", "1"]
    assert script.main(trial) == 0
    small = capsys.readouterr().out
    assert "| center | 1 |" in small and "| random | 1 |" in small
    assert script.main(large) == 0
    again = capsys.readouterr().out
    assert "| center | 5 |" in again and "| random | 1 |" in again  # what this call does not name: the latest
    line = next(each for each in measured.splitlines() if each.startswith("| center"))
    assert line in again.splitlines()
    assert script.main([*large, "--batch-size", "3", "--minutes", "0"]) == 0
    assert "| center |" not in capsys.readouterr().out  # nothing of this batch size was measured


def test_a_row_that_a_kill_cut_off_takes_no_other_with_it(script, tmp_path):
    method, path = sys.modules["methods"].get_method("gradcam"), tmp_path / "gradcam.jsonl"
    row = {"localizer": repr(method.localizer), "score": method.score, "batch_size": 0, "setting": {}}
    script.append(path, [{"image": "a", **row}])
    with open(path, "a") as file:
        file.write('{"image": "tes')
    script.append(path, [{"image": "b", **row}, {"image": "c", **row}])
    script.append(path, [{"image": "d", **row}])
    assert list(script.read(tmp_path, "gradcam", {}, method)) == ["a", "b", "c", "d"]
    assert len(path.read_text().splitlines()) == 5


def test_verdicts_follow_the_direction_of_the_metric(script):
    tables = sys.modules["tables"]
    assert tables.verdict("insertion", 1) == "ahead"
    assert tables.verdict("deletion", -1) == "ahead"
    assert tables.verdict("average_drop", 1) == "behind"
    assert tables.verdict("energy", 0) == "open"


def test_four_images_decide_nothing(script):
    tables = sys.modules["tables"]
    rows = {
        name: {str(i): dict.fromkeys((*tables.QUALITY, *tables.COST), value + i / 100) for i in range(4)}
        for name, value in (("mdm", 1.0), ("random", 0.0))
    }
    found = tables.differences(rows, ["mdm"])["mdm"]["random"]
    assert {tables.verdict(key, each.sign) for key, each in found.items()} == {"open"}


def test_throughput_on_any_device(script):
    mdm = MDM(keep=Keep(sizes=(4,), steps=2), order=Order(sizes=(8,), steps=1))
    rows = sys.modules["throughput"].throughput(
        mdm, torch.device("cpu"), name="test_resnet", side=32, batches=(1, 4), repeats=1
    )
    assert [row["batch_size"] for row in rows] == [1, 4] and rows[0]["speed_up"] == 1
    assert all(row["maps_per_second"] > 0 and row["overhead"] > 0 and row["passes"] == 4 for row in rows)
    # The image and the background before each of two stages, 5 in all to fold by.
    assert [row["forward"] for row in rows] == [4 + 5, 4 + 1]


def test_speed_alone(script, tmp_path, capsys, monkeypatch):
    few = MDM(keep=Keep(sizes=(4,), steps=1), order=Order(sizes=(8,), steps=1))
    monkeypatch.setattr(script, "get_localizer", lambda name: {"mdm": few}[name])
    assert script.main(["--speed", "test_resnet", "--image-size", "16", "--output", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
    assert json.loads((tmp_path / "throughput.json").read_text())["model"] == "test_resnet"


@pytest.mark.parametrize(
    "more, named",
    [
        (["--methods", "mdn"], "mdn"),
        (["--methods", ","], "--methods"),
        (["--images", "0"], "--images"),
        (["--root", "/no/such"], "/no/such"),
    ],
)
def test_bad_input(script, material, tmp_path, capsys, more, named):
    assert script.main(words(material, tmp_path, *more)) == 2
    assert named in capsys.readouterr().err.strip().splitlines()[-1]
    if "--root" in more:
        assert script.main(["--output", str(tmp_path)]) == 2


def test_steadiness_compares_each_map_with_that_of_an_image_alike(script, material, capsys):
    steadiness = importlib.import_module("steadiness")
    given = words(material, "", "--methods", "gradcam,random", "--images", 3)
    given = given[: given.index("--output")] + given[given.index("--output") + 2 :]
    assert steadiness.main(given) == 0
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in capsys.readouterr().out.splitlines()[2:]
    }
    assert rows["gradcam"][0] == "3" and all(float(cell.split()[0]) > 0.9 for cell in rows["gradcam"][1:])
    assert abs(float(rows["random"][1].split()[0])) < 0.2 and float(rows["random"][3].split()[0]) < 0.2
    assert steadiness.main([*given, "--attack", "8"]) == 0
    attacked = capsys.readouterr().out.splitlines()[2]
    assert attacked.startswith("| gradcam | ") and attacked.count("|") == 6
    assert steadiness.main([*given, "--images", "0"]) == 2 and "--images" in capsys.readouterr().err
    map_ = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(steadiness.compare(map_, map_), torch.ones(1, 3))
    torch.testing.assert_close(steadiness.compare(map_, 1 - map_), torch.tensor([[-1.0, -1.0, 0.0]]))


def test_judges_takes_the_images_on_which_both_networks_agree(script, material, tmp_path, capsys, monkeypatch):
    judges = importlib.import_module("judges")
    seen, call = set(), PublishedScore.__call__

    def spy(self, explained, images, index, **shown):
        seen.add(tuple(images.shape[1:]))
        return call(self, explained, images, index, **shown)

    monkeypatch.setattr(PublishedScore, "__call__", spy)
    given = words(material, tmp_path / "kept", "--methods", "gradcam,random", "--images", 3)
    model, weights = (given[given.index(name) + 1] for name in ("--model", "--weights"))
    given += ["--judge", model, "--judge-weights", weights, "--metrics", "insertion,judge_insertion"]
    assert judges.main(given) == 0
    assert seen == {(3, 48, 48)}  # measured at --image-size, too
    found = capsys.readouterr().out
    assert found.strip().startswith("3 of 3 photographs") and "judge_insertion" in found
    second = tmp_path / "second.safetensors"
    save_file(load_file(weights) | {"fc.bias": load_file(weights)["fc.bias"] / 2}, second)
    maps = sorted((tmp_path / "kept").rglob("maps/*"))
    assert judges.main([*given, "--judge", model, "--judge-weights", str(second)]) == 0
    assert capsys.readouterr().out.count("photographs:") == 2
    assert maps and sorted((tmp_path / "kept").rglob("maps/*")) == maps  # another judge makes no map anew
    assert judges.main([*given, "--judge", model]) == 2 and "2 judges and 1 files" in capsys.readouterr().err
    for more, named in (  # told before anything is opened
        (["--methods", "mdm-fine"], "'mdm-fine' is unknown; choose from mdm, hdm"),
        (["--methods", "gradcam:no=1"], "no setting 'no'"),
        (["--metrics", "insertion,deletionn"], "--metrics: 'deletionn' is unknown"),
        (["--metrics", ","], "names none"),
        (["--images", "0"], "--images is 0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(judges, "opened", None)
            assert judges.main([*given, *more]) == 2 and named in capsys.readouterr().err
    assert "lrp, " in " ".join(judges.parser().format_help().split())
    wrong = [*given, "--judge", "no_such_model", "--judge-weights", weights]
    assert judges.main(wrong) == 2 and "no_such_model" in capsys.readouterr().err

    capsys.readouterr()
    places = [given.index(name) for name in ("--weights", "--judge-weights")]
    judges.main([word for place, word in enumerate(given) if not any(0 <= place - at < 2 for at in places)])
    said = capsys.readouterr().err
    assert all(f"note: {option} {model} has random weights" in said for option in ("--model", "--judge"))

    class Brightest(torch.nn.Module):
        """The class is the brightest channel; or always the first."""

        def __init__(self, always_first):
            super().__init__()
            self.bias = torch.tensor([1e3 if always_first else 0.0, 0.0, 0.0])

        def forward(self, images):
            return images.mean((2, 3)) + self.bias

    plain = Preprocessing(8, (0.0,) * 3, (1.0,) * 3)
    pair = JudgedClassifier(Brightest(False), plain, Brightest(True), plain)
    images = torch.eye(3)[[2, 0, 1, 0]].view(4, 3, 1, 1).expand(-1, -1, 8, 8)
    data = [{"image": image} for image in images]
    assert judges.agreeing([pair], data, [0, 1, 2, 3], 2, torch.device("cpu")) == [1, 3]
    alike = JudgedClassifier(Brightest(False), plain, Brightest(False), plain)
    assert judges.agreeing([alike], data, [0, 1, 2, 3], 2, torch.device("cpu")) == [0, 1]
    assert judges.agreeing([alike, pair], data, [0, 1, 2, 3], 2, torch.device("cpu")) == [1, 3]
    fewer = JudgedClassifier(
        Brightest(False), plain, torch.nn.Sequential(Brightest(False), torch.nn.Linear(3, 2)), plain
    )
    with pytest.raises(InputError, match="2 classes and the model 3"):
        judges.agreeing([alike, fewer], data, [0], 1, torch.device("cpu"))
    with pytest.raises(InputError, match="agree on no photograph"):
        judges.agreeing([alike, pair], data[:1], [0], 1, torch.device("cpu"))


def test_random_weights_are_the_same_in_each_process_and_said(script, material, capsys):
    subject = importlib.import_module("subject")
    given = words(material, "")
    model, weights = (given[given.index(name) + 1] for name in ("--model", "--weights"))
    one, again, other = (
        subject.classifier(model, None, "--judge", seed=seed).model.state_dict()["fc.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert capsys.readouterr().err.count(f"note: --judge {model} has random weights; give its weights") == 3
    found = subject.classifier(model, weights, "--judge").model.state_dict()["fc.weight"]
    assert torch.equal(found, load_file(weights)["fc.weight"]) and not capsys.readouterr().err
