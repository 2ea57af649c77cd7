"""Which patches an outline means, of one cell and of several, and what that forbids."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protomask.errors import InputError
from protomask.projection import project
from protomask.run.forbids import Forbids, read_forbids, write_forbids
from protomask.run.lessons import Increase, _forbidden, _given, add_prototypes, find_lessons
from protomask.run.outlined_cells import cells_covering_regions, cells_of_regions
from protomask.run.review import Region, Review
from protomask.run_folder import RunFolder
from protomask.training import TrainingSet
from protomask.training.forgetting import allowed_cells, choose_starts, find_forbidden, project_allowed
from protomask.training.given_parts import give_cells
from protomask.training.patches import source_of
from protopnet import ProtoPNet
from tests.support.toy import ColourImages, ToyBackbone


def make(patch):
    """Of 16 x 16 pixels and 4 x 4 cells."""
    torch.manual_seed(0)
    data = ColourImages(4)
    net = ProtoPNet(ToyBackbone(), data.classes, image_size=16, prototypes_per_class=1, channels=6, patch=patch).eval()
    net.source_positions.fill_(5)
    return net, TrainingSet(data, data, data.subset([]), batch_size=6)


def box(x0, y0, x1, y1):
    """A region, in cells."""
    corners = ((x0 / 4, y0 / 4), (x1 / 4, y0 / 4), (x1 / 4, y1 / 4), (x0 / 4, y1 / 4))
    return Region(0, corners, "distraction", "RB")


def places(found):
    assert {position for position, _, _ in found} == {5}
    return [(row, column) for _, row, column in found]


@pytest.mark.parametrize(
    ("patch", "region", "expected"),
    [
        (1, box(3.1, 3.1, 3.9, 3.9), [(3, 3)]),
        (1, box(0.0, 1.0, 1.9, 1.9), [(1, 0), (1, 1)]),
        (1, box(2.2, 0.2, 2.4, 0.4), [(0, 2)]),  # smaller than half of a cell
        (2, box(3.1, 3.1, 3.9, 3.9), [(2, 2)]),  # beside the edge no patch begins
        (3, box(3.1, 3.1, 3.9, 3.9), [(1, 1)]),
        (3, box(0.0, 3.1, 0.9, 3.9), [(1, 0)]),
        (3, box(1.1, 1.1, 1.9, 1.9), [(0, 0)]),  # four patches hold it; in the middle of this one it lies
        (3, box(2.1, 1.1, 2.9, 1.9), [(0, 1)]),
        (2, box(1.0, 1.0, 3.0, 2.0), [(0, 1), (1, 1)]),  # half of each
        (2, box(0.0, 0.0, 2.0, 2.0), [(0, 0), (0, 1), (1, 0)]),
    ],
)
def test_an_outline_means_the_patches_that_lie_in_it_or_that_holds_most_of_it(patch, region, expected):
    assert places(cells_of_regions(make(patch)[0], [region])) == expected


@pytest.mark.parametrize(
    ("patch", "region", "expected"),
    [
        (1, box(1.1, 1.1, 1.9, 1.9), {(1, 1)}),
        (2, box(1.1, 1.1, 1.9, 1.9), {(0, 0), (0, 1), (1, 0), (1, 1)}),
        (2, box(3.1, 3.1, 3.9, 3.9), {(2, 2)}),
        (3, box(0.0, 0.0, 0.2, 0.2), {(0, 0)}),
    ],
)
def test_every_patch_that_covers_an_outlined_cell_is_known(patch, region, expected):
    assert set(places(cells_covering_regions(make(patch)[0], [region]))) == expected


@given(st.integers(1, 4), st.floats(0, 3.8), st.floats(0, 3.8), st.floats(0.05, 4), st.floats(0.05, 4))
def test_every_outline_in_the_picture_means_a_patch_that_touches_it(patch, x, y, wide, high):
    net, right, low = make(patch)[0], min(4, x + wide), min(4, y + high)
    found = places(cells_of_regions(net, [box(x, y, right, low)]))
    assert found
    for row, column in found:
        assert 0 <= row <= 4 - patch and 0 <= column <= 4 - patch
        assert row - 0.05 <= low and y <= row + patch + 0.05 and column - 0.05 <= right and x <= column + patch + 0.05


@pytest.mark.parametrize("find", [cells_of_regions, cells_covering_regions])
def test_an_outline_beside_the_picture_is_refused(find):
    with pytest.raises(InputError, match="what RB outlined for prototype 0 holds nothing of its picture; withdraw it"):
        find(make(2)[0], [box(4.0, 1, 4.03, 2)])


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_no_prototype_may_come_from_a_patch_that_covers_a_distraction(patch, tmp_path):
    net, setup = make(patch)
    project(net, setup)
    region = {"prototype": 0, "by": "RB", "region": box(2.1, 2.1, 2.9, 2.9).corners, "meaning": "distraction"}
    lessons = find_lessons(Review(({"id": "a", "at": "2026-01-31", "source": "", **region},)), net)
    position = int(net.source_positions[0])
    begins = {(row, column) for row in range(5 - patch) for column in range(5 - patch)}
    covering = {(r, c) for r, c in begins if r <= 2 < r + patch and c <= 2 < c + patch}
    assert len(lessons.distractions) == 1 and len(lessons.covering) == len(covering) - 1
    forbids = Forbids((), lessons.distractions, lessons.covering)
    write_forbids(RunFolder(tmp_path), forbids, setup.plain)
    assert read_forbids(RunFolder(tmp_path), net, setup.plain).kinds == forbids.kinds
    again = find_lessons(Review(), net, forbids)
    assert (again.distractions, again.covering) == (lessons.distractions, lessons.covering)
    forbidden = find_forbidden(net, setup, [], [], lessons.distractions, lessons.covering)
    assert len(forbidden.patches) == 1  # the one in whose middle it lies: what is beside it is not forbidden elsewhere
    forbidden = forbidden._replace(levels=torch.full_like(forbidden.levels, 1e9))  # the places alone decide
    image = setup.plain[position]["image"][None]
    (allowed,) = allowed_cells(forbidden, image, [position])
    assert {tuple(place) for place in (~allowed).nonzero().tolist()} == covering
    (elsewhere,) = allowed_cells(forbidden, image, [position + 1])
    assert elsewhere.all()


def review(*given):
    """Of the corners of regions, and of verdicts, each by somebody."""
    common = {"at": "2026-01-31T00:00:00", "source": "", "by": "RB"}
    return Review(tuple({**common, "id": str(place), **each} for place, each in enumerate(given)))


def projected(patch=1):
    net, setup = make(patch)
    project(net, setup)
    return net, setup


def at(net, number, place, meaning):
    """Outline one cell of a prototype's source image."""
    row, column = place
    return {"prototype": number, "region": box(column, row, column + 1, row + 1).corners, "meaning": meaning}


def away(net, number, by=2):
    """A cell of a prototype's source image in which it does not lie."""
    row, column = source_of(net, number)[1:]
    return (row + by) % 4, (column + by) % 4


@pytest.mark.parametrize("patch", [1, 2])
def test_the_prototype_that_lies_where_nothing_may_is_replaced(patch):
    net, setup = projected(patch)
    before = source_of(net, 1)
    found = find_lessons(review(at(net, 1, before[1:], "distraction")), net)
    assert before in (*found.distractions, *found.covering)
    assert found.forget == found.misplaced == (1,) and found.changed == [1] and found.why(1) == "misplaced"
    forbidden = _forbidden(net, setup, found, [])  # nobody forgot it: what it stands for elsewhere is not asked for
    assert forbidden.sources == found.distractions
    assert find_lessons(review(at(net, 1, away(net, 1), "distraction")), net).nothing or patch == 2
    forbidden = forbidden._replace(levels=torch.full_like(forbidden.levels, 1e9))  # the places alone decide
    assert choose_starts(net, setup, forbidden, [1], seed=0) == [1]
    project_allowed(net, setup, forbidden, [1])
    assert source_of(net, 1) not in (*found.distractions, *found.covering)


def test_a_prototype_that_somebody_keeps_stays_where_nothing_may_lie():
    net, _ = projected()
    here = at(net, 1, source_of(net, 1)[1:], "distraction")
    for others in ([], [{"prototype": 1, "verdict": "forget", "by": "AM"}]):
        found = find_lessons(review(here, {"prototype": 1, "verdict": "keep"}, *others), net)
        assert found.nothing and found.tolerated == (1,)
    assert find_lessons(review(here, {"prototype": 1, "verdict": "doubtful"}), net).misplaced == (1,)
    required = find_lessons(review(here, at(net, 1, away(net, 1), "evidence")), net)
    assert list(required.required) == [1] and required.misplaced == ()  # it moves away as it is
    assert find_lessons(review(here, {"prototype": 1, "verdict": "split"}), net).changed == [1]


@pytest.mark.parametrize("meaning", ["evidence", "class"])
def test_what_was_forbidden_earlier_is_taken_back_by_outlining_it_as_a_place_to_look_at(meaning):
    net, setup = projected()
    cell = (source_of(net, 1)[0], *away(net, 1))
    other = (cell[0], *away(net, 1, by=1))
    earlier = Forbids((), (cell, other), ())
    found = find_lessons(review(at(net, 1, cell[1:], meaning)), net, earlier)
    assert found.distractions == (other,) and found.earlier.outlined == (other,)
    asked = found.required[1] if meaning == "evidence" else found.added[0].cells
    assert asked == (cell,)
    still = find_lessons(
        review(at(net, 1, cell[1:], meaning), {**at(net, 1, cell[1:], "distraction"), "by": "AM"}), net, earlier
    )
    assert cell in still.distractions  # who says both now has to choose
    with pytest.raises(InputError, match="outlines as what must not count; .* withdraw that outline"):
        _given(net, setup, still, add_prototypes(net, still), _forbidden(net, setup, still, []))


def test_what_was_outlined_before_the_refinement_takes_nothing_back():
    net, _ = projected()
    cell = (source_of(net, 1)[0], *away(net, 1))
    marks = review(at(net, 1, cell[1:], "class"))  # taken along with the prototype that stayed
    made = marks.regions()[0].at
    later = Forbids((), (cell,), (), at="2100-01-01T00:00:00Z")
    assert find_lessons(marks, net, later).distractions == (cell,)
    assert find_lessons(marks, net, later._replace(at="2000-01-01T00:00:00Z")).distractions == ()
    assert find_lessons(marks, net, later._replace(at=made)).distractions == (cell,)


def test_by_whom_an_outlined_place_is_forbidden_is_told():
    net, setup = projected()
    cell = (source_of(net, 1)[0], *away(net, 1))
    found = find_lessons(review(at(net, 1, cell[1:], "evidence")), net, Forbids((source_of(net, 1),)))
    forbidden = _forbidden(net, setup, found, [])
    forbidden = forbidden._replace(levels=torch.full_like(forbidden.levels, -1e9))  # all is like it
    with pytest.raises(InputError, match="prototype 1 is like what earlier refinements forbade; outline another part"):
        _given(net, setup, found, Increase({}, {}), forbidden)


def test_a_place_that_covers_what_must_not_count_is_not_given():
    net, setup = projected(2)
    position, row, column = source_of(net, 1)
    forbidden = find_forbidden(net, setup, [], [], [], [(position, row, column)])
    assert give_cells(net, setup, 1, [(position, row, column)], forbidden) is None
    beside = (position, (row + 1) % 3, column)
    assert give_cells(net, setup, 1, [(position, row, column), beside], forbidden).cells == (beside,)
