import base64
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from protomask.errors import InputError
from protomask.report import write_report
from protomask.report.answers import Answers
from protomask.report.html import render
from protomask.report.summary import inspected, title

from . import scenes

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects tags with their attributes, ids, and the text that is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]} near line {self.getpos()[0]}"
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag, **attributes):
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).replace("\N{NO-BREAK SPACE}", " ").split())


def whole(**changes) -> str:
    shown, images, maps = scenes.inspected(scenes.pictures())
    explanations = [
        scenes.explanation(shown[:3], name="test/right.jpg", counter=shown[3:5]),
        scenes.explanation(shown[2:4], name="test/wrong.jpg", true_class="002.Spotted_bird"),
        scenes.explanation(shown[:1], name="test/unknown.jpg", true_class=None),
    ]
    arguments = {
        "config": scenes.CONFIG,
        "metrics": scenes.METRICS,
        "log": scenes.LOG,
        "pictures": shown,
        "explanations": explanations,
        "evaluation": scenes.evaluation(),
        "answers": scenes.answers(),
        "test_images": images,
        "nearest_maps": maps,
    }
    return render(**{**arguments, **changes})


@pytest.fixture(scope="module")
def text() -> str:
    return whole()


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_every_prototype_and_every_explanation_is_there(page):
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {f"prototype-{number}" for number in range(6)} <= ids
    assert {f"image-{number}" for number in range(3)} <= ids
    assert len(page.all("li", **{"class": "card"})) == 6 and len(page.all("article", **{"class": "panel"})) == 3
    assert {"summary", "answers", "explained", "prototypes", "evaluation", "training", "provenance"} <= ids


def test_points_of_every_panel_sum_to_the_logit(text):
    tables = re.findall(r'<table class="points">.*?</table>', text, re.DOTALL)
    assert len(tables) == 4  # three images, and what speaks for the runner-up of one
    for table in tables:
        points = re.findall(r'class="num sum".*?<b>(.*?)</b>', table)
        total = re.search(r'class="total".*?<b>(.*?)</b>', table, re.DOTALL)[1]
        value = lambda found: float(found.replace("−", "-"))  # noqa: E731
        assert len(points) >= 3 and sum(map(value, points)) == pytest.approx(
            value(total), abs=0.005 * (len(points) + 1)
        )
        for similarity, weight, product in re.findall(
            r'"Similarity">(.*?)</td>.*?</span> (.*?)</td>.*?<b>(.*?)</b>', table, re.DOTALL
        ):
            assert value(similarity) * value(weight) == pytest.approx(value(product), abs=0.02)
    assert "Prototypes of other classes" in text and "0.50 points ahead of Spotted bird" in Page(text).words
    assert "The prototypes shown carry 88 % of its points, for and against." in Page(text).words
    assert "Most against it: prototype 2 with −0.20 points." in Page(text).words


def test_positive_evidence_has_no_row_of_other_classes():
    shown = scenes.inspected(scenes.pictures())[0]
    found = replace(scenes.explanation(shown[:3], counter=shown[3:5]), evidence="positive")
    own = found.logit - sum(match.points for match in found.matches)
    text = whole(explanations=[replace(found, other_points=own, other_own_points=own, against=())])
    words = Page(text).words
    assert "Prototypes of other classes" not in words and "All other prototypes" not in words
    assert "Other prototypes of Striped bird" in words and "Other prototypes of Spotted bird" in words
    assert "The prototypes shown carry 88 % of its points." in words and "never against another" in words
    assert "a negative one means nothing" not in words
    for table in re.findall(r'<table class="points">.*?</table>', text, re.DOTALL):
        points = [float(each.replace("−", "-")) for each in re.findall(r'class="num sum".*?<b>(.*?)</b>', table)]
        total = re.search(r'class="total".*?<b>(.*?)</b>', table, re.DOTALL)[1]
        assert sum(points) == pytest.approx(float(total.replace("−", "-")), abs=0.005 * (len(points) + 1))


def test_the_title_names_the_data():
    options = {"network": "protopnet", "data": "folder", "root": "/home/me/Vögel im Garten/"}
    assert title({"options": options}) == "ProtoPNet on Vögel im Garten"
    assert title({"options": {**options, "data": "cub"}}) == "ProtoPNet on Vögel im Garten (CUB-200-2011 format)"
    assert title({"options": {**options, "root": None}}) == "ProtoPNet on a folder of images"
    assert title({"options": {**options, "data": "busi"}}) == "ProtoPNet on breast ultrasound (BUSI)"


def test_neighbours_are_kept_once_with_the_outline_where_the_map_is_high(text):
    found = json.loads(re.search(r'id="neighbours">(.*?)</script>', text, re.DOTALL)[1])
    assert sorted(map(int, found["images"])) == list(range(7)) and sorted(map(int, found["of"])) == list(range(6))
    near = found["of"]["2"]
    assert [each["image"] for each in near] == [2, 3] and [each["own"] for each in near] == [True, False]
    assert near[1]["name"] == "test/3.jpg" and near[1]["class"] == "Bird" and near[1]["similarity"] == "0.80"
    numbers = [float(each) for each in re.findall(r"[\d.]+", near[0]["path"])]
    x, y = numbers[::2], numbers[1::2]  # cell (row 2, column 1) of 4x4 on 64 pixels: x 16 to 32, y 32 to 48
    assert abs(sum(x) / len(x) - 24) < 2 and abs(sum(y) / len(y) - 40) < 2 and max(x) - min(x) < 22
    photo = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["images"]["3"]["photo"].split(",")[1]))))
    assert np.abs(photo.astype(int) - scenes.square(3, 3)[0]).mean() < 8


def test_flags_and_what_was_inspected_are_said(page, text):
    card = text[text.index('id="prototype-2"') : text.index('id="prototype-3"')]
    for name, value in (("found in", "30"), ("purity", "80"), ("outside", "90")):
        assert f"<dt>{name}</dt><dd>{value}\N{NO-BREAK SPACE}%</dd>" in card
    assert '<span class="flag">background</span>' in card
    assert 'duplicate of <a href="#prototype-3">3</a>' in text
    assert "1 of 6 prototypes is background" in page.words and "1 prototype is a duplicate" in page.words
    assert "common: as similar" not in page.words
    assert page.all("option", value="background") and "not flagged (4)" in page.words


def test_what_is_not_known_and_what_is_common_is_said():
    shown, *_ = scenes.inspected(scenes.pictures())
    common = replace(shown[0], inspection=replace(shown[0].inspection, flags=("common",), outside={}))
    first, second, last = inspected([common, *shown[1:3]])
    assert first.startswith(
        "1 of 2 prototypes whose own object is known in its training image, and whose map is not blank, is background: "
        "more than half of"
    )
    assert second == "1 prototype is common: as similar to test images of other classes as to those of its own."
    assert last.startswith("protomask prune removes")
    assert "more than half of the map of MDM, with its parts too faint" in first


def test_whose_map_lies_on_the_background_is_said():
    shown = [
        replace(each, inspection=replace(each.inspection, outside={"similarity": each.inspection.outside["mdm"]}))
        for each in scenes.inspected(scenes.pictures())[0]
    ]
    assert "more than half of the similarity map, with" in inspected(shown)[0]
    assert inspected(shown[:2])[0] == "No prototype has more than half of the similarity map outside the object."
    unknown = replace(shown[0], inspection=replace(shown[0].inspection, outside={}))
    assert inspected([unknown])[0].startswith("Whether prototypes are background is not known")
    assert inspected([unknown, shown[1]])[0].startswith(
        "No prototype whose own object is known in its training image, and whose map is not blank, has more"
    )


def test_prototypes_that_are_pooled_are_not_said_to_be_patches():
    usual = scenes.pictures()
    pooled = [replace(each, record=replace(each.record, levels={"similarity": 0.3})) for each in usual]
    contents = {"config": scenes.CONFIG, "metrics": {}, "log": [], "evaluation": None, "explanations": []}
    patches, maps = (Page(render(pictures=shown, **contents)).words for shown in (usual, pooled))
    assert "A prototype is one patch of one training image." in patches and "occurrence map" not in patches
    assert "prototype's similarity to each cell" in patches
    assert "averaged over all its places" in maps and "is here the prototype's occurrence map" in maps
    for wrong in ("one patch", "compares every place", "similarity to each cell"):
        assert wrong not in maps, wrong
    assert (
        "gives points to a class. The class with the most points" in patches and "gives points to a class. The" in maps
    )


def test_the_example_outlines_something_or_does_not_say_so():
    def scattered(name):
        found = scenes.explanation(scenes.pictures()[:1], name=name)
        maps = {each: np.ones((64, 64), np.float32) for each in ("mdm", "similarity")}
        return replace(found, matches=tuple(replace(match, maps=maps) for match in found.matches))

    def example(*explanations):
        text = render(pictures=scenes.pictures(), explanations=explanations, **contents)
        return text, Page(re.search(r'<figure class="example">.*?</figure>', text, re.S)[0]).words

    contents = {"config": scenes.CONFIG, "metrics": {}, "log": [], "evaluation": None}
    text, words = example(scattered("test/a.jpg"))
    assert "outlined part" not in words and "because this image, with no single place to outline, looks to it" in words
    text, words = example(scattered("test/a.jpg"), scenes.explanation(scenes.pictures()[:1], name="test/b.jpg"))
    assert "the outlined part on the left looks to it like the outlined part of the training image" in words
    assert '<a href="#image-1">All its reasons' in text


def test_what_pruning_cost_is_said():
    outcome = {
        "from": "runs/a",
        "prototypes": 50,
        "removed": [1, 2],
        "test_accuracy": {"before": 0.9, "without_refitting": 0.7, "after": 0.89},
    }
    metrics = {**scenes.METRICS, "pruned": {**outcome, "right_to_wrong": 3, "wrong_to_right": 1}}
    assert (
        "2 of 50 prototypes were removed from a: test accuracy was 90.0 % with all of them, 70.0 % without these, "
        "and 89.0 % once the last layer was re-fitted (3 images became wrong, 1 right: within chance)."
    ) in Page(whole(metrics=metrics)).words
    assert "protomask evaluate RUN --localizers mdm,similarity" in Page(whole(evaluation=None)).words


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_there_is_not_is_refused(tmp_path, quality):
    with pytest.raises(InputError, match=f"quality is {quality}"):
        write_report(tmp_path / "report.html", config=scenes.CONFIG, quality=quality)


def test_a_lower_quality_makes_a_smaller_file():
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    pictures = [replace(each, image=noise) for each in scenes.pictures()]
    assert len(whole(pictures=pictures, quality=20)) < 0.8 * len(whole(pictures=pictures))


def test_right_and_wrong_are_said_in_words(page):
    assert (
        "✓ right" in page.words and "✗ wrong, it is Spotted bird" in page.words and "true class not known" in page.words
    )


def test_nothing_outside_the_file_is_named(text, page):
    assert not re.search(r"https?:|//www|@import|url\(", text)
    for tag, attributes in page.tags:
        for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), (tag, key)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert max(ids.values()) == 1
    targets = {each["href"][1:] for each in page.all("a")} | {
        attributes[key] for _, attributes in page.tags for key in ("aria-labelledby", "for") if key in attributes
    }
    assert targets <= set(ids)


def test_photographs_have_alternative_texts_that_say_where_the_maps_lie(page):
    photos = [each for each in page.all("img") if "photo" in each["class"]]
    assert photos and all(each["alt"] for each in photos)
    assert all("alt" in each for each in page.all("img"))
    first = next(each["alt"] for each in photos if "source of prototype 0" in each["alt"])
    assert "MDM marks 6 % of the image, upper left" in first
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in page.all("svg"))


def test_pictures_are_the_given_ones(text):
    card = text[text.index('id="prototype-2"') :]
    photo, mdm, similarity = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB")).astype(int)
        for found in re.findall(r'src="data:image/webp;base64,(.*?)"', card)[:3]
    )
    wanted = scenes.pictures()[2]
    assert photo.shape == wanted.image.shape and np.abs(photo - wanted.image).mean() < 6
    x0, y0, x1, y1 = wanted.record.boxes["mdm"]
    inside = mdm[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].mean()
    assert inside > 200 > 30 > mdm[48:].mean()  # light on the square, dark elsewhere
    row, column = np.unravel_index(similarity.sum(2).argmax(), (64, 64))
    assert abs(row - (y0 + 8)) < 4 and abs(column - (x0 + 20)) < 4
    numbers = [float(each) for each in re.findall(r"[\d.]+", re.search(r'class="outline".*? d="(.*?)"', card)[1])]
    assert np.allclose(
        [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])], (x0, y0, x1, y1), atol=0.6
    )


def test_summary_in_plain_words(page):
    words = page.words
    assert "95.0 % test accuracy 95 % interval 91.0 % to 97.3 %, 200 images" in words
    assert (
        "cost 2.0 percentage points (4 of 200 images on balance: within chance); re-fitting the last layer then gained "
        "1.0 percentage point (2 of 200 images on balance: within chance)."
    ) in words
    assert "more accurate by 2.0 percentage points (4 of 200 images on balance: within chance)." in words
    assert "Which picture to trust: MDM, more than the similarity map" in words
    assert "insertion and deletion: these differences stand after a correction for all metrics (24 pairs" in words


def test_provenance_is_complete(page):
    for name in ("seed", "fingerprint", "c0ffee42", "torch", "2.9", "projection", "1 min 1 s"):
        assert name in page.words


def test_hostile_names_are_text():
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'
    pictures, images, maps = scenes.inspected([scenes.picture(0, evil, source=evil)])
    near = replace(pictures[0].inspection.nearest[0], name=evil, class_name=evil)
    pictures = [
        replace(pictures[0], inspection=replace(pictures[0].inspection, nearest=(near,), flags=("background",)))
    ]
    explanations = [scenes.explanation(pictures, name=evil, predicted=evil, true_class=f"other {evil}")]
    config = {"options": {"network": evil, "data": evil, evil: evil}}
    evaluation = scenes.evaluation(localizers=("mdm", evil))
    pictures[0].maps[evil] = pictures[0].maps["mdm"]
    log = [{"stage": evil, "epoch": 1, "loss": 1.0}, {"stage": evil, "epoch": 2, "loss": 0.5}]
    text = whole(
        config=config,
        pictures=pictures,
        explanations=explanations,
        evaluation=evaluation,
        log=log,
        answers=Answers([evil, "b"], [evil] * 2, torch.eye(2), torch.tensor([0, 0])),
        test_images=images,
        nearest_maps=maps,
    )
    page = Page(text)
    assert len(page.all("script")) == 3 and not page.all("img", src="x")
    assert (
        evil.replace("\N{NO-BREAK SPACE}", " ") in page.words
        and "49" not in text.split("<title>")[1].split("</title>")[0]
    )
    assert page.all("option", value=evil)


@pytest.mark.parametrize(
    ("changes", "absent", "present"),
    [
        ({"evaluation": None}, {"evaluation"}, {"prototypes", "explained", "training"}),
        ({"answers": None}, {"answers", "answer-list"}, {"explained"}),
        ({"explanations": []}, {"explained"}, {"prototypes", "evaluation"}),
        ({"pictures": []}, {"prototypes"}, {"explained", "evaluation"}),
        ({"pictures": [], "explanations": []}, {"prototypes", "explained"}, {"evaluation"}),
        ({"log": []}, {"training"}, {"prototypes"}),
        ({"metrics": {}}, set(), {"summary", "prototypes"}),
        (
            {"evaluation": None, "explanations": [], "pictures": [], "log": [], "metrics": {}, "config": {}},
            {"evaluation", "explained", "prototypes", "training"},
            {"summary", "provenance"},
        ),
    ],
)
def test_what_is_missing_leaves_its_section_out(changes, absent, present):
    page = Page(whole(**changes))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert not ids & absent and present <= ids
    assert {each["href"][1:] for each in page.all("a")} <= ids


def test_numbers_that_are_not_known_are_dashes():
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    for row in found.rows:
        row["ci_low"] = row["ci_high"] = None
    found.rows[0]["mean"] = None
    for row in found.comparisons:
        row.update(ci_low=None, ci_high=None, better="undecided")
    curves = {"mdm": {"insertion": {"mean": [None, 0.5, 1.0], "ci_low": [None] * 3, "ci_high": [None] * 3}}}
    text = whole(evaluation=replace(found, curves=curves))
    words = Page(text).words
    assert "–" in words and "None" not in words and not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "MDM and the similarity map cannot be told apart" in words


def test_one_localizer_needs_no_switch():
    pictures = scenes.pictures()
    for each in pictures:
        each.maps.pop("similarity")
    page = Page(whole(pictures=pictures, explanations=[], evaluation=None))
    assert not page.all("input", type="radio") and page.all("input", type="range")


def test_the_file_is_written_whole_and_small(tmp_path):
    path = write_report(tmp_path / "run" / "report.html", config=scenes.CONFIG, pictures=scenes.pictures(each=20))
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    assert path.stat().st_size < 20e6 * 40 / 200
    Page(path.read_text(encoding="utf-8"))
