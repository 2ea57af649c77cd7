from dataclasses import replace

import numpy as np
import pytest

from protomask.evaluation.catalogue import METRICS as KNOWN
from protomask.report import wording
from protomask.report.encoding import whereabouts
from protomask.report.evidence import find_evidence
from protomask.report.series import curve_line, stagger_labels, ticks, training_lines
from protomask.report.verdict import differences, which_to_trust
from protomask.statistics import wilson

from . import scenes


def test_every_metric_has_its_words():
    assert set(wording.METRICS) == set(KNOWN) >= set(wording.FAITHFUL)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("benign", "benign"),
        ("2-door", "2-door"),
        ("1.5T", "1.5T"),
        ("007", "007"),
        ("_", "_"),
        (None, ""),
    ],
)
def test_readable_class_names(name, wanted):
    assert wording.readable(name) == wanted


def test_numbers():
    assert wording.number(-0.001) == "0.00" and wording.number(-1.5) == "−1.50"
    assert wording.number(None) == wording.number(float("nan")) == "–"
    assert (
        wording.duration(0.0004) == "0.4 ms"
        and wording.duration(95) == "1 min 35 s"
        and wording.duration(7300) == "2 h 1 min"
    )
    for length in range(4, 12):
        assert len(wording.shorten("abcdefghijklmnop", length)) <= length
    assert wording.shorten("abcdefghijklmnop", 7) == "abc…nop"


def test_whereabouts():
    assert whereabouts(find_evidence(scenes.square(0, 0)[1])) == "6 % of the image, upper left"
    assert whereabouts(find_evidence(scenes.square(46, 25)[1])) == "6 % of the image, middle right"
    assert whereabouts(find_evidence(np.zeros((4, 4)))) == "nothing (no compact evidence)"


def test_wilson_interval():
    assert wilson(0.95, 200) == pytest.approx((0.910, 0.973), abs=5e-4)  # Wilson (1927), z = 1.96
    assert wilson(1.0, 10) == pytest.approx((0.722, 1.0), abs=5e-4)


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.5, 30.5, 6) == [5, 10, 15, 20, 25, 30]
    assert ticks(3, 3) == [3]


def test_staggered_labels_never_meet():
    labels = [(10, 30), (20, 30), (30, 30), (60, 30), (99, 30)]
    places = stagger_labels(labels, 0, 100)
    rows = [row for _, row in places]
    for row in set(rows):
        spans = [(centre - 15, centre + 15) for centre, at in places if at == row]
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))
        assert spans[0][0] >= 0 and spans[-1][1] <= 100
    assert rows[0] == rows[3] == 0


def test_curve_of_pairs_gets_a_band():
    line = curve_line("mdm", 5 * [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]] + [[np.nan, 0, 0]])
    assert np.allclose(line.y, [1, 2, 3]) and np.allclose(line.high - line.y, 1.96 * np.sqrt(10 / 9) / np.sqrt(10))


def test_stages_that_alternate_stay_apart():
    log = [
        {"stage": "joint", "epoch": 1, "loss": 3.0},
        {"stage": "warm", "epoch": 0},
        {"stage": "projection", "loss": 9.0},
        {"stage": "joint", "epoch": 2, "loss": 2.0},
        {"stage": "joint", "epoch": 3, "loss": 1.0},
    ]
    lines, stages, events = training_lines(log, ["loss", "absent"])
    assert [(stage.name, stage.first, stage.last) for stage in stages] == [
        ("joint training", 1, 1),
        ("joint training", 2, 3),
    ]
    assert [(event.name, event.first) for event in events] == [("projection", 1.5)]
    assert [line.name for line in lines] == ["loss"] and list(lines[0].y) == [3, 2, 1]


def test_verdict_names_the_winner_whichever_way_round():
    found = scenes.evaluation()
    for pair in (("mdm", "similarity"), ("similarity", "mdm")):
        said = which_to_trust(found, *pair)
        assert said["winner"] == "mdm" and said["headline"] == "MDM, more than the similarity map"
        assert len(said["sentences"]) == 1


def test_one_pair_is_told_as_one():
    found = scenes.evaluation()
    found = replace(found, comparisons=[{**row, "n": 1} for row in found.comparisons])
    assert which_to_trust(found, "mdm", "similarity")["sentences"][0].endswith(
        "(1 pair of a test image and a prototype)."
    )


def test_verdict_warns_of_a_winner_that_a_blob_beats():
    said = which_to_trust(scenes.evaluation(localizers=("center", "mdm", "similarity")), "mdm", "similarity")
    assert said["winner"] == "mdm" and "behind a blob in the centre, which knows" in said["sentences"][1]
    assert "insertion and deletion" in said["sentences"][1] and len(said["sentences"]) == 2
    assert said["headline"] == "MDM, more than the similarity map, but behind a blob in the centre in part"


def test_what_is_undecided_against_a_blob_is_not_called_behind():
    found = scenes.evaluation(localizers=("center", "mdm", "similarity"))
    for row in found.comparisons:
        if (row["a"], row["metric"]) == ("center", "deletion"):
            row["better"] = "undecided"
    _, behind, undecided = which_to_trust(found, "mdm", "similarity")["sentences"]
    assert "behind a blob" in behind and behind.endswith("in insertion.")
    assert undecided.endswith("deletion: undecided.")


def test_a_row_that_only_its_own_interval_would_decide_says_so():
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    found.comparisons[0].update(better="undecided", better_alone="mdm", images_needed=1234)
    row = differences(found, "mdm", "similarity")[0]
    assert row["says"] == "undecided (alone: MDM better)" and row["needed"] == "1,200"


def test_verdict_is_careful_with_little_evidence():
    found = scenes.evaluation(localizers=("mdm", "similarity"), metrics=("insertion", "deletion", "gain"))
    for row in found.comparisons:
        row.update(better="mdm" if row["metric"] == "gain" else "undecided", n=16)
    said = which_to_trust(found, "mdm", "similarity")
    assert said["headline"] == "mostly undecided; what can be told favours MDM"
    assert "few pairs" in said["sentences"][1]


@pytest.mark.parametrize(("pairs", "images", "what"), [(9, 9, "pairs"), (20, 9, "images"), (10, 10, None)])
def test_of_fewer_than_ten_images_no_verdict_is_given(pairs, images, what):
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    for row in found.comparisons:
        row.update(better="undecided", n=pairs, images=images)
    said = which_to_trust(found, "mdm", "similarity")
    if what is None:
        assert "cannot be told apart" in said["headline"] and "only large differences" in said["sentences"][1]
    else:
        assert said["headline"] == f"too few {what} to tell MDM from the similarity map"
        assert (
            said["sentences"][1]
            == f"These are too few {what} to rely on any of this; evaluate at least ten, better 50."
        )


def test_verdict_is_open_where_the_metrics_disagree_or_say_nothing():
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    for row in found.comparisons:
        row["better"] = "mdm" if row["metric"] == "insertion" else "similarity"
    said = which_to_trust(found, "mdm", "similarity")
    assert said["winner"] is None and said["headline"] == (
        "neither MDM nor the similarity map throughout; MDM is ahead in insertion, behind in deletion"
    )
    assert "than the similarity map in insertion; MDM is behind in deletion: these" in said["sentences"][0]
    for row in found.comparisons:
        row["better"] = "undecided"
    assert which_to_trust(found, "mdm", "similarity")["headline"] == "MDM and the similarity map cannot be told apart"
    assert which_to_trust(found, "mdm", "hdm") is None


def test_where_a_winner_is_behind_in_another_respect_the_box_says_so():
    found = scenes.evaluation(localizers=("mdm", "similarity"), metrics=("insertion", "energy_box", "steadiness"))
    for row in found.comparisons:
        row["better"] = {"insertion": "mdm", "energy_box": "similarity", "steadiness": "undecided"}[row["metric"]]
    assert which_to_trust(found, "mdm", "similarity")["sentences"][1:] == [
        "In other respects, which do not decide this, MDM is behind in energy in the box."
    ]


def test_differences_are_turned_in_favour_of_the_first():
    found = scenes.evaluation(localizers=("mdm", "similarity"))
    for first, second, sign in (("mdm", "similarity", "+"), ("similarity", "mdm", "−")):
        rows = differences(found, first, second)
        assert [row["label"] for row in rows] == ["Insertion", "Deletion"]
        for row in rows:
            assert row["difference"][0] == sign and row["says"] == "MDM better"
            assert (row["mark"]["low"] > row["mark"]["zero"]) == (sign == "+")
            assert row["mark"]["low"] < row["mark"]["at"] < row["mark"]["high"]


def test_every_localizer_has_a_name_and_every_learned_mask_a_sentence_and_a_look_of_its_own():
    from protomask.localizers import BUILT_IN
    from protomask.report.palette import look
    from protomask.report.wording import LOCALIZERS, SHOWS

    assert set(BUILT_IN) <= set(LOCALIZERS)
    shown = ["mdm", "hdm", "neuromask", "similarity"]
    assert set(shown) <= set(SHOWS) and len({look(name) for name in shown}) == 4
    assert len({look(name).dashes for name in shown}) == 4  # told apart without colours, too


def test_every_localizer_says_what_it_shows_of_prototypes_and_of_classes():
    from protomask.report.wording import LOCALIZERS, shows

    for name in LOCALIZERS:
        for kind in ("prototypes", "classes"):
            words = shows(f"{name}:seed=1", kind)
            assert words.endswith(".") and "{" not in words, name
        if name not in ("similarity", "prp", "receptive-field"):  # which know prototypes alone
            assert "prototype" not in words, name
    assert "smallest" in shows("mdm-published") and "smallest" not in shows("gradcam")
    assert shows("a localizer of one's own") == ""


@pytest.mark.parametrize("probability, one, none", [(1.0, "> 99.9 %", "> 99 %"), (0.0, "< 0.1 %", "< 1 %")])
def test_nothing_is_certain_and_nothing_impossible(probability, one, none):
    shown = [wording.certainty(probability, digits).replace("\N{NO-BREAK SPACE}", " ") for digits in (1, 0)]
    assert shown == [one, none]
    assert wording.certainty(0.996, 0)[0] == ">" and wording.chance(probability)[0] in "<>"
