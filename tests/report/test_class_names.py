"""Two classes whose short names are alike keep their own wherever they are shown."""

from dataclasses import replace

import pytest
import torch
from matplotlib.text import Text

from protomask.report import beside_official, prototype_gallery, this_looks_like_that
from protomask.report.answers import Answers
from protomask.report.html import render
from protomask.report.wording import readable, readable_all

from . import scenes
from .test_html import Page

CLASSES = ["001.Foo_bar", "002.Foo_bar", "003.Sea_gull"]


@pytest.mark.parametrize(
    "classes", [["001.Foo_bar", "002.Foo_bar"], ["a_b", "a b"], ["a__b", "a_b"], ["\udcfe", "\udcff"], ["x_y", "1.x_y"]]
)
def test_names_that_would_be_alike_are_told_apart(classes):
    names = readable_all([*classes, "003.Sea_gull"])
    shown = [names(name) for name in classes]
    assert len(set(shown)) == 2 and names("003.Sea_gull") == "Sea gull"
    assert [readable_all([name])(name) for name in classes] == [readable(name) for name in classes]
    for name in shown:
        name.encode("utf-8")
    assert names(None) == ""


def test_a_report_shows_them_by_their_own_names_everywhere():
    shown = scenes.pictures(CLASSES)
    one = replace(
        scenes.explanation(shown[:1], predicted="001.Foo_bar", true_class="002.Foo_bar", counter=shown[3:4]),
        runner_up="002.Foo_bar",
        classes=tuple(CLASSES),
    )
    row = {"auroc": 0.5, "average_precision": 0.5, "images": 1}
    text = render(
        config={},
        metrics={"per_class": dict.fromkeys(CLASSES, row), "test_accuracy": {"final": 0.5}},
        log=[],
        pictures=scenes.inspected(shown)[0],
        explanations=[one],
        evaluation=None,
        answers=Answers(CLASSES, ["a", "b", "c"], torch.eye(3), torch.tensor([0, 1, 2])),
        vectors=torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).numpy(),
    )
    assert "Foo bar" not in text.replace("foo bar", "") and "Foo bar" not in Page(text).words
    assert "Sea gull" in text and "Predicted: 001.Foo_bar" in Page(text).words
    assert 'data-name="001.Foo_bar"' in text and 'data-name="002.Foo_bar"' in text
    assert "(9)" in Page(text).words


def test_figures_show_them_by_their_own_names_also_where_one_of_them_is_drawn():
    shown = scenes.pictures(CLASSES[:1])
    one = replace(
        scenes.explanation(shown[:1], predicted="001.Foo_bar", true_class="002.Foo_bar"), classes=tuple(CLASSES)
    )
    figures = [
        prototype_gallery(shown, "mdm", classes=CLASSES),
        beside_official(shown, "mdm", classes=CLASSES),
        this_looks_like_that(one, "mdm"),
    ]
    for figure in figures:
        words = " ".join(text.get_text() for text in figure.findobj(Text))
        assert "001.Foo_bar" in words and "Foo bar" not in words
