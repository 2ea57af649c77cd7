import re
import subprocess
import sys

import numpy as np
import pytest

from protomask.errors import InputError
from protomask.report import (
    curves,
    localizer_comparison,
    prototype_gallery,
    save_figure,
    this_looks_like_that,
    training_curves,
)

from . import scenes


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def drawn_outlines(axes):
    return [line.get_xydata() for line in axes.lines]


def overlaps(figure) -> list[tuple[str, str]]:
    """Texts of a figure that lie on each other."""
    renderer = figure.canvas.get_renderer()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts if text.get_text()]
    return [(a, b) for place, (a, box) in enumerate(boxes) for b, other in boxes[place + 1 :] if box.overlaps(other)]


def outside(figure) -> list[str]:
    renderer, frame = figure.canvas.get_renderer(), figure.bbox
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    return [name for name, box in boxes if box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < 0 or box.y1 > frame.y1]


def test_gallery_puts_outline_and_box_on_the_right_pixels():
    picture = scenes.picture(2)
    x0, y0, x1, y1 = picture.record.boxes["mdm"]
    source, overlay, crop = prototype_gallery([picture], "mdm").axes
    (outline,) = drawn_outlines(source)
    assert np.allclose(outline.min(0), (x0, y0), atol=0.6) and np.allclose(outline.max(0), (x1, y1), atol=0.6)
    box = source.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (x0, y0, x1 - x0, y1 - y0)
    assert tuple(source.images[0].get_extent()) == (0, 64, 64, 0)  # a data unit is a pixel, corner at 0
    assert np.array_equal(crop.images[0].get_array(), picture.image[y0:y1, x0:x1])
    assert np.array_equal(overlay.images[1].get_array(), picture.maps["mdm"])
    assert overlay.images[1].get_cmap().name == "magma"


def test_gallery_pixels_show_the_outline_around_the_square(tmp_path):
    """Rendered: the outline's colour is found near the square's edge, and nowhere else."""
    picture = scenes.picture(0)
    figure = prototype_gallery([picture], "mdm", tile=2.56)
    figure.set_dpi(100)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    frame = figure.axes[0].get_window_extent()
    top = pixels.shape[0] - int(round(frame.y1))
    tile = pixels[top : top + 256, int(round(frame.x0)) : int(round(frame.x0)) + 256]
    blue = np.argwhere(tile[..., 2] - tile[..., 0] > 90)  # grey and yellow otherwise
    assert len(blue) > 180  # the corners are round
    rows, columns = blue.T / 4  # 256 screen pixels for 64 image pixels
    x0, y0, x1, y1 = picture.record.boxes["mdm"]
    distance = np.minimum.reduce([np.abs(columns - x0), np.abs(columns - x1), np.abs(rows - y0), np.abs(rows - y1)])
    assert distance.max() < 1.5
    assert x0 - 1.5 < columns.min() and columns.max() < x1 + 1.5 and y0 - 1.5 < rows.min() and rows.max() < y1 + 1.5


def test_gallery_groups_by_class_and_says_every_weight():
    pictures = scenes.pictures()
    found = texts(prototype_gallery(pictures[::-1], "similarity"))
    assert found.index("Spotted bird") < found.index("Striped bird")
    assert all(f"prototype {each.record.prototype} · weight {each.record.weight:.2f}" in found for each in pictures)


def test_panel_prints_the_sum_and_outlines_both_sides():
    shown = scenes.pictures()[:2]
    explanation = scenes.explanation(shown)
    figure = this_looks_like_that(explanation, "mdm")
    found = texts(figure)
    assert "Right: this is the true class" in found
    for match in explanation.matches:
        assert {f"{match.similarity:.2f}", f"{match.weight:.2f}", f"{match.points:.2f}"} <= set(found)
    assert {"0.30", "−0.73", f"{explanation.logit:.2f}"} <= set(found)
    assert len(figure.axes) == 4
    for here, there, match in zip(figure.axes[::2], figure.axes[1::2], explanation.matches, strict=True):
        assert np.allclose(drawn_outlines(here)[0].min(0), (30, 20), atol=0.6)
        assert np.allclose(drawn_outlines(there)[0].min(0), match.prototype.record.boxes["mdm"][:2], atol=0.6)


@pytest.mark.parametrize("top", [None, 1, 0])
def test_points_of_a_panel_sum_to_both_logits(top):
    shown = scenes.pictures()
    explanation = scenes.explanation(shown[:3], counter=shown[3:5])
    numbers = [
        float(text.get_text().replace("−", "-"))
        for text in this_looks_like_that(explanation, "mdm", top=top).texts
        if text.get_fontweight() == "bold" and re.fullmatch(r"[−\d.]+", text.get_text())
    ]
    count = (3 if top is None else top) + 2  # the matches, other prototypes of the class, those of other classes
    *points, logit = numbers[: count + 1]
    assert sum(points) == pytest.approx(logit, abs=0.005 * (count + 1)) and logit == round(explanation.logit, 2)
    *points, logit = numbers[count + 1 :]
    assert len(points) == 3 and logit == round(explanation.runner_up_logit, 2)
    assert sum(points) == pytest.approx(logit, abs=0.005 * 4)


@pytest.mark.parametrize(
    ("true_class", "words"),
    [("002.Spotted_bird", "Wrong: the true class is Spotted bird"), (None, "True class not known")],
)
def test_panel_says_wrong_or_unknown_in_words(true_class, words):
    assert words in texts(this_looks_like_that(scenes.explanation(scenes.pictures()[:1], true_class=true_class), "mdm"))


def test_comparison_shows_every_localizer_on_source_and_test_image():
    picture = scenes.picture(1)
    image, saliency = scenes.square(30, 20)
    maps = {"mdm": saliency, "similarity": picture.maps["similarity"], "center": scenes.blob(32, 32, 12)}
    figure = localizer_comparison(image, maps, prototype=picture)
    assert {"Image", "MDM", "Similarity map", "Centre", "Prototype 1, Striped bird"} <= set(texts(figure))
    assert len(figure.axes) == 8
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [
        "no map"
    ]  # the source has no centre map
    assert len(localizer_comparison(image, maps).axes) == 4


def test_long_and_odd_names_stay_inside_and_apart():
    name = "A very $long$ class_name that {never} ends \\frac, " * 4 + "until here"
    pictures = [scenes.picture(number, name, source=f"{name}/{number}.jpg") for number in range(3)]
    explanation = scenes.explanation(pictures, name=name, predicted=name, true_class="Another " + name)
    figures = [
        prototype_gallery(pictures, "mdm"),
        this_looks_like_that(explanation, "mdm"),
        this_looks_like_that(scenes.explanation(pictures, name=name, predicted=name, counter=pictures[:2]), "mdm"),
        localizer_comparison(
            explanation.image, {"mdm": explanation.matches[0].maps["mdm"], name: scenes.blob(9, 9, 9)}, title=name
        ),
    ]
    for figure in figures:
        for dpi in (60, 110, 130, 200):  # hinting makes letters of other widths at each
            figure.set_dpi(dpi)
            assert outside(figure) == [] and overlaps(figure) == []


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_written_by_suffix(tmp_path, suffix):
    path = save_figure(
        this_looks_like_that(scenes.explanation(scenes.pictures()[:1]), "mdm"), tmp_path / "new" / f"a.{suffix}"
    )
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start)


def test_bad_input_names_the_thing():
    explanation = scenes.explanation(scenes.pictures()[:1])
    with pytest.raises(InputError, match="'hdm'.*mdm, similarity"):
        this_looks_like_that(explanation, "hdm")
    with pytest.raises(InputError, match="'hdm'.*prototype 0"):
        prototype_gallery(scenes.pictures(), "hdm")
    with pytest.raises(InputError, match="at least one"):
        prototype_gallery([], "mdm")
    with pytest.raises(InputError, match=r"a\.docx"):
        save_figure(this_looks_like_that(explanation, "mdm"), "a.docx")


def test_curves_and_training_draw_what_is_there():
    figure = curves(scenes.evaluation().curves)
    (axes,) = figure.axes
    assert len(axes.collections) == 4  # a band each
    assert len(figure.legends[0].get_texts()) == 4
    assert curves({"mdm": {"deletion": [1.0, None, 0.5]}}).axes
    accuracy, loss = training_curves(scenes.LOG).axes
    assert [line.get_label() for line in accuracy.lines[:2]] == ["training", "validation"]
    assert list(loss.lines[0].get_ydata()) == [1.5, 0.7]
    assert {text.get_text() for text in accuracy.texts} == {"joint training", "projection, last layer"}
    assert "Accuracy" in [text.get_text() for text in accuracy.figure.texts]
    titles = [text.get_text() for text in training_curves(scenes.LOG, findings=True).texts]
    assert "Right answers over all findings" in titles and "Accuracy" not in titles
    with pytest.raises(InputError, match="train first"):
        training_curves([{"stage": "projection"}])
    with pytest.raises(InputError, match="evaluate"):
        curves({})


def test_figures_leave_the_callers_settings_and_pyplot_alone():
    code = (
        "import sys, protomask.report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from protomask.report import training_curves\n"
        "import matplotlib\n"
        "before = matplotlib.rcParams.copy()\n"
        "training_curves([{'stage': 'joint', 'epoch': 1, 'loss': 1.0}])\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
