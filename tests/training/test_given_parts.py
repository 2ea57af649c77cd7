"""Prototypes on given patches: outlined places, and the halves of what means two things."""

import shutil

import pytest
import torch

import protomask
from protomask.errors import InputError
from protomask.networks import load_network
from protomask.run.lessons import Lessons, add_prototypes, find_lessons
from protomask.run.outlined_cells import cells_of_regions
from protomask.run.refined import in_words
from protomask.run.review import Region, Review, add_judgements
from protomask.training.forgetting import find_forbidden
from protomask.training.given_parts import give_cells, give_halves, project_on_given, split_in_two
from protomask.training.patches import cut_cells, source_of
from tests.run.conftest import SMALL, write_image_folder
from tests.support.once import made_once


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    def make(place):
        pictures = write_image_folder(place / "pictures", per_class=10)
        protomask.train(data="folder", root=pictures, output=place / "run", **{**SMALL, "epochs": 2})

    copy = tmp_path_factory.mktemp("taught") / "run"
    shutil.copytree(made_once(tmp_path_factory, "run to teach", make) / "run", copy)
    return protomask.open_run(copy, progress=False)


def records(run):
    return [picture.record for picture in run.pictures]


def outline(cell, grid):
    """The corners of one cell of the feature map."""
    row, column = cell
    rows, columns = grid
    x, y, right, down = column / columns, row / rows, (column + 1) / columns, (row + 1) / rows
    return [[x, y], [right, y], [right, down], [x, down]]


def elsewhere(network, number):
    """A cell of a prototype's source image in which it does not lie."""
    row, column = network.source_locations[number].tolist()
    return (row + 1) % network.grid[0], (column + 1) % network.grid[1]


def test_the_pair_to_which_all_are_most_similar_parts_them():
    points = torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1, 5.3])
    similarities = 1 / (1 + (points[:, None] - points).abs())
    first, second, group = split_in_two(similarities)
    assert (first, second) == (1, 4) and group.tolist() == [0, 0, 0, 1, 1, 1]
    first, second, group = split_in_two(torch.ones(4, 4))  # all the same: two groups all the same
    assert first != second and set(group.tolist()) == {0, 1}


def test_copies_change_no_answer(run):
    network = load_network(run.folder)
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        before = network.eval()(images).logits
        network.add_copies([1, 4])
        after = network(images)
    assert torch.allclose(before, after.logits, atol=1e-5) and after.similarities.shape == (3, 8)
    assert network.prototype_classes.tolist() == [0, 0, 1, 1, 2, 2, 0, 2]
    with pytest.raises(InputError, match="no prototype 99"):
        network.add_copies([99])


def test_an_outlined_place_that_the_prototype_lies_on_asks_for_nothing(run):
    network = run.network
    here = tuple(network.source_locations[2].tolist())
    judgements = [
        {"prototype": 2, "by": "RB", "region": outline(here, network.grid), "meaning": "evidence"},
        {"prototype": 3, "by": "RB", "region": outline(elsewhere(network, 3), network.grid), "meaning": "evidence"},
        {"prototype": 4, "by": "RB", "region": outline(elsewhere(network, 4), network.grid), "meaning": "evidence"},
        {"prototype": 4, "by": "RB", "verdict": "keep"},
        {"prototype": 5, "by": "RB", "verdict": "split"},
    ]
    filled = [{"id": str(place), "at": "2026-01-01", "source": "", **each} for place, each in enumerate(judgements)]
    lessons = find_lessons(Review(tuple(filled)), network)
    assert list(lessons.required) == [3] and lessons.split == (5,) and lessons.changed == [3, 5]
    assert lessons.required[3] == ((int(network.source_positions[3]), *elsewhere(network, 3)),)


def test_an_outline_smaller_than_a_cell_is_the_cell_that_holds_it(run):
    network = run.network
    rows, columns = network.grid
    x, y = 1.5 / columns, 0.5 / rows
    corners = tuple((x + dx, y + dy) for dx, dy in ((0, 0), (0.02, 0), (0.02, 0.02)))
    found = cells_of_regions(network, [Region(0, corners, "evidence", "RB")])
    assert found == [(int(network.source_positions[0]), 0, 1)]


def test_what_is_outlined_and_forbidden_is_not_given(run):
    network, setup = run.network, run.setup
    cell = (int(network.source_positions[0]), *network.source_locations[0].tolist())
    assert torch.allclose(cut_cells(network, setup, [cell])[0], network.prototypes[0], atol=1e-4)
    forbidden = find_forbidden(network, setup, [], [0], [])
    assert give_cells(network, setup, 0, [cell], forbidden) is None
    assert give_cells(network, setup, 0, [cell], None).cells == (cell,)


def test_halves_share_the_nearest_patches_of_the_class(run):
    network = load_network(run.folder)
    assert add_prototypes(network, Lessons(split=(3,))).halves == {3: 6}
    found = give_halves(network, run.setup, 3, 6)
    cells = [*found[3].cells, *found[6].cells]
    assert len(set(cells)) == len(cells) >= 4 and found[3].other == 6
    owners = {int(run.setup.plain.labels[position]) for position, _, _ in cells}
    assert owners == {int(network.prototype_classes[3])}


def test_halves_keep_away_from_what_is_forbidden(run):
    network = load_network(run.folder)
    add_prototypes(network, Lessons(split=(3,)))
    cells = [cell for each in give_halves(network, run.setup, 3, 6).values() for cell in each.cells]
    forbidden = find_forbidden(network, run.setup, [], [], [], cells)  # the places alone
    found = give_halves(network, run.setup, 3, 6, forbidden)
    assert not {*cells} & {cell for each in found.values() for cell in each.cells}
    nowhere = forbidden._replace(
        cells={
            position: frozenset((row, column) for row in range(network.grid[0]) for column in range(network.grid[1]))
            for position in range(len(run.setup.plain))
        }
    )
    assert give_halves(network, run.setup, 3, 6, nowhere) is None


def test_two_that_are_given_the_same_places_lie_on_different_ones(run):
    network, setup = load_network(run.folder), run.setup
    position = int(network.source_positions[2])
    cells = [(position, *place) for place in ((0, 0), (0, 1), (1, 0))]
    given = {number: give_cells(network, setup, number, cells, None) for number in (2, 3)}
    spread = torch.randn(3, *network.prototypes.shape[1:], generator=torch.Generator().manual_seed(0))
    given = {number: each._replace(patches=spread) for number, each in given.items()}
    network.set_prototypes(torch.tensor([2, 3]), spread[:1].expand(2, -1, -1, -1))
    project_on_given(network, given)
    assert source_of(network, 2) == cells[0] != source_of(network, 3) and source_of(network, 3) in cells
    network.set_prototypes(torch.tensor([3]), spread[:1])  # the first stays, and its patch is taken
    project_on_given(network, {3: given[3]})
    assert source_of(network, 3) in cells[1:]
    network.set_prototypes(torch.tensor([3]), spread[:1])
    project_on_given(network, {3: given[3]}, moving=[2])  # but not where it moves on
    assert source_of(network, 3) == cells[0]


def test_refining_moves_a_prototype_onto_the_outlined_place_and_splits_another(run, tmp_path):
    network = run.network
    cell = elsewhere(network, 1)
    given = [
        {"prototype": 1, "by": "RB", "region": outline(cell, network.grid), "meaning": "evidence"},
        {"prototype": 4, "by": "RB", "verdict": "split"},
        {"prototype": 0, "by": "RB", "verdict": "keep"},
    ]
    review = add_judgements(tmp_path, given, records(run))
    refined = run.refine(review, output=tmp_path / "new", epochs=1)
    after = load_network(refined.folder)
    assert after.prototype_count == 7 and after.prototype_classes.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert after.source_locations[1].tolist() == list(cell)
    assert after.source_positions[1] == network.source_positions[1]
    stay = [0, 2, 3, 5]
    assert [source_of(after, number) for number in stay] == [source_of(network, number) for number in stay]
    sources = {(int(after.source_positions[n]), *after.source_locations[n].tolist()) for n in (4, 6)}
    assert len(sources) == 2
    told = refined.files.read("refined.json")
    assert told["pairs"] == [
        {"before": 1, "after": [1], "why": "required"},
        {"before": 4, "after": [4, 6], "why": "split"},
    ]
    assert [picture.record.prototype for picture in refined.pictures] == list(range(7))
    assert protomask.open_run(refined.folder).explain(run.test.read(0)["image"])[0].matches


def test_a_place_at_which_a_class_must_look_is_shared_out(run):
    network = run.network
    lies, free = source_of(network, 3)[1:], elsewhere(network, 3)

    def lessons(cell, verdict=None):
        given = [{"prototype": 3, "by": "RB", "region": outline(cell, network.grid), "meaning": "class"}]
        given += [{"prototype": 2, "by": "RB", "verdict": verdict}] if verdict else []
        common = {"id": "a", "at": "2026-01-01T00:00:00", "source": ""}
        return find_lessons(Review(tuple({**common, **each} for each in given)), network)

    assert lessons(lies).nothing  # a prototype of the class comes from there
    asked = lessons(free)
    assert not asked.changed and not asked.nothing and [each.prototype for each in asked.added] == [3]
    assert asked.added[0].cells == ((int(network.source_positions[3]), *free),)
    replaced = lessons(free, "forget")  # one that goes anyway moves there
    assert replaced.forget == (2,) and replaced.required == {2: asked.added[0].cells} and not replaced.added


def test_refining_adds_a_prototype_where_the_class_must_look(run, tmp_path):
    network = run.network
    cell = elsewhere(network, 3)
    given = [{"prototype": 3, "by": "RB", "region": outline(cell, network.grid), "meaning": "class"}]
    refined = run.refine(add_judgements(tmp_path, given, records(run)), output=tmp_path / "new", epochs=1)
    after = load_network(refined.folder)
    assert after.prototype_classes.tolist() == [0, 0, 1, 1, 2, 2, 1]
    assert source_of(after, 6) == (int(network.source_positions[3]), *cell)
    told = refined.files.read("refined.json")
    assert told["pairs"] == [{"before": 3, "after": [6], "why": "added"}] and told["added"] == [6]
    assert refined.pictures[6].record.source == refined.pictures[3].record.source
    assert "added 1 prototype;" in in_words(told)
    assert "; 1 image became wrong, " in in_words({**told, "right_to_wrong": 1})
    with pytest.raises(InputError, match="asks for no change"):  # the outline went along, and is fulfilled
        refined.refine()


def test_networks_without_shared_patches_say_that_they_cannot_split(tmp_path):
    pictures = write_image_folder(tmp_path / "pictures", per_class=6)
    run = protomask.train(
        data="folder", root=pictures, output=tmp_path / "run", **{**SMALL, "network": "xprotonet", "epochs": 1}
    )
    review = add_judgements(tmp_path, [{"prototype": 1, "by": "RB", "verdict": "split"}], records(run))
    with pytest.raises(InputError, match="cannot split"):
        run.refine(review, output=tmp_path / "new")
    region = {"prototype": 1, "by": "RB", "region": [[0, 0], [1, 0], [1, 1]], "meaning": "distraction"}
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="cannot place"):
        run.refine(add_judgements(tmp_path / "other", [region], records(run)), output=tmp_path / "new")
