"""Of fewer than ten images charts show means alone, also where an evaluation of before has bands."""

import numpy as np
import pytest

from protomask.evaluation import Evaluation
from protomask.evaluation.pairs import Pairs
from protomask.report import curves
from protomask.report.html import render
from protomask.report.series import curve_line, has_band, shown_curves

from . import scenes


def of_images(count: int) -> Evaluation:
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    pairs = Pairs(found.pairs.positions % count, found.pairs.prototypes)
    bands = {"mean": [0.1, 0.5, 0.9], "ci_low": [0.0, 0.4, 0.8], "ci_high": [0.2, 0.6, 1.0]}
    return Evaluation(pairs, found.names, found.values, found.rows, found.comparisons, {"mdm": {"insertion": bands}})


@pytest.mark.parametrize(("images", "drawn"), [(9, False), (10, True)])
def test_bands_are_of_ten_images_or_more(images, drawn):
    evaluation = of_images(images)
    line = curve_line("mdm", shown_curves(evaluation)["mdm"]["insertion"])
    assert has_band(line) is drawn and list(line.y) == [0.1, 0.5, 0.9]
    assert any("Bands" in text.get_text() for text in curves(shown_curves(evaluation)).texts) is drawn
    shown = scenes.picture()
    contents = {"config": scenes.CONFIG, "metrics": scenes.METRICS, "log": scenes.LOG, "evaluation": evaluation}
    page = render(pictures=[shown], explanations=[scenes.explanation([shown])], **contents)
    assert ('class="band"' in page) is drawn and ("fewer than ten images" in page) is not drawn


def test_curves_of_few_pairs_have_no_band_either():
    values = np.random.default_rng(0).random((10, 5))
    assert has_band(curve_line("mdm", values)) and not has_band(curve_line("mdm", values[:9]))
