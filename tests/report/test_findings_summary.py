"""What the page says of findings: AUROC beside the share of right answers, no interval that does not hold, each finding
on its own."""

from protomask.report import accuracies

METRICS = {
    "test_accuracy": {"before_projection": 0.7, "after_projection": 0.8, "final": 0.9},
    "test_auroc": {"before_projection": 0.6, "after_projection": 0.75, "final": 0.8},
    "per_class": {
        "Pleural_Thickening": {"auroc": 0.8, "average_precision": 0.5, "images": 3},
        "Hernia": {"auroc": None, "average_precision": None, "images": 0},
    },
}


def said(multi_label):
    return accuracies.accuracy(METRICS, {"data": {"test": 50, "multi_label": multi_label}})


def test_findings_have_their_own_words_and_no_interval():
    found, usual = said(True), said(False)
    assert "over all findings" in found["figures"][0]["label"] and not found["figures"][0]["note"]
    assert usual["figures"][0]["label"] == "test accuracy" and "50 images" in usual["figures"][0]["note"]
    assert (found["figures"][1]["value"], found["figures"][1]["label"]) == ("0.80", "AUROC")
    assert "findings" in found["figures"][1]["note"] and "classes" in usual["figures"][1]["note"]


def test_each_finding_has_a_row_also_where_nothing_is_defined():
    table = said(True)["table"]
    assert table["title"] == "Each finding against the rest"
    assert [row[1] for row in table["rows"]] == [
        "AUROC 0.80, average precision 0.50, 3 test images",
        "AUROC –, average precision –, 0 test images",
    ]


def test_a_run_of_an_older_version_has_neither():
    old = accuracies.accuracy({"test_accuracy": METRICS["test_accuracy"]}, {})
    assert old["table"] is None and all(each["label"] != "AUROC" for each in old["figures"])
