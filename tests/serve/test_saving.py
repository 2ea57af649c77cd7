"""What is saved as a picture is what the page shows."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from protomask.errors import InputError
from protomask.report import this_looks_like_that
from protomask.serve.of_classifier import open_classifier
from protomask.serve.of_run import RunSubject

from .conftest import explain, photo


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def drawn(explanation, localizer="mdm"):
    file = io.BytesIO()
    this_looks_like_that(explanation, localizer).savefig(file, format="png", dpi=120)
    return pixels(file.getvalue())


def test_the_panel_of_a_run_is_that_of_python_in_the_pictures_own_shape(client, run, tmp_path):
    wide = photo(1, size=(240, 60))
    (tmp_path / "wide.png").write_bytes(wide)
    (expected,) = run.explain(tmp_path / "wide.png")
    answer, _ = explain(client, wide, "wide.png")
    saved = pixels(client.get(f"/api/pictures/{answer['picture']}/panel").content)
    wanted = drawn(dataclasses.replace(expected, name="wide.png"))
    assert saved.shape == wanted.shape
    assert np.abs(saved.astype(int) - wanted).mean() < 0.5


def test_all_findings_that_are_shown_are_saved(run):
    subject = RunSubject(run, "similarity")
    asked = subject.read("a.png", photo(1))
    subject.answer(asked)
    alone = pixels(subject.panel(asked))
    asked.found, asked.index = asked.found * 3, asked.index * 3  # as with three findings in one picture
    together = pixels(subject.panel(asked))
    assert together.shape == (3 * alone.shape[0], *alone.shape[1:])
    assert all((part == alone).all() for part in np.split(together, 3))


@pytest.fixture
def classifier():
    return open_classifier("test_resnet:num_classes=3", image_size=64, localizer="mdm")


def test_before_the_mask_is_there_the_quick_map_is_saved(classifier):
    classifier.warm_up()
    asked = classifier.read("a.png", photo(1, size=(240, 160)))
    classifier.answer(asked)
    early = pixels(classifier.panel(asked))
    photograph = asked.upload.pixels.repeat(2, 0).repeat(2, 1)  # small ones are enlarged
    assert early.shape == photograph.shape
    assert np.abs(early.astype(int) - photograph).mean() > 5  # dimmed, outlined and captioned
    classifier.learn(asked, lambda share, masks: None, lambda: None)
    assert (pixels(classifier.panel(asked)) != early).any()


def test_without_any_map_nothing_is_saved_as_an_explanation(classifier):
    asked = classifier.read("a.png", photo(1))
    classifier.answer(asked)  # a quick map is known of after the warm-up alone
    with pytest.raises(InputError, match="no outline yet"):
        classifier.panel(asked)
