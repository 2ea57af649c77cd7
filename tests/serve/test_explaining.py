"""What the page answers about a picture, compared with what Python answers."""

import concurrent.futures
import io
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.localizers import Similarity, get_localizer
from protomask.report.encoding import svg_path
from protomask.report.evidence import find_evidence
from protomask.serve.of_run import OnePass
from protopnet.model import ProtoPNet
from tests.support.toy import ToyBackbone
from xprotonet.model import XProtoNet

from .conftest import explain, photo


@pytest.fixture(scope="module")
def picture():
    return photo(1, size=(64, 64))


def test_the_page_says_what_python_says(client, run, picture, tmp_path):
    (tmp_path / "picture.png").write_bytes(picture)
    expected = run.explain(tmp_path / "picture.png")[0]
    answer, told = explain(client, picture)
    asked = answer["questions"][0]
    assert asked["predicted"] == expected.predicted.replace("_", " ")
    assert asked["probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert [line["prototype"] for line in asked["matches"]] == [
        match.prototype.record.prototype for match in expected.matches
    ]
    assert [line["points"] for line in asked["matches"]] == pytest.approx(
        [match.points for match in expected.matches], abs=1e-4
    )
    for line in (*asked["matches"], *asked["counter"]):
        assert line["points"] == pytest.approx(line["weight"] * line["similarity"], abs=1e-5)
    shown = sum(line["points"] for line in asked["matches"])
    assert shown + asked["other_points"] == pytest.approx(asked["points"], abs=1e-4)
    last = told[-1]
    assert last["progress"] == 1.0 and set(last["masks"]) == {
        str(slot) for slot in range(len(expected.matches) + len(expected.counter))
    }
    for slot, match in enumerate(expected.matches):
        assert last["masks"][str(slot)]["outline"] == svg_path(
            find_evidence(match.maps["mdm"], size=expected.image.shape[:2])
        )


def test_the_map_comes_first_and_masks_grow(client, picture):
    _, told = explain(client, picture)
    kinds = ["answer" if "answer" in each else "progress" if "progress" in each else "waiting" for each in told]
    assert kinds.index("answer") < kinds.index("progress")
    shares = [each["progress"] for each in told if "progress" in each]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert told[kinds.index("answer")]["answer"]["questions"][0]["matches"][0]["quick"]["outline"]


def test_hiding_what_matters_changes_the_answer_as_it_changes_the_network(client, run, picture):
    answer, _ = explain(client, picture)
    address = f"/api/pictures/{answer['picture']}/hide"
    stroke = {"points": [[0.2, 0.2], [0.6, 0.45]], "radius": 0.2}
    for fill in ("blur", "zero"):
        found = client.post(address, json={"strokes": [stroke], "fill": fill}).json()
        assert 0.1 < found["share"] < 0.6
        assert any(abs(each["after"] - each["before"]) > 1e-4 for each in found["classes"])
        assert {each["before"] for each in found["classes"]} >= {answer["classes"][0]["probability"]}
    nothing = client.post(address, json={"strokes": [], "fill": "blur"}).json()
    assert nothing["share"] == 0
    assert all(each["after"] == pytest.approx(each["before"], abs=1e-6) for each in nothing["classes"])
    everything = {"strokes": [{"points": [[0, y / 4] for y in range(5)], "radius": 0.5}] * 2, "fill": "zero"}
    everything["strokes"][1] = {"points": [[1, y / 4] for y in range(5)], "radius": 0.5}
    assert client.post(address, json=everything).json()["share"] == pytest.approx(1.0)


def test_strokes_are_round_in_the_picture_and_not_in_the_square_input(client):
    answer, _ = explain(client, photo(0, size=(160, 80)))
    found = client.post(
        f"/api/pictures/{answer['picture']}/hide",
        json={"strokes": [{"points": [[0.5, 0.5]], "radius": 0.1}], "fill": "zero"},
    ).json()
    assert found["share"] == pytest.approx(np.pi * 0.1**2 * 2, rel=0.05)


def floats():
    """A TIFF whose numbers have no range."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).random((40, 50)).astype(np.float32)).save(file, format="TIFF")
    return file.getvalue()


def test_a_picture_that_needs_a_range_is_told_what_can_be_given_here(client):
    from protomask.serve.of_classifier import open_classifier

    from .conftest import client_of

    (run_says,) = [each["error"] for each in explain(client, floats(), "float.tif")[1] if "error" in each]
    assert run_says == (
        "float.tif: pixels of type float have no fixed range; convert the image to 8 bits; this run was trained "
        "without --intensity-range"
    )
    with client_of(open_classifier("test_resnet", image_size=64, localizer="similarity")) as plain:
        (says,) = [each["error"] for each in explain(plain, floats(), "float.tif")[1] if "error" in each]
    assert says.endswith(
        "to 8 bits, or have it explained by protomask localize, which takes --intensity-range LOW,HIGH"
    )


def test_the_panel_is_a_picture(client, picture):
    answer, _ = explain(client, picture)
    found = client.get(f"/api/pictures/{answer['picture']}/panel")
    assert found.headers["content-type"] == "image/png"
    assert min(Image.open(io.BytesIO(found.content)).size) > 200


def test_twenty_at_once_are_all_answered_and_none_is_mixed_up(client):
    names = [f"picture {number}.png" for number in range(20)]
    contents = [photo(number, size=(40 + number, 48)) for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda each: explain(client, *each), zip(contents, names)))
    assert [answer["name"] for answer, _ in found] == names
    assert [answer["width"] for answer, _ in found] == [40 + number for number in range(20)]
    assert all(told[-1]["progress"] == 1.0 for _, told in found)
    assert len({answer["picture"] for answer, _ in found}) == 20
    assert max(each["waiting"] for _, told in found for each in told if "waiting" in each) > 5
    alone, _ = explain(client, contents[7], names[7])
    assert alone["classes"] == found[7][0]["classes"]


def test_memory_is_bounded(client):
    service = client.app.state.service
    kept = service.kept.most
    for number in range(3):
        explain(client, photo(number))
    assert len(service.kept) <= kept and service.room.held == 0


def test_pictures_without_colour_are_known(client):
    from protomask.serve.pictures import is_grey

    grey = np.repeat(np.random.default_rng(0).integers(0, 255, (80, 80, 1), dtype=np.uint8), 3, axis=2)
    grey[:8, :8] = (255, 0, 0)  # a coloured mark
    assert is_grey(grey) and not is_grey(np.stack([grey[..., 0], grey[..., 1], 0 * grey[..., 2]], axis=2))
    assert explain(client, photo(2))[0]["grey"] is False


def resident():
    """Megabytes that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="tells memory by /proc")
@pytest.mark.parametrize("localizer, number", [("similarity", 1000), ("mdm", 100)])
def test_a_thousand_pictures_one_after_the_other_do_not_make_it_grow(run, localizer, number):
    from protomask.serve.of_run import RunSubject

    from .conftest import client_of

    held = []
    with client_of(RunSubject(run, localizer)) as client:
        for place in range(number):
            answer, told = explain(client, photo(place, size=(64, 64)), f"{place}.png")
            assert answer["name"] == f"{place}.png" and not any("error" in each for each in told)
            held.append(resident())
        service = client.app.state.service
        assert service.room.held == 0 and len(service.kept) == min(service.kept.most, number)
        assert service.worker.waiting == 0
    quarter = number // 4
    grown = np.mean(held[-quarter:]) - np.mean(held[quarter : 2 * quarter])
    print(
        f"{localizer}: {held[0]:.0f} MB after one, {held[quarter]:.0f} after {quarter}, {held[-1]:.0f} after {number}"
    )
    assert grown < 10


def test_large_photographs_are_read_smaller_and_keep_their_size_in_words(client):
    answer, _ = explain(client, photo(3, size=(2400, 1800), kind="JPEG"), "large.jpg")
    assert (answer["width"], answer["height"]) == (2400, 1800)


def test_prototypes_are_shown_by_number(client, run):
    found = client.get("/api/prototypes/1").json()
    record = run.pictures[1].record
    assert found["source"] == record.source and found["photo"].startswith("data:image/jpeg;base64,")
    height, width = run.pictures[1].image.shape[:2]
    assert found["ratio"] == width / height
    assert client.get("/api/prototypes/99").status_code == 400


def test_a_classifier_is_served_likewise(tmp_path):
    from protomask.serve.of_classifier import open_classifier

    from .conftest import client_of

    subject = open_classifier("test_resnet", image_size=64)
    with client_of(subject) as client:
        assert client.get("/api/about").json()["kind"] == "classes"
        answer, told = explain(client, photo(2))
        asked = answer["questions"][0]
        assert asked["matches"][0]["class"] == answer["classes"][0]["name"]
        assert asked["counter"][0]["class"] == answer["classes"][1]["name"]
        assert told[-1]["progress"] == 1.0 and set(told[-1]["masks"]) == {"0", "1"}
        found = client.post(
            f"/api/pictures/{answer['picture']}/hide",
            json={"strokes": [{"points": [[0.4, 0.4]], "radius": 0.3}], "fill": "blur"},
        ).json()
        assert found["classes"][0]["before"] != found["classes"][0]["after"]
        assert client.get(f"/api/pictures/{answer['picture']}/panel").headers["content-type"] == "image/png"
        assert client.get("/api/prototypes/0").status_code == 404


def test_nothing_is_outlined_where_an_empty_image_scores_as_high(run, tmp_path):
    from protomask.errors import NOTHING_TO_KEEP
    from protomask.serve.of_classifier import open_classifier
    from protomask.serve.of_run import RunSubject

    from .conftest import client_of

    constant = open_classifier("test_resnet", image_size=64, localizer="center")
    for parameter in constant.classifier.model.get_classifier().parameters():
        torch.nn.init.zeros_(parameter)
    prototypes = RunSubject(run)
    prototypes.prototypes = [
        each.changed(record=replace(each.record, empty_similarity=2.0)) for each in prototypes.prototypes
    ]
    for subject in (constant, prototypes):
        with client_of(subject) as client:
            answer, told = explain(client, photo(2))
            asked = answer["questions"][0]
            shown = [line["quick"] for line in (*asked["matches"], *asked["counter"])]
            shown += list(told[-1]["masks"].values())
            assert shown and {(each["outline"], each["where"]) for each in shown} == {("", NOTHING_TO_KEEP)}
            assert client.get(f"/api/pictures/{answer['picture']}/panel").status_code == 200


def test_a_classifier_with_one_output_is_refused_unless_it_answers_yes_or_no():
    from protomask.errors import InputError
    from protomask.serve.of_classifier import open_classifier

    from .conftest import client_of

    with pytest.raises(InputError, match="has one output, whose share of all outputs is always 100 %.*--multi-label"):
        open_classifier("test_resnet:num_classes=1", image_size=64, localizer="center")
    subject = open_classifier("test_resnet:num_classes=1", image_size=64, localizer="center", multi_label=True)
    torch.nn.init.constant_(subject.classifier.model.get_classifier().bias, -2.0)
    with client_of(subject) as client:
        about = client.get("/api/about").json()
        assert about["localizer"] == "Centre" and "middle of the image" in about["shows"]
        answer, told = explain(client, photo(2))
        asked = answer["questions"][0]
        assert asked["finding"] == "class 0" and asked["found"] is False and asked["counter"] == []
        assert 0 < asked["probability"] == answer["classes"][0]["probability"] < 0.5
        assert told[-1]["progress"] == 1.0
        assert client.get(f"/api/pictures/{answer['picture']}/panel").status_code == 200


@pytest.mark.parametrize("localizer, words", [("mdm", "smallest mask"), ("similarity", "each cell")])
def test_the_page_knows_whose_the_outlines_are_and_what_they_show(run, localizer, words):
    from protomask.serve.of_run import RunSubject

    about = RunSubject(run, localizer).about()
    assert about["localizer"].startswith(("MDM", "Similarity")) and words in about["shows"]


def test_the_page_knows_what_the_glow_is(run, forgetful):
    from protomask.report.wording import shows
    from protomask.serve.of_classifier import open_classifier
    from protomask.serve.of_run import RunSubject

    patches, pooled = RunSubject(run).about()["glow"], RunSubject(forgetful).about()["glow"]
    plain = open_classifier("test_resnet", image_size=64, localizer="center").about()["glow"]
    assert patches == {"name": "the similarity map", "shows": shows("similarity")}
    assert pooled == {"name": "the similarity map", "shows": shows("similarity", pooled=True)}
    assert plain == {"name": "Grad-CAM", "shows": shows("gradcam", "classes")}


def test_classes_that_are_written_alike_keep_their_own_names_on_the_page(run, monkeypatch):
    from protomask.explanations import files
    from protomask.serve.of_run import RunSubject

    assert RunSubject(run).classes == [name.replace("_", " ") for name in run.network.classes]
    monkeypatch.setattr(run.network, "classes", ["001.Foo_bar", "002.Foo_bar", *run.network.classes[2:]])
    monkeypatch.setattr(files, "check_belonging", lambda *_: None)  # the run's pictures are of the names before
    assert RunSubject(run).classes[:2] == ["001.Foo_bar", "002.Foo_bar"]


def test_watching_does_not_change_a_mask(run):
    import torch

    from protomask.localizers.engine.watching import watching

    images, index = torch.randn(2, 3, 64, 64), torch.tensor([0, 3])
    localizer = get_localizer("mdm")
    alone = localizer(run.network, images, index)
    seen = []
    with watching(lambda glimpse: seen.append((glimpse.step, tuple(glimpse.masks().shape)))):
        watched = localizer(run.network, images, index)
    assert torch.equal(alone, watched)
    assert len(seen) > 10 and {shape for _, shape in seen} == {(2, 64, 64)}


@pytest.mark.parametrize("kind", [ProtoPNet, XProtoNet])
def test_the_first_maps_are_made_in_one_pass_and_are_the_usual_ones(kind):
    network = kind(ToyBackbone(), ["a", "b"], image_size=32, prototypes_per_class=2).eval()
    image, index = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 0, 2])
    passes = []
    network.backbone.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    once = OnePass()(network, image.repeat(3, 1, 1, 1), index)
    assert passes == [1]
    torch.testing.assert_close(once, Similarity()(network, image.repeat(3, 1, 1, 1), index), atol=1e-5, rtol=0)
