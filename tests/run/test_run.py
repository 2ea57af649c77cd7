"""A run in Python: trained, opened, asked; the same as the commands."""

import dataclasses
import errno
import hashlib
import os
import re
import shutil
import stat

import numpy as np
import pytest
import torch
from PIL import Image

import protomask
from protomask.audit import audit
from protomask.cli import main
from protomask.data import reopen_data
from protomask.data.splitting import findings_by_combination
from protomask.errors import InputError
from protomask.evaluation import choose_pairs, evaluate
from protomask.localizers import get_localizer
from protomask.options import Options
from protomask.run import setup
from protomask.run.opened import Run
from protomask.run.results import Prototypes
from protomask.run.start import keep_config, require_same_training
from protomask.run_folder import RunFolder
from protomask.training.checkpoint import save_checkpoint
from protopnet import ProtoPNet
from tests.end_to_end.conftest import write_folder
from tests.run.conftest import SMALL, Tensors, write_image_folder
from tests.support.toy import ToyBackbone


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a folder of pictures that is named relative to the working folder of its training."""
    place = tmp_path_factory.mktemp("place")
    write_folder(place / "pictures", per_class=6)
    before = os.getcwd()
    os.chdir(place)
    try:
        return protomask.train(data="folder", root="pictures", output=place / "run", **SMALL)
    finally:
        os.chdir(before)


def words(options):
    """Python's keywords as words of the command line."""
    found = []
    for name, value in options.items():
        found += ["--quiet"] if name == "progress" else ["--" + name.replace("_", "-"), str(value)]
    return found


def test_the_command_and_python_write_the_same_weights(run, tmp_path):
    root = run.folder.parent / "pictures"
    assert (
        main(["train", "--data", "folder", "--root", str(root), "--output", str(tmp_path / "run"), *words(SMALL)]) == 0
    )
    one, other = (folder / "model.safetensors" for folder in (run.folder, tmp_path / "run"))
    assert one.read_bytes() == other.read_bytes()
    ours, theirs = run.metrics, RunFolder(tmp_path / "run").read("metrics.json")
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert run.files.read("prototypes.json") == RunFolder(tmp_path / "run").read("prototypes.json")


def test_explanations_of_whatever_people_have_are_the_same(run):
    path = next((run.folder.parent / "pictures" / "test").rglob("*.png"))
    image = Image.open(path)
    array = np.array(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
    first = run.explain(path)
    for given in (str(path), image, array, tensor, [array], [path, tensor]):
        for explanation in run.explain(given):
            assert explanation.logit == pytest.approx(first[0].logit, abs=1e-5)
    assert len(run.explain([path, tensor])) == 2 and [each.name for each in run.explain([path, image])][1] == "image 1"
    sums = sum(match.points for match in first[0].matches) + first[0].other_points
    assert sums == pytest.approx(first[0].logit, abs=1e-4)
    assert first[0].predicted in first.text() and first[0].predicted in first.table()
    assert first._repr_png_().startswith(b"\x89PNG") and first.figure().axes


def test_folders_are_explained_and_saved(run, tmp_path):
    folder = run.folder.parent / "pictures" / "test"
    found = run.explain(folder)
    assert [each.name for each in found] == sorted(map(str, folder.rglob("*.png")))
    files = found.save(tmp_path / "panels", format="svg")
    assert len(set(files)) == len(found) == 12 and all(file.stat().st_size > 1000 for file in files)


def test_a_run_is_carried_to_a_colleague_without_the_data(run, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    picture = tmp_path / "new.png"
    shutil.copy(next((run.folder.parent / "pictures" / "test").rglob("*.png")), picture)
    config = RunFolder(copy).read("config.json")
    assert (
        config["options"]["root"] == str(run.folder.parent / "pictures")
        and config["data"]["root_as_given"] == "pictures"
    )
    config["options"]["root"] = str(tmp_path / "gone")
    RunFolder(copy).write("config.json", config)
    monkeypatch.chdir(tmp_path)
    carried = protomask.open_run(copy, progress=False)
    assert carried.explain(picture)[0].logit == pytest.approx(run.explain(picture)[0].logit, abs=1e-5)
    page = carried.report(explained=0)
    assert "prototype-0" in page.path.read_text()
    with pytest.raises(InputError, match="gone.*root="):
        carried.evaluate("center")
    with pytest.raises(InputError, match="gone.*root="):
        carried.report()
    assert main(["evaluate", str(copy), "--localizers", "center", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "give their folder by --root" in error and "root=" not in error
    root = run.folder.parent / "pictures"
    assert protomask.open_run(copy, root=root, progress=False).evaluate("center", metrics="deletion").metrics == [
        "deletion"
    ]


def test_a_relative_root_is_found_from_another_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = protomask.open_run(run.folder, progress=False)
    assert len(opened.splits.test) == 12


def test_images_are_checked_before_anything_is_loaded(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "text.png").write_text("not an image")
    monkeypatch.setattr("protomask.run.opened.load_network", lambda folder: pytest.fail("the network was loaded"))
    for name, told in (("no.png", "no.png"), ("text.png", "text.png")):
        assert main(["explain", str(run.folder), str(tmp_path / name), "--quiet"]) == 2
        assert told in capsys.readouterr().err
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    assert main(["explain", str(run.folder), str(tmp_path / "float.tif"), "--quiet"]) == 2
    assert "convert the image to 8 bits; this run was trained without --intensity-range" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["explain", str(run.folder), str(tmp_path / "empty"), "--quiet"]) == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_pruning_gives_a_new_run_and_leaves_this_one(run, tmp_path):
    before = hashlib.sha256((run.folder / "model.safetensors").read_bytes()).hexdigest()
    pruned = run.prune([0, 3], output=tmp_path / "pruned")
    assert pruned.network.prototype_count == 4 and run.network.prototype_count == 6
    assert hashlib.sha256((run.folder / "model.safetensors").read_bytes()).hexdigest() == before
    again = protomask.open_run(tmp_path / "pruned", progress=False)
    assert torch.equal(again.network.prototypes, pruned.network.prototypes.cpu())
    assert "4 prototypes of 3 classes" in pruned.text()
    with pytest.raises(InputError, match="no prototype 9"):
        run.prune([9], output=tmp_path / "other")
    with pytest.raises(InputError, match="prototypes and flagged exclude each other"):
        run.prune([1], flagged=["background"])
    with pytest.raises(InputError, match="^class (.+) would be left"):
        run.prune([0, 1], output=tmp_path / "other")
    with pytest.raises(InputError, match="^classes (.+), (.+) would be left"):
        run.prune([0, 1, 2, 3], output=tmp_path / "other")


def test_projecting_again_and_localizers_as_objects(run, tmp_path):
    copy = tmp_path / "a copy"
    shutil.copytree(run.folder, copy)
    opened = protomask.open_run(copy, progress=False)
    shown = len(list((copy / "prototypes").glob("gallery_*.png")))
    found = opened.project(protomask.Similarity(), format="pdf")
    galleries = list((copy / "prototypes").glob("gallery_*"))
    assert shown == len(galleries) == 3 and {path.suffix for path in galleries} == {".pdf"}, "none of other pictures"
    assert list(found[0].maps) == ["similarity"] and len(found.table().splitlines()) == 7
    assert found.text() == opened.pictures.text() and found._repr_png_().startswith(b"\x89PNG")
    evaluation = opened.evaluate({"mine": protomask.Similarity()}, metrics=["deletion"], samples=3)
    assert evaluation.localizers == ["mine"] and len(evaluation.pairs) == 3
    with pytest.raises(InputError, match=f"make them with: protomask project '{copy}' --localizer"):
        opened.explain(np.zeros((32, 32, 3), np.uint8), localizer="center")


@pytest.mark.parametrize(
    "placed, compared, flags, said",
    [
        (1, 0.9, (), "no background or duplicate or common among 6 prototypes"),
        (
            0,
            0.9,
            (),
            "no duplicate or common among 6 prototypes; where the object is, which tells background, is not known, "
            "or maps are blank",
        ),
        (
            0,
            None,
            ("duplicate",),
            "6 duplicate of 6 prototypes are flagged; .* is not known, or .* blank; test images .* there are none",
        ),
        (
            1,
            None,
            (),
            "no background or duplicate among 6 prototypes; test images of several classes, .* there are none",
        ),
    ],
)
def test_only_what_is_known_of_prototypes_is_said(run, placed, compared, flags, said):
    pictures = [
        picture.changed(
            inspection=dataclasses.replace(
                picture.inspection, outside={"center": 0.1} if placed else {}, discrimination=compared, flags=flags
            )
        )
        for picture in run.pictures
    ]
    assert re.fullmatch(said, Prototypes(pictures).text())


def test_a_run_on_datasets_in_memory(in_memory):
    run, (train, test) = in_memory
    assert run.network.classes == ("red", "green", "blue") or list(run.network.classes) == ["red", "green", "blue"]
    opened = protomask.open_run(run.folder, progress=False)
    assert opened.explain(test[0][0])[0].logit == pytest.approx(run.explain(test[0][0])[0].logit, abs=1e-5)
    assert opened.report(explained=0).path.stat().st_size > 10_000
    with pytest.raises(InputError, match=r"Datasets in memory.*data=\(train, test\)"):
        opened.evaluate("center")
    with_data = protomask.open_run(run.folder, data=(train, test), progress=False)
    assert with_data.evaluate("center", metrics="deletion", samples=2).metrics == ["deletion"]
    with pytest.raises(InputError, match="are not those of"):
        protomask.open_run(run.folder, data=(Tensors(5), test), progress=False).evaluate("center")


def test_training_goes_on_where_it_was(in_memory):
    run, data = in_memory
    again = protomask.train(data=data, classes=["red", "green", "blue"], output=run.folder, resume=True, progress=False)
    assert again.metrics == run.metrics and again.options == run.options
    with pytest.raises(InputError, match="Datasets in memory"):
        protomask.train(output=run.folder, resume=True, progress=False)


def test_what_is_said_when_a_run_goes_on_counts_even_where_it_is_the_default(in_memory, run, tmp_path, capsys):
    """The run has 4 samples and device="cpu"; 100 and "auto" are the defaults."""
    own, data = in_memory
    again = {"data": data, "classes": ["red", "green", "blue"], "output": own.folder, "resume": True, "progress": False}
    with pytest.raises(InputError, match="started with 4 for samples=, not 100; leave the option out"):
        protomask.train(**again, samples=100)
    assert protomask.train(**again, samples=4, backbone=None, device="auto").options.device == "auto"
    other = tmp_path / "run"
    shutil.copytree(run.folder, other)
    assert main(["train", "--output", str(other), "--resume", "--samples", "100", "--quiet"]) == 2
    assert "started with 4 for --samples, not 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": 3}, "no option 'epoch'; did you mean epochs"),
        ({"epochs": 0}, "^epochs is 0"),
        ({"classes": ["a", "b"]}, "leave out classes="),
        ({"network": "protopnot"}, "protopnet"),
        ({"localizer": "mdn"}, "mdm"),
        ({"device": "cuda:77"}, "^device 'cuda:77'"),
        ({"resume": True}, "output="),
        ({"data": 3}, "data set"),
        ({"data": None}, "^data is None; give the name of a data set"),
    ],
)
def test_mistakes_are_one_line_in_python_words(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        protomask.train(**given, progress=False)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run, image: run.explain(image, top="3"), "top is '3'; give a whole number"),
        (lambda run, image: run.explain(image, top=0), "top is 0"),
        (lambda run, image: run.explain(image, counter=1.5), "counter is 1.5; give a whole number of at least 0"),
        (lambda run, image: run.evaluate(["center"], samples="2"), "samples is '2'"),
        (lambda run, image: run.evaluate(["center"], samples=2.5), "samples is 2.5"),
        (lambda run, image: run.evaluate(["center"], seed=2**31), "seed is 2147483648; .* from 0 to 2147483647"),
        (lambda run, image: run.evaluate(["center"], on=3), "on is 3; choose from test, sources"),
        (lambda run, image: run.evaluate(["center"], metrics=3), "metrics is 3"),
        (lambda run, image: run.evaluate(["center"], metrics=[3]), r"metrics is \[3\]"),
        (lambda run, image: run.evaluate(["center"], per_class="no"), "per_class is 'no'; give True or False"),
        (lambda run, image: run.evaluate({"a": protomask.MDM}), r"MDM is a class; give one of its objects, MDM\(\)"),
        (lambda run, image: run.evaluate([protomask.MDM]), "MDM is a class"),
        (lambda run, image: run.evaluate(protomask.MDM), "MDM is a class"),
        (lambda run, image: run.report(explained="2"), "explained is '2'"),
        (lambda run, image: run.report(quality="high"), "quality is 'high'; give a whole number from 1 to 100"),
        (lambda run, image: run.audit(localizer=3), "localizer is a[n]? int; give a name"),
        (lambda run, image: run.audit(samples="2"), "samples is '2'"),
        (lambda run, image: run.audit(seed="2"), "seed is '2'"),
        (lambda run, image: run.refine(review=3), "review is 3; give a path"),
        (lambda run, image: run.refine(epochs="3"), "epochs is '3'"),
        (lambda run, image: run.refine(features="no"), "features is 'no'"),
        (lambda run, image: run.prune(flagged=3), "flagged is 3; choose from"),
        (lambda run, image: run.prune(3), "prototypes is 3"),
        (lambda run, image: run.prune([True, False]), "prototypes is a mask of True and False"),
        (lambda run, image: protomask.open_run(run.folder, progress="no"), "progress is 'no'"),
        (lambda run, image: protomask.open_run(run.folder, root=3), "root is 3; give a path"),
        (lambda run, image: protomask.save_run(run.network, run.splits, 3), "output is 3; give a path"),
        (lambda run, image: protomask.save_run(run.network, run.splits, "there", project="no"), "project is 'no'"),
        (lambda run, image: protomask.import_official(3, "there"), "file is 3; give a path"),
        (lambda run, image: protomask.train(data=run.splits.test, classes=3), "classes is 3; give the classes' names"),
        (lambda run, image: protomask.train(localizer=[3]), "a localizer's name is a text, not"),
    ],
)
def test_what_a_run_is_asked_wrongly_is_one_line(call, said, in_memory):
    run, (_, test) = in_memory
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(InputError, match=said) as caught:
        call(run, test[0][0])
    assert "\n" not in str(caught.value) and sorted(run.folder.rglob("*")) == before


def test_audit_writes_a_table_a_page_and_a_verdict(in_memory, monkeypatch):
    run, _ = in_memory
    found = run.audit("similarity", samples=3)
    assert found.images == 3 and [row.check for row in found.rows][0] == "jpeg"
    assert (run.folder / "audit.json").is_file()
    assert "similarity" in (run.folder / "audit.html").read_text(encoding="utf-8").lower()
    before = [(run.folder / name).read_bytes() for name in ("audit.json", "audit.html")]
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r"cannot write .*audit.html"):
        fsync, flushed = os.fsync, []

        def no_room_for_the_second(descriptor):
            fsync(descriptor)
            flushed.append(stat.S_ISREG(os.fstat(descriptor).st_mode))
            if sum(flushed) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr("protomask.files.os.fsync", no_room_for_the_second)
        run.audit("center", samples=3)
    assert [(run.folder / name).read_bytes() for name in ("audit.json", "audit.html")] == before
    with pytest.raises(InputError, match="one at a time"):
        run.audit("center,random")
    with pytest.raises(InputError, match="samples is 0"):
        run.audit(samples=0)


def test_evaluate_says_before_the_work_what_the_last_one_left_open(tmp_path, caplog):
    from protomask.evaluation import Evaluation, Pairs
    from protomask.run.evaluation import _say_what_was_needed

    files = RunFolder(tmp_path)
    with caplog.at_level("INFO"):
        _say_what_was_needed(files, "evaluation.json", "mdm")
    assert not caplog.messages
    noise = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    values = {name: {"gain": each} for name, each in zip(("mdm", "similarity", "center"), (*noise, noise[0] + 9))}
    found = Evaluation.summarise(
        Pairs(torch.arange(30), torch.zeros(30, dtype=torch.long)), ["x"] * 30, values, dict.fromkeys(values, 0.1)
    )
    (tmp_path / "evaluation.json").write_text(found.to_json())
    with caplog.at_level("INFO"):
        _say_what_was_needed(files, "evaluation.json", "mdm")
    (said,) = caplog.messages
    assert said == f"by the evaluation before this one, of 30 images: {found.power('mdm', 'similarity')}"
    assert "gain about" in said
    (tmp_path / "evaluation.json").write_text("{")
    _say_what_was_needed(files, "evaluation.json", "mdm")
    assert len(caplog.messages) == 1


def test_runs_that_began_with_a_crop_that_did_nothing_still_open(tmp_path, monkeypatch):
    write_folder(tmp_path / "pictures", per_class=6)
    given = {**SMALL, "data": "folder", "root": tmp_path / "pictures", "crop": True, "output": tmp_path / "run"}
    with pytest.raises(InputError, match="no image has a box to crop to"):
        protomask.train(**given)
    with monkeypatch.context() as before:
        before.setattr(setup, "load_data", reopen_data)  # as when this was not refused
        protomask.train(**given)
    assert len(protomask.open_run(tmp_path / "run").splits.train)
    (tmp_path / "run" / "report.html").unlink()
    protomask.train(**given, resume=True)
    assert (tmp_path / "run" / "report.html").exists()


def test_runs_whose_findings_an_older_version_drew_open_and_go_on_with_their_own(tmp_path):
    drawn = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) < 0.4
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    data = ([(image, label.float()) for image, label in zip(images, drawn)],)
    options = setup.complete(Options(data=setup.IN_MEMORY))
    network, files = ProtoPNet(ToyBackbone(), ["a", "b", "c"], multi_label=True), RunFolder(tmp_path / "run")
    with findings_by_combination():
        before = setup.open_data(options, data, network.classes)
    keep_config(Run(files, options, network, torch.device("cpu"), before), False, None)
    names = [getattr(before, name).names for name in ("train", "validation", "test")]
    assert setup.open_data(options, data, network.classes).test.names != before.test.names
    again = Run(files, options, network, torch.device("cpu"), data).splits
    assert [getattr(again, name).names for name in ("train", "validation", "test")] == names
    on = setup.reopen_data_of(files.read("config.json")["data"], options, data, network.classes)
    keep_config(Run(files, options, network, torch.device("cpu"), on), True, None)
    with pytest.raises(InputError, match="are not those of"):
        assert Run(files, options, network, torch.device("cpu"), (data[0][1:],)).splits


@pytest.fixture
def begun(tmp_path):
    """A run that was only begun, on a folder of pictures with splits of its own: what keeps or checks its data."""
    root = tmp_path / "pictures"
    for at, part in enumerate(("train", "validation", "test")):
        write_image_folder(root / part, per_class=3, seed=at)
    options = setup.complete(Options(data="folder", root=str(root)))
    network, files = ProtoPNet(ToyBackbone(), ["a", "b"]), RunFolder(tmp_path / "run")

    def keep(resume):
        splits = setup.open_data(options)
        keep_config(Run(files, options, network, torch.device("cpu"), splits), resume, None)
        return splits

    keep(False)
    return root, files, keep


@pytest.mark.parametrize("change", ["restored", "removed"])
@pytest.mark.parametrize("part", ["test", "validation"])
def test_images_that_nothing_is_learned_from_may_be_mended_before_anything_is_measured(begun, part, change, caplog):
    root, files, keep = begun
    files.write("log.jsonl", [{"stage": "joint", "epoch": 1, "loss": 0.5}])
    (files / "checkpoint" / "features-0" / "x").mkdir(parents=True)
    one = sorted((root / part).rglob("*.*"))[0]
    Image.new("RGB", (40, 40), "green").save(one) if change == "restored" else one.unlink()
    before = files.read("config.json")
    with caplog.at_level("INFO"):
        splits = keep(True)
    assert f"(images or annotations for {part} differ); it goes on" in caplog.text
    after = files.read("config.json")
    assert after["options"] == before["options"] and not (files / "checkpoint" / "features-0").exists()
    now, then = after["data"]["contents"], before["data"]["contents"]
    assert [name for name in now if now[name] != then[name]] == [part]
    assert after["data"][part] == len(getattr(splits, part)) == before["data"][part] - (change == "removed")
    caplog.clear()
    keep(True)
    assert not caplog.messages


@pytest.mark.parametrize("part", ["test", "validation"])
def test_validation_images_stay_as_they_were_once_they_were_measured(begun, part):
    root, files, keep = begun
    files.write("log.jsonl", [{"stage": "joint", "epoch": 1, "loss": 0.5, "validation_accuracy": 0.5}])
    sorted((root / part).rglob("*.*"))[0].unlink()
    if part == "test":
        keep(True)
    else:
        with pytest.raises(InputError, match="images or annotations for validation differ.; restore them, or start"):
            keep(True)


@pytest.mark.parametrize("measured", ["neither", "the one", "both"])
@pytest.mark.parametrize("part", ["test", "validation", "train"])
def test_seeds_go_on_where_one_took_images_that_were_mended_and_the_other_may(begun, tmp_path, part, measured):
    _, files, _ = begun
    other, config = RunFolder(tmp_path / "other"), files.read("config.json")
    contents = config["data"]["contents"]
    other.write("config.json", {**config, "data": {**config["data"], "contents": {**contents, part: "0" * 16}}})
    row = {"stage": "joint", "epoch": 1, "validation_accuracy": 0.5, "test_accuracy": 0.5}
    for each in {"neither": [], "the one": [files], "both": [files, other]}[measured]:
        each.write("log.jsonl", [row])
    if part == "train" or measured == "both":
        with pytest.raises(InputError, match="was started on other data than"):
            require_same_training(files, other)
    else:
        require_same_training(files, other)
        require_same_training(other, files)


@pytest.mark.parametrize("why", ["measured", "in the checkpoint", "metrics", "train"])
def test_data_that_were_measured_or_learned_from_stay_as_they_were(begun, why):
    root, files, keep = begun
    row = {"stage": "test before projection", "test_accuracy": 0.5}
    if why == "in the checkpoint":
        save_checkpoint(files / "checkpoint" / "state.pt", {"log": [row]})
    elif why == "metrics":
        files.write("metrics.json", {})
    elif why == "measured":
        files.write("log.jsonl", [row])
    changed = {"test", "train"} if why == "train" else {"test"}
    for part in changed:
        path = sorted((root / part).rglob("*.*"))[0]
        pixels = np.asarray(Image.open(path)).copy() ^ 1
        size = path.stat().st_size
        Image.fromarray(pixels).save(path)
        with path.open("ab") as file:
            file.write(bytes(max(0, size - path.stat().st_size)))
    before = (files / "config.json").read_bytes()
    with pytest.raises(InputError, match="the data changed since .*; restore them, or start a new run"):
        keep(True)
    assert (files / "config.json").read_bytes() == before


def test_a_run_where_its_network_is_asked_for_is_one_line(in_memory):
    run, (train, _) = in_memory
    picture, data = train[0][0], run.test
    for ask in (
        lambda: protomask.look(run, picture),
        lambda: protomask.compare(run, [picture], ["gradcam", "rise"]),
        lambda: protomask.distill(run, data),
        lambda: choose_pairs(run, data, 3),
        lambda: evaluate(run, data, {}, []),
        lambda: get_localizer("mdm")(run, picture[None], 0),
        lambda: audit(run, data, "similarity", []),
    ):
        with pytest.raises(InputError, match="is a Run; give its network: run.network"):
            ask()
