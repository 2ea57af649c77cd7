import numpy as np
import pytest

from protomask.errors import InputError
from protomask.report import beside_official, localizer_grid, official_overlay, prototype_gallery

from . import scenes
from .test_figures import outside, overlaps, texts


def test_the_overlay_is_half_the_image_and_three_tenths_of_jet():
    image = np.full((2, 2, 3), 100, np.uint8)
    found = official_overlay(image, np.array([[0.2, 0.2], [0.2, 0.7]]))
    # jet begins at (0, 0, 0.5) and ends at (0.5, 0, 0)
    assert found[0, 0].tolist() == [50, 50, round(50 + 0.3 * 127.5)] and found[1, 1].tolist() == [
        round(50 + 0.3 * 127.5),
        50,
        50,
    ]
    assert (official_overlay(image, np.ones((2, 2))) == found[0, 0]).all()


def test_official_and_learned_stand_beside_each_other():
    pictures = scenes.pictures()
    figure = beside_official(pictures, title="Ten birds")
    assert len(figure.axes) == 6 * 6 and outside(figure) == [] and overlaps(figure) == []
    overlay, boxed, crop, outlined, mapped, cropped = figure.axes[:6]
    assert np.array_equal(
        overlay.images[0].get_array(), official_overlay(pictures[0].image, pictures[0].maps["similarity"])
    )
    box = boxed.patches[0]
    # the 5 % highest pixels of a round blob round (28, 20): about 13 pixels wide
    assert abs(box.get_x() + box.get_width() / 2 - 28.5) < 1 and abs(box.get_y() + box.get_height() / 2 - 20.5) < 1
    assert crop.images[0].get_array().shape[:2] == (box.get_height(), box.get_width())
    assert np.allclose(outlined.lines[0].get_xydata().min(0), pictures[0].record.boxes["mdm"][:2], atol=0.6)
    assert cropped.images[0].get_array().shape[:2] == (16, 16) and len(mapped.images) == 2
    with pytest.raises(InputError, match="'hdm'"):
        beside_official(pictures, "hdm")


def test_a_grid_has_a_row_for_each_image_and_a_column_for_each_localizer():
    rows = [
        (f"test/image_with_a_long_name_{place}.jpg", each.image, dict(each.maps))
        for place, each in enumerate(scenes.pictures())
    ]
    rows[1][2].pop("mdm")
    figure = localizer_grid(rows, title="All")
    assert len(figure.axes) == 18 and outside(figure) == [] and overlaps(figure) == []
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["no map"]
    with pytest.raises(InputError, match="at least one map"):
        localizer_grid([])


def test_the_gallery_says_what_the_inspection_found():
    shown, _, _ = scenes.inspected(scenes.pictures())
    figure = prototype_gallery(shown, "mdm")
    assert "found in 6 of 20 test images · purity of the 10 nearest 80\N{NO-BREAK SPACE}% · background" in texts(figure)
    assert outside(figure) == [] and overlaps(figure) == []
