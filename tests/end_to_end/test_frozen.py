"""The recipe for a frozen backbone, as a whole: both networks, killed and resumed, and what it refuses."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

import protomask
from protomask.cli import main
from protomask.errors import InputError
from protomask.run import frozen
from protomask.run.measures import validated
from protomask.run.review import add_judgements
from protomask.training import feature_maps, performance
from tests.end_to_end.conftest import SMALL, write_folder
from tests.support.toy import ColourImages

CHEAP = [*SMALL, "--localizer", "center", "--samples", "1", "--recipe", "frozen"]


@pytest.fixture(scope="module")
def weights(run, tmp_path_factory):
    """The trained backbone of the shared run, as a file of weights."""
    path = tmp_path_factory.mktemp("weights") / "backbone.safetensors"
    body = protomask.open_run(run.folder).network.backbone.body
    save_file({name: tensor.contiguous() for name, tensor in body.state_dict().items()}, path)
    return path


def words(folder, weights, output, *more):
    data = ["--data", "folder", "--root", str(folder), "--weights", str(weights), "--output", str(output)]
    return ["train", *data, *CHEAP, *more]


@pytest.mark.parametrize("network", ["protopnet", "xprotonet"])
def test_it_learns_and_the_backbone_stays(folder, weights, tmp_path, network):
    output = tmp_path / "run"
    assert main(words(folder, weights, output, "--network", network, "--black-box", "--epochs", "6")) == 0
    run = protomask.open_run(output)
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["test_accuracy"]["final"] > 0.8 and metrics["black_box_accuracy"] is not None
    given = protomask.backbones.build_backbone(
        "test_resnet", weights=str(weights), features=8, image_size=48, freeze_norm=True
    )
    own = run.network.backbone.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in given.state_dict().items())
    pictures = torch.stack([run.test[place]["image"] for place in range(len(run.test))])
    with torch.inference_mode():
        right = (run.network(pictures).logits.argmax(1) == run.test.labels).float().mean().item()
    assert right == pytest.approx(metrics["test_accuracy"]["final"]), "the network of the file answers from pictures"
    scores = performance(run.network, run.test, run.setup)
    assert scores["auroc"] == pytest.approx(metrics["test_auroc"]["final"], abs=1e-9)
    assert validated(run.network, run.setup)["validation_accuracy"] == metrics["validation_accuracy"]
    assert not list((output / "checkpoint").glob("features-*")), "what is done needs no feature maps"


@pytest.mark.parametrize("recipe", ["frozen", "default"])
def test_with_boxes_every_prototype_is_on_the_object(weights, tmp_path, recipe):
    root, boxes = write_folder(tmp_path / "pictures"), {}
    for split, count, seed in (("train", 10, 0), ("test", 4, 1)):
        data = ColourImages(count, seed=seed)
        for place, (label, (row, column)) in enumerate(zip(data.labels.tolist(), data.corners.tolist())):
            boxes[f"{split}/colour {label}/{place}.png"] = (3 * column, 3 * row, 3 * column + 24, 3 * row + 24)
    lines = [",".join([name, *map(str, box)]) for name, box in boxes.items()]
    (root / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1", *lines]))
    output = tmp_path / "run"
    assert main(words(root, weights, output, "--on-object", "--recipe", recipe, "--black-box")) == 0
    records = json.loads((output / "prototypes.json").read_text())
    for record in records:
        x0, y0, x1, y1 = record["patch_box"]
        a0, b0, a1, b1 = boxes[record["source"]]
        on = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
        assert on >= 0.5 * (x1 - x0) * (y1 - y0), record["prototype"]
    run = protomask.open_run(output, progress=False)
    judgements = [{"prototype": 0, "by": "test", "verdict": "forget", "note": ""}]
    refined = run.refine(add_judgements(output, judgements, [each.record for each in run.pictures]), epochs=1)
    assert refined.network.prototype_count == run.network.prototype_count, "a review can teach such a run, too"


def test_interrupted_anywhere_it_ends_with_the_same_weights(folder, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_maps, "CHUNK", 2**14)  # of both: a backbone rounds by the batch
    assert main(words(folder, weights, tmp_path / "whole")) == 0
    output, calls = tmp_path / "broken", []
    write, fit = feature_maps._write, protomask.training.last_layer.fit_rows

    def interrupted(function, place):
        def work(*given, **named):
            calls.append(place)
            if calls.count(place) == 3 or (place == "fit" and calls.count(place) == 1):
                raise KeyboardInterrupt
            return function(*given, **named)

        return work

    monkeypatch.setattr(feature_maps, "_write", interrupted(write, "write"))
    monkeypatch.setattr(protomask.training.last_layer, "fit_rows", interrupted(fit, "fit"))
    assert main(words(folder, weights, output)) == 130
    written = len(list((output / "checkpoint").glob("features-*/*.npy")))
    assert written == 2
    assert main(words(folder, weights, output, "--resume")) == 130, "at the last layer"
    rows = (output / "log.jsonl").read_text().count("\n")
    (stored,) = (output / "checkpoint").glob("features-*")
    shutil.copytree(stored, stored.with_name("features-0123456789ab"))
    # The file of weights may be gone, or another, by then: the checkpoint has them.
    assert main(words(folder, weights, output, "--resume")) == 0
    assert (output / "log.jsonl").read_text().count("\n") > rows
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert ends[0] == ends[1]
    assert not list((output / "checkpoint").glob("features-*")), "what others left goes, too"
    monkeypatch.setattr(frozen, "store_features", None)
    assert main(words(folder, weights, output, "--resume")) == 0, "what is done needs no feature maps"


@pytest.mark.parametrize(
    "more, said",
    [
        ({}, "recipe is frozen"),
        ({"weights": "WEIGHTS", "lr": 0.1}, "lr"),
        ({"network": "xprotonet"}, "recipe is frozen"),
    ],
)
def test_what_makes_no_sense_is_one_line(folder, weights, tmp_path, more, said):
    given = {name: str(weights) if value == "WEIGHTS" else value for name, value in more.items()}
    with pytest.raises(InputError, match=said):
        protomask.train(
            **{"network": "protopnet", **given},
            data="folder",
            root=str(folder),
            recipe="frozen",
            backbone="test_resnet",
            image_size=48,
            output=tmp_path / "none",
        )
    assert not (tmp_path / "none").exists()


def test_a_network_that_trains_its_backbone_all_the_same_is_refused(folder, weights, tmp_path, monkeypatch):
    import protopnet.recipe

    own = protopnet.recipe.stages
    monkeypatch.setattr(
        protopnet.recipe, "stages", lambda network, options: own(network, options.replace(recipe="default"))
    )
    with pytest.raises(InputError, match="frozen"):
        protomask.train(
            data="folder",
            root=str(folder),
            recipe="frozen",
            backbone="test_resnet",
            features=8,
            image_size=48,
            weights=str(weights),
            output=tmp_path / "none",
            progress=False,
        )
