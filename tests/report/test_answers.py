import pytest
import torch

from protomask.labels import right_answers
from protomask.report.answers import Answers, answers_section, confusion
from protomask.report.templating import template

NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
LABELS = torch.tensor([0, 0, 1, 2])
LOGITS = torch.tensor([[4.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 2.0, 1.5], [0.0, 1.0, 6.0]])


@pytest.fixture
def answers() -> Answers:
    return Answers(["001.Red_bird", "Blue", "Tree"], NAMES, LOGITS, LABELS)


def test_every_answer_is_listed_with_its_probability_margin_and_runner_up_wrong_ones_first(answers):
    found = answers_section(answers, {"a.jpg": "image-3"})
    assert (found["count"], found["listed"], found["wrong"], found["findings"]) == (4, 4, 1, False)
    assert found["list"]["classes"] == ["Red bird", "Blue", "Tree"]
    name, truth, said, chance, (runner_up, margin), right, anchor = found["list"]["rows"][0]
    assert (name, truth, said, runner_up, margin, right, anchor) == ("b.jpg", 0, 1, 2, 2.0, 0, "")
    assert chance == pytest.approx(LOGITS[1].softmax(0)[1].item(), abs=1e-6)
    rows = found["list"]["rows"]
    assert [row[0] for row in rows] == ["b.jpg", "d.jpg", "a.jpg", "c.jpg"]  # right ones by falling probability
    assert [row[6] for row in rows if row[0] == "a.jpg"] == ["image-3"]


def test_of_equal_logits_the_list_takes_the_class_that_accuracy_and_matrix_take():
    classes, labels = list("abcdef"), torch.arange(6)
    logits = torch.zeros(6, 6)
    logits[3:, :2] = -1  # the first of the greatest is not the first of all
    answers = Answers(classes, [f"{name}.jpg" for name in classes], logits, labels)
    found = answers_section(answers, {})
    assert found["wrong"] == 6 - right_answers(logits, labels).sum() == 5
    taken = {row[1]: (row[2], row[4]) for row in found["list"]["rows"]}
    assert [taken[place][0] for place in range(6)] == logits.argmax(1).tolist() == [0, 0, 0, 2, 2, 2]
    assert [taken[place][1] for place in range(6)] == [[1, 0.0]] * 3 + [[3, 0.0]] * 3
    assert [[cell["count"] for cell in row].index(1) for row in found["confusion"]["matrix"]] == [0, 0, 0, 2, 2, 2]


def test_each_class_has_its_recall_precision_and_areas(answers):
    red, blue, tree = answers_section(answers, {})["classes"]
    assert (red["name"], red["images"]) == ("Red bird", 2)
    assert (red["sort"]["recall"], red["sort"]["precision"]) == (0.5, 1)
    assert (blue["sort"]["recall"], blue["sort"]["precision"]) == (1, 0.5)
    # Blue's one image, at .59, is above "a" and "d" and below "b": two of three pairs, and precision 1/2 at its rank.
    assert blue["sort"]["auroc"] == pytest.approx(2 / 3, abs=1e-6) and blue["sort"]["ap"] == 0.5
    assert tree["shown"] == {
        "recall": "100.0\N{NO-BREAK SPACE}%",
        "precision": "100.0\N{NO-BREAK SPACE}%",
        "auroc": "1.000",
        "ap": "1.000",
    }


def test_the_matrix_counts_true_classes_by_what_they_were_taken_for(answers):
    found = confusion(answers)
    assert [[cell["count"] for cell in row] for row in found["matrix"]] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert [cell["share"] for cell in found["matrix"][0]] == [0.5, 0.5, 0]
    assert found["pairs"] == [("Red bird", "Blue", 1)]


def test_of_many_classes_the_most_frequent_confusions_are_named_alone():
    labels = torch.arange(40).repeat(2)
    logits = torch.nn.functional.one_hot(labels, 40).float()
    logits[5], logits[45], logits[7] = logits[6], logits[6], logits[8]
    found = confusion(Answers([f"c{each}" for each in range(40)], [str(each) for each in range(80)], logits, labels))
    assert found["matrix"] == [] and found["pairs"] == [("c5", "c6", 2), ("c7", "c8", 1)] and found["left_out"] == ""


def taken_for_the_next(times):
    """Class c is taken for the next one ``times[c]`` times."""
    labels = torch.tensor([place for place, number in enumerate(times) for _ in range(number)])
    logits = torch.nn.functional.one_hot((labels + 1) % len(times), len(times)).float()
    names = [str(place) for place in range(len(labels))]
    return answers_section(Answers([f"c{place}" for place in range(len(times))], names, logits, labels), {})


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([1] * 40, ""),
        ([1] * 10 + [2] * 40, "The 40 most frequent of 50 confusions."),
        (
            [1] * 60 + [3] * 10,
            "The 40 most frequent of 70 confusions; of 60 with 1 image each, the first 30 in the order of the classes.",
        ),
    ],
)
def test_it_is_said_how_many_confusions_are_left_out_and_that_some_are_as_frequent(times, said):
    found = taken_for_the_next(times)
    assert found["confusion"]["left_out"] == said and len(found["confusion"]["pairs"]) == 40
    assert said in template("answers.html.j2").render(answers=found)


def test_of_many_classes_none_of_which_is_mistaken_that_is_said():
    labels = torch.arange(40)
    answers = Answers([f"c{place}" for place in range(40)], [""] * 40, torch.eye(40), labels)
    page = template("answers.html.j2").render(answers=answers_section(answers, {}))
    assert "No test image is taken for another class." in page and "taken for</th>" not in page


def test_names_in_the_matrix_are_shortened_where_that_tells_them_apart():
    alike = "the same beginning and the same middle, then "
    apart = ["a long beginning " + middle * 9 + " and a long end" for middle in "xy"]
    found = confusion(Answers([f"{alike}A", f"{alike}B", *apart], NAMES, torch.eye(4), torch.arange(4)))
    assert found["short"][:2] == ["the same begin…iddle, then A", "the same begin…iddle, then B"]
    assert found["short"][2:] == apart


def test_findings_are_listed_where_they_are_or_are_said_to_be():
    logits = torch.tensor([[2.0, -1.0], [-3.0, -2.0], [1.0, 0.5]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = answers_section(Answers(["Mass", "Nodule"], NAMES[:3], logits, labels), {})
    assert found["findings"] and found["confusion"] is None and (found["count"], found["wrong"]) == (4, 2)
    rows = {(row[0], row[1]): row[2:6] for row in found["list"]["rows"]}
    assert rows["a.jpg", 0][0] == 0 and rows["a.jpg", 0][3] == 1
    missed = rows["b.jpg", 1]
    assert missed[0] == -2 and missed[2:] == [[None, 2.0], 0] and missed[1] == pytest.approx(0.880797, abs=1e-6)
    assert rows["c.jpg", -1][0] == 0 and rows["c.jpg", -1][3] == 0
    anchors = {"c.jpg": "image-4", ("c.jpg", "Mass"): "image-4", ("c.jpg", "Nodule"): "image-5", "a.jpg": "image-1"}
    linked = answers_section(Answers(["Mass", "Nodule"], NAMES[:3], logits, labels), anchors)["list"]["rows"]
    places = {(row[0], row[1]): row[6] for row in linked}
    assert places == {("a.jpg", 0): "image-1", ("b.jpg", 1): "", ("c.jpg", -1): "image-4", ("c.jpg", 1): "image-5"}
    mass, nodule = found["classes"]
    assert (mass["sort"]["recall"], mass["sort"]["precision"]) == (1, 0.5)
    assert (nodule["sort"]["recall"], nodule["sort"]["precision"]) == (0.5, 1)


def test_a_class_without_images_has_dashes():
    found = answers_section(Answers(["a", "b", "c"], NAMES[:2], LOGITS[:2], torch.tensor([0, 1])), {})["classes"][2]
    assert found["shown"] == {"recall": "–", "precision": "–", "auroc": "–", "ap": "–"}
    assert set(found["sort"].values()) == {-1}


def test_without_answers_there_is_no_section():
    assert answers_section(None, {}) == {}
    assert answers_section(Answers(["a"], [], torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)), {}) == {}
