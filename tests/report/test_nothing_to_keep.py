"""Where a similarity is no higher than an empty image's, no picture shows an outline, and each says why."""

from dataclasses import replace

import numpy as np
import pytest

from protomask.errors import NOTHING_TO_KEEP, InputError
from protomask.explanations.records import PrototypeRecord
from protomask.report import beside_official, localizer_comparison, localizer_grid, prototype_gallery
from protomask.report import this_looks_like_that as panel
from protomask.report.evidence import find_evidence
from protomask.report.neighbourhoods import neighbourhoods
from protomask.report.views import gallery, neighbours, panels

from .scenes import explanation, inspected, picture, square
from .test_figures import drawn_outlines, outside

BOTH = ["mdm", "similarity"]


def of(empty, *numbers):
    """Pictures of prototypes, each as similar as ``empty`` to an empty image."""
    found = [picture(number) for number in numbers]
    return [each.changed(record=replace(each.record, empty_similarity=empty)) for each in found]


def said(figure) -> int:
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    return sum(" ".join(words.split()) == NOTHING_TO_KEEP for words in written)


def outlined(figure) -> int:
    return sum(len(drawn_outlines(axes)) for axes in figure.axes)


def test_only_a_similarity_above_an_empty_images_has_evidence():
    (shown,) = of(0.97, 0)
    assert shown.nothing_to_keep and of(1.0, 0)[0].nothing_to_keep and not of(0.96, 0)[0].nothing_to_keep
    before = {key: value for key, value in shown.record.to_json().items() if key != "empty_similarity"}
    assert not PrototypeRecord.from_json(before).nothing_to_keep(0.0), "files of before do not know"


def test_nothing_is_outlined_whatever_the_map():
    found = find_evidence(square(20, 30)[1], nothing_to_keep=True)
    assert not found.compact and found.outlines == [] and found.box is None and found.absence == NOTHING_TO_KEEP


def test_the_page_says_it_of_the_image_alone_where_only_that_is_no_better_than_an_empty_one():
    shown = of(0.9, 0)  # 0.97 in the source, 0.9 in the image
    cards = gallery(shown, BOTH)
    (row,) = panels([explanation(shown)], BOTH, cards)[0]["rows"]
    assert all(layer["path"] == "" and layer["absence"] == NOTHING_TO_KEEP for layer in row["here"]["layers"])
    assert NOTHING_TO_KEEP in row["here"]["alt"] and NOTHING_TO_KEEP not in row["there"]["alt"]
    assert row["there"]["layers"][0]["path"] and cards[0]["overlap"] is not None


def test_the_gallery_says_it_of_the_source_and_compares_no_outlines():
    (card,) = gallery(of(0.99, 0), BOTH)
    assert card["picture"]["layers"][0]["path"] == "" and NOTHING_TO_KEEP in card["picture"]["alt"]
    assert card["overlap"] is None and card["sort"]["apart"] == 0


def test_the_nearest_images_are_outlined_above_an_empty_ones_similarity_alone():
    shown, images, maps = inspected(of(0.85, 0, 1))  # the nearest are 0.9 and 0.8 similar
    found = neighbours(shown, images, maps)["of"]
    assert [bool(each["path"]) for each in found[0]] == [True, False]


def test_figures_say_it_in_place_of_outlines():
    image, saliency = square(30, 20)
    for empty, count in ((0.5, 0), (0.9, 1), (0.98, 2)):
        drawn = panel(explanation(of(empty, 0)), "mdm")
        assert said(drawn) == count and outlined(drawn) == 2 - count and not outside(drawn)
    shown = of(0.98, 0, 1)
    for figure in (prototype_gallery(shown, "mdm"), beside_official(shown)):
        assert said(figure) == 2 and outlined(figure) == 0
    compared = localizer_comparison(image, {"mdm": saliency}, prototype=shown[0], nothing_to_keep=True)
    assert said(compared) == 2 and outlined(compared) == 0
    rows = [("a", image, {"mdm": saliency}), ("b", image, {"mdm": saliency})]
    assert said(localizer_grid(rows, nothing_to_keep=[True, False])) == 1 and said(localizer_grid(rows)) == 0
    with pytest.raises(InputError, match="of 1 rows, but there are 2"):
        localizer_grid(rows, nothing_to_keep=[True])


def test_a_square_of_the_map_of_prototypes_is_the_whole_image_then():
    sizes = []
    for empty in (0.0, 0.99):
        drawn = neighbourhoods(of(empty, *range(6)), np.eye(6), "mdm")
        sizes.append({mark["photo"] for mark in drawn["marks"]})
    assert not sizes[0] & sizes[1]


def test_the_words_of_an_explanation_say_it():
    assert NOTHING_TO_KEEP in explanation(of(0.9, 0)).text()
    assert NOTHING_TO_KEEP not in explanation(of(0.1, 0)).text()
