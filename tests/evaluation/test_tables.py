"""CSV, Markdown and per-class tables from values known by hand."""

import csv
import io
import re

import torch

from protomask.evaluation import Evaluation, Pairs
from protomask.evaluation.tables import CLASS_ROWS, as_csv, as_markdown, class_table, per_class

NAN = float("nan")


def made(times=1):
    """Two localizers on ``times`` x four images."""
    values = {
        "mdm": {"insertion": torch.tensor([0.9, 0.8, 0.7, NAN]), "deletion": torch.tensor([0.1, 0.2, 0.1, 0.2])},
        "a|b": {"insertion": torch.tensor([0.5, 0.4, NAN, NAN]), "deletion": torch.tensor([0.1, 0.2, 0.1, 0.2])},
    }
    values = {name: {metric: each.repeat(times) for metric, each in found.items()} for name, found in values.items()}
    pairs = Pairs(torch.arange(4 * times), torch.arange(4 * times))
    classes = ["owl", "owl", "auk", "auk"] * times
    return Evaluation.summarise(pairs, list("wxyz") * times, values, {"mdm": 0.1, "a|b": 0.2}, classes=classes)


def test_class_means_leave_out_what_is_undefined():
    rows = {(row["class"], row["localizer"], row["metric"]): (row["mean"], row["n"]) for row in per_class(made())}
    assert rows["owl", "mdm", "insertion"] == (0.85, 2) and rows["auk", "mdm", "insertion"] == (0.7, 1)
    assert rows["auk", "a|b", "insertion"] == (None, 0) and rows["auk", "mdm", "deletion"] == (0.15, 2)
    assert len(rows) == 8 and next(iter(rows))[0] == "auk"


def test_csv_reads_back():
    found = made()
    rows = list(csv.DictReader(io.StringIO(as_csv(found.rows))))
    assert [row["localizer"] for row in rows] == ["mdm", "mdm", "a|b", "a|b"]
    assert float(rows[0]["mean"]) == found.rows[0]["mean"] and rows[0]["n"] == "3"
    classes = list(csv.DictReader(io.StringIO(as_csv(per_class(found), CLASS_ROWS))))
    assert len(classes) == 8 and classes[2]["mean"] == ""


def test_markdown_is_a_table():
    text = as_markdown(made(times=6), classes=True)
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("| metric"))
    assert head == "| metric | mdm | a\\|b | n |"
    insertion = next(line for line in lines if line.startswith("| insertion ↑"))
    assert "**0.800 [" in insertion and insertion.endswith("| 12-18 |")
    deletion = next(line for line in lines if line.startswith("| deletion ↓"))
    assert "**" not in deletion  # a draw
    assert "- mdm ahead of a|b in 1 of 2 metrics; deletion undecided." in text
    assert (
        "| insertion ↑ | mdm - a\\|b: +0.4 | - | 0.000977 | mdm | 12 | 10 |" in text
    )  # the sign test's 2 / 2^12, for two metrics
    assert "| auk | 0.700 | - | 6 |" in text and "## Per class" not in as_markdown(made())


def test_four_images_have_means_and_no_verdict():
    text = as_markdown(made())
    assert "**0.800** |" in text and "[" not in text
    assert "- mdm ahead of a|b in 0 of 2 metrics; insertion, deletion undecided." in text


def test_class_table_is_aligned():
    lines = class_table(made(), "insertion").splitlines()
    assert lines[0].split() == ["insertion", "↑", "mdm", "a|b", "n"] and lines[1].split() == ["auk", "0.700", "-", "1"]
    assert len({len(line) for line in lines}) == 1


def test_names_that_a_spreadsheet_would_compute_are_harmless():
    import csv
    import io

    from protomask.evaluation.tables import as_csv

    names = ["=1+1", "+1", "-1", "@A1", "\tx", "\rx", "plain", "a=b"]
    text = as_csv([{"name": name, "value": -0.5} for name in names], ["name", "value"])
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["name"] for row in found] == [f"'{name}" for name in names[:5]] + ["' x", *names[6:]]
    assert {row["value"] for row in found} == {"-0.5"}


def test_a_notebook_shows_the_table():
    found = made()
    page = found._repr_html_()
    rows = [re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", page)]
    assert rows[0] == ["metric", *found.localizers, "n"] and rows[-1][0] == "seconds per map"
    assert [row[0][:-2] for row in rows[1:-1]] == found.metrics and {row[0][-1] for row in rows[1:-1]} <= set("↑↓")
    for row, metric in zip(rows[1:], found.metrics):
        bold = [name for name, cell in zip(found.localizers, row[1:]) if cell.startswith("<b>")]
        best = found.best(metric)
        assert bold == [each["localizer"] for each in found.rows if each["metric"] == metric and best == each["mean"]]
    found.values["<script>"] = found.values.pop(found.localizers[0])
    for each in found.rows:
        each["localizer"] = each["localizer"] if each["localizer"] in found.values else "<script>"
    assert "<script>" not in found._repr_html_()
