"""``protomask localize`` as a user runs it."""

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from protomask.backbones.classifier import build_classifier
from protomask.cli import main
from protomask.data.transforms import evaluation_transform
from protomask.errors import NOTHING_TO_KEEP, InputError, LowFaithfulnessWarning, NotLogitsWarning
from protomask.explainable import Classifier
from protomask.files import PARTIAL
from protomask.inputs import as_batch, as_pixels
from protomask.localization.folder import LocalizeOptions, localize_command
from protomask.localization.jobs import Job, plan
from protomask.localizers import GradCAM
from protomask.report.class_overlay import overlay_png
from protomask.warned import name_of_map
from tests.end_to_end.test_bad_input import fails


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=12).state_dict(), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """Three pictures that are not square, two of one name."""
    folder = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for name, size in (("a/bird.png", (40, 60)), ("b/bird.jpg", (50, 30)), ("c.png", (33, 47))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("".join(f"bird {number}\n" for number in range(12)))
    return path


def words(weights, *more):
    return [
        "localize",
        "--model",
        "test_resnet",
        "--weights",
        str(weights),
        "--image-size",
        "32",
        "--localizer",
        "gradcam",
        "--quiet",
        *map(str, more),
    ]


def test_a_folder_of_pictures(weights, pictures, labels, tmp_path, capsys):
    target = tmp_path / "out"
    assert (
        main(
            words(
                weights,
                pictures,
                "--output",
                target,
                "--labels",
                labels,
                "--localizer",
                "gradcam,center",
                "--top",
                2,
                "--batch-size",
                2,
            )
        )
        == 0
    )
    lines = capsys.readouterr().out.strip().splitlines()
    rows = json.loads((target / "localize.json").read_text())
    assert len(rows) == 3 and len(lines) == 6 and {row["folder"] for row in rows} == {"bird", "bird-2", "c"}
    built = build_classifier("test_resnet", weights=weights, image_size=32)
    for row in rows:
        with Image.open(row["image"]) as image:
            assert (row["width"], row["height"]) == image.size
        batch = as_batch(as_pixels(row["image"]), evaluation_transform(32, built.mean, built.std))
        probabilities = built.model(batch).softmax(1)[0]
        expected = probabilities.topk(2)
        assert [one["index"] for one in row["classes"]] == expected.indices.tolist()
        assert [one["probability"] for one in row["classes"]] == pytest.approx(expected.values.tolist(), rel=1e-4)
        for one in row["classes"]:
            assert one["name"] == f"bird {one['index']}" and any(one["name"] in line for line in lines)
            found = np.load(target / row["folder"] / one["maps"]["gradcam"]["map"])
            assert found.shape == (32, 32) and found.dtype == np.float32
            direct = GradCAM()(Classifier(built.model), batch, torch.tensor([one["index"]]))[0].numpy()
            np.testing.assert_allclose(found, direct, atol=1e-4)
            with Image.open(target / row["folder"] / one["maps"]["center"]["overlay"]) as overlay:
                factor = overlay.width // row["width"]  # small ones are enlarged
                assert factor > 3 and overlay.size == (factor * row["width"], factor * row["height"])
            x0, y0, x1, y1 = one["maps"]["center"]["box"]
            # The Gaussian's half-width at half maximum is 1.177 * .25 of each side, to the next cell of the map.
            assert (
                abs(x0 / row["width"] - 0.206) < 0.05 and abs(y1 / row["height"] - 0.794) < 0.05 and x0 < x1 and y0 < y1
            )
    assert not list(target.rglob("*.part"))
    table = (target / "localize.csv").read_text().splitlines()
    page = (target / "localize.html").read_text(encoding="utf-8")
    assert len(table) == 1 + 3 * 2 * 2 and page.count("<li ") == 12 and (target / "contact-sheet.png").is_file()
    one = rows[0]["classes"][0]
    files = one["maps"]["gradcam"]
    text = f"{one['name']} {100 * one['probability']:.0f}\N{NO-BREAK SPACE}%"
    folder = target / rows[0]["folder"]
    drawn = overlay_png(as_pixels(rows[0]["image"]), np.load(folder / files["map"]), "gradcam", caption=text)
    assert (folder / files["overlay"]).read_bytes() == drawn


def test_it_goes_on_and_does_again_what_changed(weights, pictures, tmp_path, capsys):
    target = tmp_path / "out"
    assert main(words(weights, pictures / "a", "--output", target)) == 0
    alone = capsys.readouterr()
    assert "1 picture in" in alone.err
    first = {path: path.stat().st_mtime_ns for path in target.rglob("*.npy")}
    assert main(words(weights, pictures, "--output", target)) == 0
    output = capsys.readouterr()
    lines = (alone.out + output.out).strip().splitlines()
    assert len(lines) == 3 and "3 pictures (1 of them was there already)" in output.err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())
    assert len(json.loads((target / "localize.json").read_text())) == 3

    # A lost file, a changed picture and other settings each make a picture be done again.
    next(iter(first)).unlink()
    Image.new("RGB", (20, 20), "red").save(pictures / "c.png")
    assert main(words(weights, pictures, "--output", target)) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2 and not any("b/bird" in line for line in lines)
    assert main(words(weights, pictures, "--output", target, "--index", 3)) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3 and all("class 3," in line for line in lines)
    assert main(words(weights, pictures, "--output", target, "--index", 3)) == 0
    assert capsys.readouterr().out == ""

    # Another picture of the same name does not take its place.
    other = tmp_path / "c.png"
    Image.new("RGB", (24, 20), "blue").save(other)
    assert main(words(weights, other, "--output", target, "--index", 3)) == 0
    assert (
        json.loads((target / "localize.json").read_text())[0]["folder"] == "c-2"
        and (target / "c" / "record.json").exists()
    )


def test_another_code_of_a_localizer_makes_maps_anew_and_what_nobody_can_tell_is_never_done(
    weights, pictures, tmp_path, capsys, monkeypatch
):
    again = words(weights, pictures / "a", "--output", tmp_path / "out")
    assert main(again) == 0 and capsys.readouterr().out
    assert main(again) == 0 and not capsys.readouterr().out
    monkeypatch.setattr("protomask.localizers.identity.code_of_kind", lambda kind: "other code")
    assert main(again) == 0 and capsys.readouterr().out
    monkeypatch.setattr("protomask.localizers.identity.code_of_kind", lambda kind: None)
    for _ in range(2):
        assert main(again) == 0 and capsys.readouterr().out


def test_what_earlier_settings_left_goes_and_the_users_files_stay(weights, pictures, tmp_path):
    target = tmp_path / "out"
    assert main(words(weights, pictures / "a", "--output", target, "--top", 3)) == 0
    files = sorted(path.name for path in (target / "bird").glob("*gradcam*"))
    numbers = [int(name.split("-")[0]) for name in files]
    other = next(number for number in range(12) if number not in numbers)
    (target / "bird" / files[0]).write_bytes(b"what a user made of it")
    (target / "bird" / "notes.txt").write_text("kept")
    assert main(words(weights, pictures / "a", "--output", target, "--index", other)) == 0
    left = {path.name for path in (target / "bird").iterdir()}
    own = {f"{other:02d}-gradcam.{kind}" for kind in ("npy", "png")}
    assert left == {files[0], "notes.txt", "record.json", *own}


def test_a_call_that_ends_early_leaves_no_list_of_the_maps_before(weights, pictures, tmp_path, monkeypatch):
    target = tmp_path / "out"
    listed = [target / name for name in ("localize.json", "localize.csv", "localize.html", "contact-sheet.png")]
    assert main(words(weights, pictures, "--output", target)) == 0
    assert main(words(weights, pictures, "--output", target, "--index", 99)) == 2
    assert all(path.is_file() for path in listed), "nothing was begun"

    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr("protomask.localization.jobs.Job.write", stop)
        assert main(words(weights, pictures, "--output", target, "--index", 3)) == 130
    assert not any(path.exists() for path in listed)
    assert main(words(weights, pictures, "--output", target, "--index", 3)) == 0
    assert {row["classes"][0]["index"] for row in json.loads(listed[0].read_text())} == {3}


def test_one_command_at_a_time_writes_into_a_folder(weights, pictures, tmp_path, monkeypatch):
    target, told = tmp_path / "new" / "out", []
    write = Job.write

    def localize(picture):
        options = {"model": "test_resnet", "weights": str(weights), "image_size": 32, "localizer": "center"}
        return localize_command(LocalizeOptions([str(picture)], output=str(target), **options), progress=False)

    def ask_another(job, content):
        if not told:
            told.append(None)
            with ThreadPoolExecutor(1) as pool:
                told[0] = pool.submit(localize, pictures / "b").exception()
        write(job, content)

    monkeypatch.setattr("protomask.localization.jobs.Job.write", ask_another)
    assert localize(pictures / "a") == 0
    assert isinstance(told[0], InputError) and "is at work in" in str(told[0])
    (row,) = json.loads((target / "localize.json").read_text())
    assert row["image"] == str(pictures / "a" / "bird.png") and not (target / "bird-2").exists()


def test_a_call_that_is_refused_makes_no_folder(weights, pictures, tmp_path):
    assert main(words(weights, tmp_path / "nowhere", "--output", tmp_path / "some" / "out")) == 2
    assert not (tmp_path / "some").exists()


def test_a_record_of_another_picture_is_never_taken_for_its_own(weights, pictures, tmp_path):
    assert main(words(weights, pictures / "a", "--output", tmp_path / "out")) == 0
    jobs, done = plan([str(pictures / "a")], tmp_path / "out", {})
    (job,) = [*jobs, *done]
    record = json.loads((job.folder / "record.json").read_text())
    own = {name: record[name] for name in ("image", "bytes", "modified", "settings")}
    assert Job(job.image, job.folder, own).read()["image"] == str(job.image)
    for other in ({"image": str(pictures / "b" / "bird.jpg")}, {"modified": 1}, {"settings": {}}):
        with pytest.raises(InputError, match="record.json is of something else, though .*bird.png was localised"):
            Job(job.image, job.folder, {**own, **other}).read()
    (job.folder / "record.json").unlink()
    with pytest.raises(InputError, match="record.json is gone"):
        Job(job.image, job.folder, own).read()


def test_random_weights_are_the_same_in_each_process(pictures, tmp_path, capsys):
    command = ["localize", "--model", "test_resnet", "--image-size", "32", "--localizer", "center", "--quiet"]
    before = torch.get_rng_state()
    found = []
    for name in ("one", "other"):
        assert main([*command, str(pictures / "a"), "--output", str(tmp_path / name)]) == 0
        found.append(json.loads((tmp_path / name / "localize.json").read_text())[0]["classes"])
    assert found[0] == found[1]
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    """Finite weights whose logits are infinite."""
    torch.manual_seed(0)
    state = timm.create_model("test_resnet", num_classes=12).state_dict()
    state["fc.weight"].fill_(3e38)
    path = tmp_path_factory.mktemp("weights") / "overflowing.safetensors"
    save_file(state, path)
    return path


@pytest.mark.parametrize("more", [[], ["--index", "3"], ["--multi-label"], ["--score", "logit"], ["--batch-size", "1"]])
def test_a_network_that_answers_nan_is_an_error(overflowing, pictures, tmp_path, capsys, more):
    fails(capsys, words(overflowing, pictures, "--output", tmp_path / "out", *more), "bird.png", "NaN")
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("value", [float("nan"), -0.5, 255.0])
def test_a_map_that_is_none_is_an_error(weights, pictures, tmp_path, capsys, monkeypatch, value):
    monkeypatch.setattr(GradCAM, "__call__", lambda self, explained, images, index, **_: images[:, 0] * 0 + value)
    fails(capsys, words(weights, pictures, "--output", tmp_path / "out"), "gradcam")
    assert not list(tmp_path.rglob("*.json"))


def test_localize_json_is_strict_json(weights, pictures, tmp_path):
    def no_constant(name):
        raise AssertionError(name)

    assert main(words(weights, pictures, "--output", tmp_path / "out", "--localizer", "center,gradcam")) == 0
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=no_constant)


def test_deep_greys_are_localised_through_the_range_that_is_given(weights, tmp_path, capsys):
    shades = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(shades).save(tmp_path / "deep.png")
    Image.fromarray(np.rint(shades.clip(0, 2047) / 2047 * 255).astype(np.uint8)).save(tmp_path / "plain.png")
    given = {"deep.png": ["--intensity-range", "0,2047"], "plain.png": []}
    for name, more in given.items():
        assert main(words(weights, tmp_path / name, "--output", tmp_path / "out", *more)) == 0
    maps = [np.load(next((tmp_path / "out" / name).glob("*.npy"))) for name in ("deep", "plain")]
    np.testing.assert_array_equal(*maps)
    # Another range is another picture.
    capsys.readouterr()
    assert main(words(weights, tmp_path / "deep.png", "--output", tmp_path / "out")) == 0
    assert "deep.png" in capsys.readouterr().out
    fails(capsys, words(weights, tmp_path / "deep.png", "--intensity-range", "9,3"), "--intensity-range", "9,3")


def test_its_own_overlays_are_no_pictures(weights, pictures, capsys):
    for _ in range(2):
        assert main(words(weights, pictures, "--output", pictures / "maps")) == 0
    assert "3 pictures (3 of them were there already)" in capsys.readouterr().err


def test_the_output_may_be_the_folder_of_the_pictures_or_above_it(weights, pictures, capsys):
    (pictures / "c").mkdir()
    (pictures / "c.png").rename(pictures / "c" / "c.png")  # its maps would go where it is
    for output in (pictures, pictures.parent):
        for said in ("3 pictures in", "3 pictures (3 of them were there already)"):
            assert main(words(weights, pictures, "--output", output)) == 0
            assert said in capsys.readouterr().err
    assert [path.name for path in (pictures / "c").iterdir()] == ["c.png"]


def test_what_others_are_writing_below_the_output_stays(weights, pictures, tmp_path):
    halves = [tmp_path / name / f".0123{PARTIAL}" for name in (".", "networks", "pictures")]
    for half in halves:
        half.parent.mkdir(exist_ok=True)
        half.write_text("half")
    assert main(words(weights, pictures, "--output", tmp_path, "--localizer", "center")) == 0
    assert all(half.exists() for half in halves)


def test_a_model_that_ends_in_softmax_is_said(pictures, tmp_path, capsys, monkeypatch):
    def build(*given, **more):
        built = build_classifier(*given, **more)
        return built._replace(model=torch.nn.Sequential(built.model, torch.nn.Softmax(1)))

    monkeypatch.setattr("protomask.localization.folder.build_classifier", build)
    wanted = ["--image-size", "32", "--localizer", "center", "--batch-size", "1", "--output", str(tmp_path / "out")]
    with pytest.warns(NotLogitsWarning, match="seems to give probabilities, not logits") as said:
        assert main(["localize", "--model", "test_resnet", str(pictures), *wanted]) == 0
    assert len([each for each in said if each.category is NotLogitsWarning]) == 1


def test_a_warning_about_a_map_names_the_picture_and_the_class(weights, pictures, tmp_path, monkeypatch):
    def doubtful(self, explained, images, index, **_):
        warnings.warn(f"little in {name_of_map(5, int(index[5]), '0.1 kept')}", LowFaithfulnessWarning, stacklevel=2)
        return images[:, 0] * 0

    monkeypatch.setattr(GradCAM, "__call__", doubtful)
    with pytest.warns(LowFaithfulnessWarning, match=r"little in .*/c.png, class 7 \(0.1 kept\)"):
        assert main(words(weights, pictures, "--output", tmp_path / "out", "--index", "2,7")) == 0


def test_a_class_without_evidence_has_no_outline_and_the_list_says_so(pictures, tmp_path, capsys):
    state = timm.create_model("test_resnet", num_classes=12).state_dict()
    state["fc.weight"][3] = 0  # class 3 has the same logit in every picture
    state["fc.bias"][3] = 50  # and no other has a chance, so that its score is that of the empty image
    save_file(state, tmp_path / "constant.safetensors")
    more = ["--index", "3,4", "--score", "logit", str(pictures / "c.png")]
    assert main(words(tmp_path / "constant.safetensors", *more, "--output", str(tmp_path / "maps"))) == 0
    assert capsys.readouterr().out.count(f"(careful: {NOTHING_TO_KEEP})") >= 1
    (found,) = json.loads((tmp_path / "maps/localize.json").read_text())
    constant = found["classes"][0]
    assert constant["warning"] == NOTHING_TO_KEEP and all(each["box"] is None for each in constant["maps"].values())
    assert main(words(tmp_path / "constant.safetensors", *more, "--output", str(tmp_path / "maps"))) == 0
    assert "there already" in capsys.readouterr().err, "the record with its warning is read again"


def test_classes_by_name_and_multi_label_probabilities(weights, pictures, labels, tmp_path, capsys):
    target = tmp_path / "out"
    assert (
        main(
            words(
                weights,
                pictures / "c.png",
                "--output",
                target,
                "--labels",
                labels,
                "--index",
                "BIRD 7, 2",
                "--multi-label",
                "--score",
                "logit",
            )
        )
        == 0
    )
    (row,) = json.loads((target / "localize.json").read_text())
    assert [one["index"] for one in row["classes"]] == [7, 2]
    built = build_classifier("test_resnet", weights=weights, image_size=32)
    batch = as_batch(as_pixels(row["image"]), evaluation_transform(32, built.mean, built.std))
    assert row["classes"][0]["probability"] == pytest.approx(built.model(batch).sigmoid()[0, 7].item(), rel=1e-4)


def test_random_weights_are_pointed_out(pictures, tmp_path, capsys):
    assert (
        main(
            [
                "localize",
                "--model",
                "test_resnet",
                "--image-size",
                "32",
                "--localizer",
                "center",
                "--quiet",
                "--output",
                str(tmp_path / "out"),
                str(pictures / "c.png"),
            ]
        )
        == 0
    )
    assert "random weights; give --weights or --pretrained" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, named",
    [
        (["/no/such.png"], ["/no/such.png"]),
        (["PICTURES/notes.txt"], ["notes.txt"]),
        (["PICTURES", "--localizer", "mdn"], ["mdn", "mdm"]),
        (["PICTURES", "--localizer", ","], ["--localizer"]),
        (["PICTURES", "--localizer", "similarity"], ["similarity", "mdm"]),
        (["PICTURES", "--index", "12"], ["index ", "12", "0 to 11"]),
        (["PICTURES", "--index", "robin"], ["index ", "robin", "labels"]),
        (["PICTURES", "--index", "1.5"], ["index ", "1.5"]),
        (["PICTURES", "--top", "0"], ["--top"]),
        (["PICTURES", "--top", "2", "--index", "1"], ["index '1'", "top 2", "both given"]),
        (["PICTURES", "--batch-size", "-1"], ["--batch-size"]),
        (["PICTURES", "--image-size", "many"], ["--image-size", "many"]),
        (["PICTURES", "--image-size", "0"], ["--image-size"]),
        (["PICTURES", "--model", "test_resnat"], ["test_resnat", "test_resnet"]),
        (["PICTURES", "--weights", "/no/weights.pth"], ["/no/weights.pth"]),
        (["PICTURES", "--pretrained"], ["exclude each other"]),
        (["PICTURES", "--labels", "/no/names.txt"], ["/no/names.txt"]),
        (["PICTURES", "--labels", "PICTURES/notes.txt"], ["1 classes", "12"]),
        (["PICTURES", "--labels", "PICTURES/c.png"], ["c.png", "UTF-8"]),
        (["PICTURES", "--labels", "NAMES/blank"], ["labels ", "blank:3: an empty line"]),
        (["PICTURES", "--labels", "NAMES/twice", "--index", "a"], ["--index 'a'", "classes 0 and 5", "number"]),
        (["PICTURES", "--labels", "NAMES/twice", "--index", "1,a"], ["--index 'a'", "classes 0 and 5", "number"]),
        (["PICTURES", "--labels", "NAMES/from 1", "--index", "4"], ["class 3 ", "class 4, '5'", "leave out --labels"]),
        (["PICTURES", "--score", "odds"], ["odds", "probability"]),
        (["PICTURES", "--device", "cuda:77"], ["--device", "cpu"]),
        (["PICTURES", "--output", "PICTURES/c.png"], ["c.png", "--output"]),
        (["EMPTY"], ["no pictures"]),
        ([], ["IMAGE"]),
    ],
)
def test_bad_input(weights, pictures, tmp_path, capsys, more, named):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").write_text("a\nb\n\nc\n")
    (tmp_path / "twice").write_text("\n".join("abcdeaghijkl"))
    (tmp_path / "from 1").write_text("\n".join(map(str, range(1, 13))))
    places = {"PICTURES": pictures, "EMPTY": tmp_path / "empty", "NAMES": tmp_path}
    for name, place in places.items():
        more = [word.replace(name, str(place)) for word in more]
    fails(capsys, words(weights, "--output", tmp_path / "out", *more), *named)


def test_a_damaged_picture_is_named_and_the_others_are_kept(weights, pictures, tmp_path, capsys):
    broken = pictures / "c.png"
    broken.write_bytes(broken.read_bytes()[:80])
    fails(capsys, words(weights, pictures, "--output", tmp_path / "out", "--batch-size", 1), "c.png")
    assert len(list((tmp_path / "out").rglob("record.json"))) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_output_that_cannot_be_written(weights, pictures, tmp_path, capsys):
    target = tmp_path / "out"
    target.mkdir(mode=0o500)
    fails(capsys, words(weights, pictures, "--output", target), "--output")
