"""Refining by a review: what is forgotten goes, what is kept stays, and nothing forbidden comes back."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import protomask
from protomask.cli import main
from protomask.errors import InputError
from protomask.explanations.records import PrototypeRecord
from protomask.networks import load_network
from protomask.projection import project
from protomask.report.accuracies import accuracy
from protomask.run.forbids import Forbids, read_forbids
from protomask.run.lessons import check_possible
from protomask.run.measures import validated
from protomask.run.origins import require_trained
from protomask.run.pruning import _left_behind
from protomask.run.refined import FOLDER, answers, carry_over, changed_picture, compare_answers, draw_changes
from protomask.run.refining import find_review, refined_name
from protomask.run.review import FILE, Review, add_judgements, review_of
from protomask.run.setup import plan_of
from protomask.run_folder import RunFolder, folder_beside
from protomask.serve.versions import Versions, _changed
from protomask.training import TrainingSet, train
from protomask.training.forgetting import allowed_cells, choose_starts, find_forbidden, is_allowed, project_allowed
from protomask.training.patches import cut_cells, source_of
from protomask.training.settling import settle_as, settling
from protopnet import ProtoPNet
from tests.run.conftest import SMALL, write_image_folder
from tests.support.files import assert_written_last
from tests.support.once import made_once
from tests.support.toy import ColourImages, ToyBackbone


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    def make(place):
        pictures = write_image_folder(place / "pictures", per_class=8)
        protomask.train(data="folder", root=pictures, output=place / "run", **{**SMALL, "epochs": 2})

    copy = tmp_path_factory.mktemp("refined") / "run"
    shutil.copytree(made_once(tmp_path_factory, "run to refine", make) / "run", copy)
    found = protomask.open_run(copy, progress=False)
    records = [picture.record for picture in found.pictures]
    add_judgements(found.folder, [{"prototype": 1, "by": "RB", "verdict": "forget"}], records)
    add_judgements(found.folder, [{"prototype": 2, "by": "RB", "verdict": "keep"}], records)
    return found


@pytest.fixture(scope="module")
def refined(run):
    return run.refine(epochs=1)


@pytest.fixture(scope="module")
def marked(refined, tmp_path_factory):
    """A copy of the refined run that people judged anew."""
    copied = tmp_path_factory.mktemp("marked") / "run"
    shutil.copytree(refined.folder, copied)
    records = [picture.record for picture in refined.pictures]
    given = [
        {"prototype": 0, "by": "RB", "verdict": "keep"},
        {"prototype": 4, "by": "AM", "verdict": "forget", "note": "a tag"},
        {"prototype": 4, "by": "RB", "verdict": "keep"},
        {"prototype": 5, "by": "AM", "region": CORNER, "meaning": "distraction"},
    ]
    add_judgements(copied, given, records)
    return protomask.open_run(copied, progress=False)


@pytest.fixture(scope="module")
def pruned(marked):
    return marked.prune([0])


CORNER = [[0.0, 0.0], [0.4, 0.0], [0.4, 0.4]]
OTHERS = [0, 2, 3, 4, 5]


def test_where_the_features_learn_all_others_stay_on_their_patches(run, tmp_path):
    before, after = run.network, run.refine(output=tmp_path / "learned", epochs=2, features=True).network
    assert_written_last(tmp_path / "learned" / "config.json")
    assert torch.equal(before.source_positions[OTHERS], after.source_positions[OTHERS])
    assert torch.equal(before.source_locations[OTHERS], after.source_locations[OTHERS])
    assert source_of(before, 1) != source_of(after, 1)
    assert not torch.equal(before.add_on[0].weight, after.add_on[0].weight)
    patches = cut_cells(after, run.setup, [source_of(after, number) for number in range(6)])
    assert torch.allclose(patches, after.prototypes, atol=1e-5)
    assert not torch.equal(before.last_layer.weight, after.last_layer.weight)


@pytest.mark.parametrize("features", [False, True])
def test_all_others_rest_while_it_settles_also_over_a_kill(run, tmp_path, features):
    setup = dataclasses.replace(run.setup, batch_size=4)

    def settle(checkpoint=None, death=None):
        def objective(*given):
            calls.append(given)
            if len(calls) == death:
                raise KeyboardInterrupt
            return recipe(*given)

        network, calls = load_network(run.folder), []
        forbidden = find_forbidden(network, setup, [], [1], [])
        assert choose_starts(network, setup, forbidden, [1], seed=0) == [1]
        before = network.prototypes.detach().clone()
        wanted = settle_as(plan_of(network, run.options), [1], forbidden, {})
        recipe = wanted.objective
        rates = wanted.rates if features else {}
        wanted = wanted._replace(objective=objective, rates=rates, decay={"prototypes": 0.5})
        (stage, *_) = settling(network, wanted, 2)
        train(network, [stage], setup, checkpoint=checkpoint, minutes=0)
        moved = (network.prototypes.detach() != before).flatten(1).any(1)
        assert moved.tolist() == [number == 1 for number in range(6)]
        return network.prototypes.detach()

    whole = settle()
    with pytest.raises(KeyboardInterrupt):
        settle(tmp_path / "state.pt", death=2)
    assert torch.equal(settle(tmp_path / "state.pt"), whole)


def test_the_forgotten_prototype_is_replaced_and_all_others_stay_exactly_as_they_are(run, refined):
    before, after = run.network, load_network(refined.folder)
    assert torch.equal(before.prototypes[OTHERS], after.prototypes[OTHERS])
    assert torch.equal(before.source_positions[OTHERS], after.source_positions[OTHERS])
    assert not torch.allclose(before.prototypes[1], after.prototypes[1])
    for name, value in before.backbone.state_dict().items():
        assert torch.equal(value, after.backbone.state_dict()[name])
    assert not torch.equal(before.last_layer.weight, after.last_layer.weight)


def test_the_replacement_is_an_allowed_patch_of_its_class(run, refined):
    network, setup = load_network(refined.folder), run.setup
    position = int(network.source_positions[1])
    assert int(setup.plain.labels[position]) == int(network.prototype_classes[1])
    image = setup.plain[position]["image"][None]
    with torch.no_grad():
        similarity = network.score(image, torch.tensor([1])).item()
        itself = network.patch_similarities(network.prototypes[1:2])[0, 1].item()
    assert similarity == pytest.approx(itself, abs=1e-4)  # it is a patch of that image
    forbidden = find_forbidden(run.network, setup, [], [1], [])
    seen = cut_cells(run.network, setup, [source_of(network, 1)])  # by the network that the person saw
    assert is_allowed(forbidden, seen).tolist() == [True]
    assert not is_allowed(forbidden, run.network.prototypes).tolist()[1]


def test_a_refined_run_has_no_training_to_resume(run, refined, pruned, capsys):
    before = (refined.folder / "model.safetensors").read_bytes()
    assert main(["train", "--output", str(refined.folder), "--resume", "--quiet"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "made by protomask refine, so there is no training to resume; go on with the run that it came from" in said
    assert [list(step) for step in pruned.metrics["steps"]] == [["refined"], ["pruned"]]
    assert pruned.metrics["test_accuracy"]["original"] == run.metrics["test_accuracy"]["final"]
    with pytest.raises(InputError, match="made by protomask prune"):
        require_trained(pruned.files)
    assert (refined.folder / "model.safetensors").read_bytes() == before
    require_trained(run.files)


def test_the_validation_accuracy_is_the_delivered_networks_own(run, refined, pruned):
    for each in (run, refined, pruned):
        measured = validated(each.network, each.setup).get("validation_accuracy")
        assert each.metrics["validation_accuracy"] == pytest.approx(measured) and measured is not None


def test_what_changed_is_told(run, refined):
    told = refined.files.read("refined.json")
    assert told["forgotten"] == [1] and told["replaced"] == [1] and told["kept"] == [2]
    assert told["test_accuracy"]["after"] == pytest.approx(refined.metrics["test_accuracy"]["final"])
    gained = told["wrong_to_right"] - told["right_to_wrong"]
    assert told["test_accuracy"]["after"] - told["test_accuracy"]["before"] == pytest.approx(
        gained / told["test_images"]
    )
    assert len(told["changed"]) >= abs(gained)
    assert (refined.folder / "report.html").is_file()
    assert {each.name for each in (refined.folder / "refined").iterdir()} == {"before.png", "after.png", "changed"}
    assert told["pairs"] == [{"before": 1, "after": [1], "why": "forgotten"}]
    assert [picture.record.prototype for picture in refined.pictures] == list(range(6))
    assert refined.pictures[1].record.source == run.setup.plain.names[int(refined.network.source_positions[1])]
    assert protomask.open_run(refined.folder).network.prototype_count == 6


def test_what_training_measured_stays_beside_what_refining_did(run, refined):
    told, before, after = refined.files.read("refined.json"), run.metrics, refined.metrics
    keys = ("test_accuracy", "right_to_wrong", "wrong_to_right")
    assert after["steps"] == [{"refined": {key: told[key] for key in keys}}] and "steps" not in before
    for name in ("test_accuracy", "test_auroc", "test_average_precision"):
        assert {**after[name], "final": after[name]["original"]} == {**before[name], "original": before[name]["final"]}
    assert after["changes"] == before["changes"]
    sentences = accuracy(after, refined.files.read("config.json"))["sentences"]
    course = accuracy(before, run.files.read("config.json"))["sentences"][0]
    assert sentences[0] == course.replace("Tying", "Before refining, tying")
    assert sentences[1].startswith("Refining by a review: ")


def test_the_old_review_stays_and_what_it_says_of_prototypes_that_stay_goes_along(run, refined):
    assert review_of(run.folder).numbers("forget") == [1]
    carried = review_of(refined.folder)
    assert carried.numbers("keep") == [2] and carried.numbers("forget") == []
    carried.check_fits([picture.record for picture in refined.pictures], "carried over")
    with pytest.raises(InputError, match="asks for no change"):
        refined.refine()


def test_a_pruned_run_takes_along_what_was_marked_of_what_stays_and_what_is_forbidden(run, marked, pruned):
    before, after = review_of(marked.folder), review_of(pruned.folder)
    after.check_fits([picture.record for picture in pruned.pictures], "carried over")
    stays = [each for each in before.judgements if each["prototype"] != 0]
    assert after.judgements == tuple({**each, "prototype": each["prototype"] - 1} for each in stays)
    assert after.numbers("keep") == [1] and after.standing()[3].disputed
    (outlined,) = after.regions()
    assert (outlined.prototype, outlined.meaning) == (4, "distraction")
    # Also when: an outline that was made since the refinement may take back what it forbade.
    assert pruned.files.read("forbidden.json") == marked.files.read("forbidden.json")
    told = read_forbids(pruned.files, pruned.network, run.setup.plain)
    assert source_of(run.network, 1) in told.cells and told.at is not None


@pytest.mark.parametrize(
    "file, words", [(FILE, "restore the run's own review"), ("forbidden.json", "forbids a place in")]
)
def test_what_is_not_of_the_run_is_told_before_pruning(run, refined, tmp_path, file, words):
    copied = tmp_path / "net"
    shutil.copytree(refined.folder, copied)
    files = RunFolder(copied)
    if file == FILE:
        add_judgements(tmp_path, [{"prototype": 1, "by": "RB", "verdict": "keep"}], [elsewhere(0), elsewhere(1)])
        shutil.copy(tmp_path / FILE, copied / FILE)
    else:
        forbidden = files.read(file)
        forbidden["cells"][0]["image"] = "elsewhere.png"
        files.write(file, forbidden)
    with pytest.raises(InputError, match=words):
        protomask.open_run(copied, progress=False).prune([0])
    assert {each.name for each in tmp_path.iterdir()} <= {"net", FILE, ".review.lock"}


def elsewhere(number):
    return PrototypeRecord(number, "a", "elsewhere.png", (0, 0), 1.0, (0, 0, 1, 1), 1.0)


def test_outlines_for_others_that_go_with_a_removed_prototype_are_told():
    outlines = [(0, "distraction"), (0, "class"), (1, "evidence"), (2, "distraction"), (3, "class")]
    given = [{"prototype": number, "region": CORNER, "meaning": meaning} for number, meaning in outlines]
    common = {"by": "RB", "at": "2026-01-31T23:59:59", "source": ""}
    review = Review(tuple({"id": str(place), **common, **each} for place, each in enumerate(given)))
    assert _left_behind(review, [0, 1, 3]) == "outlines in the picture of prototype 0, prototype 3"
    assert _left_behind(review, [1, 4]) == ""


def test_changed_answers_are_listed_with_pictures_those_that_became_wrong_first(run, refined):
    test, labels = run.test, torch.tensor([run.test[place]["label"] for place in range(len(run.test))])
    before = torch.nn.functional.one_hot(labels, 3).float()
    after = before.clone()
    before[0] = torch.nn.functional.one_hot((labels[0] + 1) % 3, 3)  # wrong, becomes right
    after[3] = torch.nn.functional.one_hot((labels[3] + 1) % 3, 3)  # right, becomes wrong
    told = compare_answers(run, before, after, labels)
    assert [each["position"] for each in told["changed"]] == [3, 0]
    assert (told["right_to_wrong"], told["wrong_to_right"], told["answers_changed"]) == (1, 1, 2)
    assert told["changed"][0]["truth"] == told["changed"][0]["before"] != told["changed"][0]["after"]
    draw_changes(run, refined, {**told, "pairs": []}, refined.pictures)
    assert Image.open(changed_picture(refined.folder / FOLDER, 1)).size == (64, 64)
    assert len(test) >= 6


def test_findings_are_named_together():
    logits = torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, -1.0]])
    assert answers(logits, ["a", "b", "c"], True) == [["a", "c"], []]
    assert answers(logits, ["a", "b", "c"], False) == ["c", "a"]


def test_answers_of_findings_are_kept_as_they_can_be_read_and_named_again(tmp_path):
    """The truth of such an image is several names: the file was taken for a damaged one."""
    options, names = SimpleNamespace(seed=0), ["a", "b"]
    test = SimpleNamespace(names=names, truth=lambda place: ("one, two", "c_d")[: 2 - place])
    network = SimpleNamespace(classes=["one, two", "c_d"], multi_label=True)
    run = SimpleNamespace(options=options, network=network, test=test)
    before, after = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    told = compare_answers(run, before, after, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    RunFolder(tmp_path).write("refined.json", {"forgotten": [], "replaced": [], **told})
    first, second = RunFolder(tmp_path).read("refined.json")["changed"]
    assert (first["truth"], first["before"], first["after"]) == (["one, two", "c_d"], ["one, two", "c_d"], [])
    assert (second["truth"], second["before"], second["after"]) == (["one, two"], ["one, two"], ["one, two", "c_d"])
    shown = [_changed(RunFolder(tmp_path), 0, each, str.upper) for each in (first, second)]
    assert [each["after"] for each in shown] == ["no finding", "ONE, TWO, C_D"]


def test_a_dispute_goes_along_as_it_is(tmp_path):
    """A: keep, then forget, beside B: keep; without A's last word both would keep."""
    words = [("A", 1, "keep"), ("A", 1, "forget"), ("B", 1, "keep"), ("A", 0, "forget"), ("C", 2, "keep")]
    given = [
        {
            "id": str(place),
            "at": f"2026-01-31T00:00:0{place}",
            "by": by,
            "prototype": number,
            "source": "",
            "verdict": what,
        }
        for place, (by, number, what) in enumerate(words)
    ]
    review, files = Review(tuple(given)), RunFolder(tmp_path)
    carry_over(review, SimpleNamespace(files=files), {1: 0, 2: 1})
    carried = review_of(tmp_path).standing()
    assert carried == {0: review.standing()[1], 1: review.standing()[2]} and carried[0].disputed


def toy(per_class=4, count=3, channels=6):
    torch.manual_seed(0)
    data = ColourImages(per_class)
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=count, channels=channels).eval()
    setup = TrainingSet(data, data, data.subset([]), batch_size=5)
    project(net, setup, distinct=True)
    return net, setup


def test_replacements_of_a_class_take_patches_that_no_sibling_has():
    network, setup = toy(count=4)
    with torch.no_grad():
        network.prototypes[:3] = network.prototypes[3] + 1e-3 * torch.randn_like(network.prototypes[:3])
    project_allowed(network, setup, find_forbidden(network, setup, [], [], []), [0, 1, 2])
    assert len({source_of(network, number) for number in range(4)}) == 4
    patches = network.prototypes.detach()[:4].flatten(1)
    assert torch.pdist(patches).min() > 1e-3
    cut = cut_cells(network, setup, [source_of(network, number) for number in range(4)]).flatten(1)
    assert torch.allclose(cut, patches, atol=1e-5)


def test_replacements_of_a_class_start_apart():
    network, setup = toy()
    assert choose_starts(network, setup, find_forbidden(network, setup, [], [], []), [0, 1, 2], seed=0) == [0, 1, 2]
    assert len({source_of(network, number) for number in range(3)}) == 3


def test_an_image_whose_nearest_patch_is_forbidden_offers_another():
    network, setup = toy(count=1)
    own = range(4)  # images of the first class
    images = torch.stack([setup.plain[position]["image"].as_subclass(torch.Tensor) for position in own])
    with torch.no_grad():
        nearest = network.candidates(images).locations[:, 0].tolist()
    places = [(position, *place) for position, place in zip(own, nearest)]
    forbidden = find_forbidden(network, setup, [], [], places)
    forbidden = forbidden._replace(levels=torch.full_like(forbidden.levels, 1e9))  # the places alone decide
    allowed = torch.ones(4, *network.grid, dtype=torch.bool)
    for position, row, column in places:
        allowed[position, row, column] = False
    with torch.no_grad():
        found = network.candidates_among(images, allowed)
    best = int(found.distances[:, 0].argmin())
    told = project_allowed(network, setup, forbidden, [0])
    assert told["without"] == 0
    assert source_of(network, 0) == (best, *found.locations[best, 0].tolist())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_is_interrupted_half_made_leaves_nothing(run, tmp_path, monkeypatch, capsys, error):
    def stop(new):
        assert (new.folder / "model.safetensors").is_file() and not new.files.started  # it is no run before its end
        raise error

    for name, work in (("refining", ["refine"]), ("pruning", ["prune", "--prototypes", "0"])):
        monkeypatch.setattr(f"protomask.run.{name}.report_run", stop)
        monkeypatch.setattr(f"protomask.run.{name}.save_inspected", lambda run, pictures: pictures)
        words = [work[0], str(run.folder), *work[1:], "--output", str(tmp_path / name), "--quiet"]
        words += ["--epochs", "0"] if name == "refining" else []
        if error is KeyboardInterrupt:
            assert main(words) == 130
            assert "interrupted; nothing is left of it: give the same command again" in capsys.readouterr().err
        else:
            with pytest.raises(error):
                main(words)
        assert not (tmp_path / name).exists()


def test_a_run_that_was_refined_already_is_not_called_so_twice(tmp_path):
    assert [refined_name(tmp_path / name) for name in ("net", "net-refined", "net-refined-3")] == ["net-refined"] * 3


def test_a_run_that_is_named_from_within_or_by_a_link_is_told_by_its_own_name(run, tmp_path, monkeypatch):
    net, latest = tmp_path / "runs" / "net", tmp_path / "latest"
    shutil.copytree(run.folder, net)
    latest.symlink_to(net)
    monkeypatch.chdir(net)
    refined = protomask.open_run(".", progress=False).refine(epochs=0)
    pruned = protomask.open_run(latest, progress=False).prune([0])
    found = (refined, "net-refined", "refined.json"), (pruned, "net-pruned", "config.json")
    for each, name, file in found:
        assert each.folder.resolve() == net.parent / name
        told = each.files.read(file)
        assert told.get("pruned", told)["from"] == str(net)
    assert Versions(net).in_words()[1]["made_from"] == 0
    monkeypatch.chdir(tmp_path)
    assert folder_beside(Path("runs/net")) == Path("runs")  # said as the run is named, where that is right


def test_people_who_differ_are_told_of_it_with_the_file(run, tmp_path):
    source = run.pictures[0].record.source
    one = {"at": "2026-01-31T23:59:59", "prototype": 0, "source": source}
    words = [
        {**one, "id": "a", "by": "AM", "verdict": "forget"},
        {**one, "id": "b", "by": "RB", "verdict": "keep"},
    ]
    file = tmp_path / "both.json"
    file.write_text(json.dumps({"judgements": words}))
    with pytest.raises(InputError, match=r"both\.json asks for no change .*, as people differ on prototype 0;"):
        run.refine(file)


def test_a_review_that_forgets_nothing_or_is_of_another_run_is_refused(run, refined, tmp_path, capsys):
    with pytest.raises(InputError, match="asks for no change"):
        refined.refine(output=tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    other = tmp_path / "other"
    other.mkdir()
    add_judgements(other, [{"prototype": 3, "by": "AM", "verdict": "forget"}], [each.record for each in run.pictures])
    assert find_review(run, [run.folder / FILE, other / FILE]).numbers("forget") == [1, 3]  # of two people
    add_judgements(tmp_path, [{"prototype": 0, "by": "RB", "verdict": "forget"}], [elsewhere(0)])
    assert main(["refine", str(run.folder), "--review", str(tmp_path / FILE), "--quiet"]) == 2
    assert "the review of this run" in capsys.readouterr().err


def test_where_nothing_is_allowed_it_says_so_and_leaves_nothing(run, tmp_path, monkeypatch):
    from protomask.training import forgetting

    def nowhere(forbidden, images, positions, beside=1):
        return torch.zeros(len(images), *run.network.grid, dtype=torch.bool)

    monkeypatch.setattr(forgetting, "allowed_cells", nowhere)
    with pytest.raises(InputError, match="a patch that the review allows"):
        run.refine(output=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_features_that_have_no_epochs_to_learn_in_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="features learn while the network settles, and epochs is 0"):
        run.refine(output=tmp_path / "none", epochs=0, features=True)
    assert not (tmp_path / "none").exists()


def test_what_lies_beside_a_forbidden_patch_is_forbidden_too(run):
    network, setup = load_network(run.folder), run.setup
    position, (row, column) = int(network.source_positions[1]), network.source_locations[1].tolist()
    forbidden = find_forbidden(network, setup, [], [1], [])
    image = setup.plain[position]["image"][None]
    (alone,), (beside,) = (allowed_cells(forbidden, image, [position], each) for each in (0, 1))
    assert not alone[row, column] and not beside[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].any()
    assert (beside <= alone).all() and beside.sum() < alone.sum()
    nothing = find_forbidden(network, setup, [], [], [])
    assert allowed_cells(nothing, image, [position]).all()


def test_an_outlined_distraction_is_never_projected_to(run):
    network, setup = load_network(run.folder), run.setup
    position = int(network.source_positions[3])
    rows, columns = network.grid
    everywhere = [(position, row, column) for row in range(rows) for column in range(columns)]
    forbidden = find_forbidden(network, setup, [], [3], everywhere)
    forbidden = forbidden._replace(levels=torch.full_like(forbidden.levels, 1e9))  # the places alone decide
    assert choose_starts(network, setup, forbidden, [3], seed=0) == [3]
    project_allowed(network, setup, forbidden, [3])
    assert int(network.source_positions[3]) != position


def test_what_was_forgotten_stays_forbidden_when_the_refined_run_is_refined(run, refined, tmp_path):
    told = read_forbids(refined.files, refined.network, run.setup.plain)
    forgotten = source_of(run.network, 1)
    assert forgotten in told.cells and told.outlined == () and told.at is not None
    review = add_judgements(
        tmp_path, [{"prototype": 4, "by": "RB", "verdict": "forget"}], [each.record for each in refined.pictures]
    )
    again = refined.refine(review, output=tmp_path / "again", epochs=1)
    kept = read_forbids(again.files, again.network, run.setup.plain)
    assert {*told.cells, source_of(refined.network, 4)} <= set(kept.cells)
    assert again.network.source_positions[1] == refined.network.source_positions[1]  # the first one's heir stays
    assert read_forbids(run.files, run.network, run.setup.plain) == Forbids()
    with pytest.raises(InputError, match="forbids a place in .* the training images do not have"):
        read_forbids(refined.files, refined.network, run.setup.plain.subset(range(1)))


def test_prototypes_that_are_no_shared_patches_are_removed(tmp_path, caplog):
    pictures = write_image_folder(tmp_path / "pictures", per_class=6)
    options = {**SMALL, "network": "xprotonet", "epochs": 1}
    run = protomask.train(data="folder", root=pictures, output=tmp_path / "run", **options)
    records = [picture.record for picture in run.pictures]
    add_judgements(run.folder, [{"prototype": 1, "by": "RB", "verdict": "forget"}], records)
    for asked in (
        {"features": True},
        {"epochs": 0, "features": True},
    ):
        with pytest.raises(InputError, match="leave out features$"):
            run.refine(**asked)
    more = [{"prototype": 0, "by": "RB", "verdict": "forget"}]
    whole_class = add_judgements(tmp_path, [{**more[0], "prototype": 1}, *more], records)
    for refused in (lambda: check_possible(whole_class, run.network, "xprotonet"), lambda: run.refine(whole_class)):
        with pytest.raises(InputError, match="class colour 0 would be left without a prototype; keep at least one"):
            refused()
    everything = [{**more[0], "prototype": number} for number in range(len(records))]
    with pytest.raises(InputError, match="classes colour 0, colour 1, colour 2 would be left"):
        run.refine(add_judgements(tmp_path, everything, records))
    assert [each.name for each in tmp_path.glob("run-*")] == []
    with caplog.at_level("INFO", "protomask"):
        refined = run.refine(epochs=3)
    assert "note: xprotonet does not settle" in caplog.text
    assert refined.network.prototype_count == run.network.prototype_count - 1
    told = refined.files.read("refined.json")
    assert told["forgotten"] == [1] and told["replaced"] == []
    assert [picture.record.source for picture in refined.pictures] == [
        record.source for record in records if record.prototype != 1
    ]
