"""Names of classes and files in any script, and of any length, in every picture: nothing warns, nothing is cut."""

import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg

from protomask.report import (
    beside_official,
    fitting,
    fonts,
    localizer_comparison,
    localizer_grid,
    prototype_gallery,
    save_figure,
    style,
    this_looks_like_that,
)
from protomask.report.class_overlay import overlay_png

from . import scenes
from .test_figures import outside, overlaps, texts

LONG = "Schwarzfußalbatros_der_nordpazifischen_Inseln_mit_weißem_Kopf_" * 2
NAMES = ["青い鳥", "طائر القيق", "Bunting 🐦‍⬛️", "Schwarzfuß Albatros", "\x07tab\tund\nZeile", "\ue000𝔄", LONG]
NAMES += ["mit\udcff", "עפרוני", "नीलकंठ", "한국 새", "$x^2_{$", ""]


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What matplotlib itself calls in an old way is not about names.
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_every_figure_shows_every_name(name, kind, tmp_path, caplog):
    shown = [scenes.picture(each, name, f"train/{name}/{name}.jpg") for each in range(3)]
    record = replace(scenes.explanation(shown, name=f"test/{name}.jpg", predicted=name, true_class=f"{name}2"))
    record = replace(record, runner_up=name, counter=record.matches[:1])
    image, maps = record.image, record.matches[0].maps
    figures = {
        "gallery": prototype_gallery(shown, "mdm", title=name or None),
        "panel": this_looks_like_that(record, "mdm"),
        "grid": localizer_grid([(f"{name}.jpg", image, maps)], title=name),
        "comparison": localizer_comparison(image, maps, prototype=shown[0]),
        "official": beside_official(shown, "mdm"),
    }
    if kind == "pdf" and name != LONG:
        # Most of a PDF's time goes into its fonts, which are those of the name in every figure: the panel, which has
        # the most words, and one other in turn.
        other = list(figures)[NAMES.index(name) % len(figures)]
        figures = {label: figure for label, figure in figures.items() if label in ("panel", other)}
    with caplog.at_level(logging.WARNING):
        for label, figure in figures.items():
            save_figure(figure, tmp_path / f"{label}.{kind}", dpi=40)
            assert outside(figure) == [], label
    assert caplog.messages == []
    if name:
        assert [text for figure in figures.values() for text in texts(figure) if "…" in text] == []
    if kind == "png":
        assert overlaps(figures["panel"]) == [] and overlaps(figures["gallery"]) == []
        assert overlay_png(image, maps["mdm"], "mdm", caption=name).startswith(b"\x89PNG")


def test_letters_come_from_a_font_that_has_them():
    double_struck = "\N{MATHEMATICAL FRAKTUR CAPITAL A}"
    wanted = fonts.font_of(double_struck)
    assert wanted in ("STIXGeneral", "DejaVu Math TeX Gyre", "DejaVu Sans")
    assert fonts.families("bird") == [fonts.FONT] and fonts.families("ä") == [fonts.FONT]
    overlay = "\N{COMBINING LONG VERTICAL LINE OVERLAY}"  # matplotlib's STIX has it, its DejaVu Sans has not
    assert fonts.font_of(overlay) == "STIXGeneral"
    assert fonts.families(f"a{overlay}") == [fonts.FONT, "STIXGeneral"] and fonts.drawable(overlay) == overlay
    assert fonts.drawable(overlay, [fonts.FONT]) == "[U+20D2]"
    figure = style.new_figure(1, 1)
    style.write(figure, 0, 0, f"a{overlay}")
    assert figure.texts[0].get_fontfamily() == [fonts.FONT, "STIXGeneral"]


def test_letters_that_no_font_has_are_spelt_with_one_note(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_installed", lambda: [(fonts.FONT, fonts.font_manager.findfont(fonts.FONT))])
    fonts.font_of.cache_clear()
    fonts._note.cache_clear()
    with caplog.at_level(logging.INFO, "protomask"):
        assert fonts.drawable("青い鳥 カモメ") == "[U+9752]i[U+9CE5] kamome"
        assert fonts.drawable("Bunting 🐦\N{VARIATION SELECTOR-16}") == "Bunting [bird]"
        assert fonts.drawable("한국") == "hangug"
    (note,) = caplog.messages
    assert "no installed font" in note and "Noto Sans CJK" in note
    fonts.font_of.cache_clear()


def test_a_matplotlib_that_cannot_join_arabic_letters_writes_none(monkeypatch):
    monkeypatch.setattr(fonts, "_can_shape", lambda: False)
    assert fonts.drawable("طا") == "[U+0637][U+0627]" and fonts.drawable("Ä") == "Ä"


def test_text_is_made_smaller_or_broken_but_never_cut_before_letters_are_tiny():
    figure = style.new_figure(4, 2)
    text, size = fitting.fitted(figure, "Black footed Albatross", 8, 3)
    assert (text, size) == ("Black footed Albatross", 8)
    text, size = fitting.fitted(figure, "Black footed Albatross", 8, 1.2)
    assert text == "Black footed Albatross" and 6 < size < 8
    text, size = fitting.fitted(figure, "Black footed Albatross", 8, 0.5)
    assert text == "Black footed\nAlbatross" and 3 < size <= 4
    assert fitting.text_width(figure, text, size) <= 0.5 + 1e-6
    text, size = fitting.fitted(figure, "Black footed Albatross", 8, 0.5, lines=2)
    assert "\n" in text and size > 4 and text.replace("\n", " ").split() == ["Black", "footed", "Albatross"]
    text, size = fitting.fitted(figure, "x" * 5000, 8, 1)
    assert "…" in text and size >= fitting.SMALLEST
    assert np.isfinite(size)


@pytest.mark.parametrize("name", ["MDM (damping=1, seed=3)", "MDM (keep.steps=4, order.steps=4, destroy.steps=4)"])
def test_a_footer_keeps_within_its_panel_at_usual_resolutions(name):
    figure = style.new_figure(7.24, 2)
    footer = f"Outlines: {name} at 50 % of its smoothed maximum. Similarity × weight = points; numbers are rounded."
    text, size = fitting.fitted(figure, footer, 7, 6.3)
    artist = figure.text(0, 0, text, fontsize=size, fontfamily=fitting.families(text))
    for dpi in (100, 110, 120, 150, 200, 300):  # hinting makes letters of other widths at each
        assert artist.get_window_extent(RendererAgg(1, 1, dpi), dpi=dpi).width / dpi <= 6.3, dpi
