"""Several findings per image through the commands, on a small folder of ChestX-ray14's shape, with both networks."""

import json
import shutil

import pytest

import protomask
from protomask.cli import main
from protomask.labels import positives
from protomask.run_folder import RunFolder
from tests.data.chestxray_folder import FINDINGS, write_chestxray

SMALL = [
    "--backbone",
    "test_resnet",
    "--features",
    "8",
    "--image-size",
    "48",
    "--batch-size",
    "8",
    "--prototypes-per-class",
    "2",
    "--prototype-channels",
    "16",
    "--samples",
    "6",
    "--workers",
    "0",
    "--quiet",
    "--localizer",
    "center",
]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory):
    return write_chestxray(tmp_path_factory.mktemp("xrays"))


@pytest.fixture(scope="module", params=["xprotonet", "protopnet"])
def run(request, xrays, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / request.param
    assert (
        main(
            [
                "train",
                "--network",
                request.param,
                "--data",
                "chestxray",
                "--root",
                str(xrays),
                "--output",
                str(output),
                *SMALL,
                "--epochs",
                "2",
                "--balance",
                "--black-box",
            ]
        )
        == 0
    )
    return RunFolder(output)


def test_metrics_are_told_per_finding(run):
    metrics = run.read("metrics.json")
    for name in ("test_accuracy", "test_auroc", "test_average_precision"):
        assert set(metrics[name]) == {"before_projection", "after_projection", "final"}
        assert all(0 <= value <= 1 for value in metrics[name].values())
    assert {name: row["images"] for name, row in metrics["per_class"].items()} == {
        "Atelectasis": 4,
        "Effusion": 6,
        "Mass": 4,
    }
    mean = sum(row["auroc"] for row in metrics["per_class"].values()) / 3
    assert metrics["test_auroc"]["final"] == pytest.approx(mean)
    assert 0 <= metrics["black_box_auroc"] <= 1


def test_prototypes_are_of_images_with_the_finding(run, xrays):
    findings = {
        line.split(",")[0]: line.split(",")[1].split("|")
        for line in (xrays / "Data_Entry_2017.csv").read_text().splitlines()
    }
    rows = run.read("prototypes.json")
    assert [row["class_name"] for row in rows] == [name for name in FINDINGS for _ in range(2)]
    assert all(row["class_name"] in findings[row["source"]] for row in rows)


def test_boxes_of_single_findings_are_evaluated(run):
    rows = run.read("evaluation.json")["rows"]
    boxes = [row for row in rows if row["metric"] == "energy_box" and row["localizer"] == "center"]
    # Six pairs, two of each finding; Atelectasis has no boxes.
    assert boxes and boxes[0]["n"] == 4


def test_explanations_and_report_speak_of_findings(run, xrays, tmp_path, capsys):
    image = next(xrays.glob("images_*/images/00000012_000.png"))
    assert main(["explain", str(run.folder), str(image), "--json", "--output", str(tmp_path), "--quiet"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines and all(line["finding"] in FINDINGS for line in lines)
    for line in lines:
        assert sum(match["points"] for match in line["matches"]) + line["other_points"] == pytest.approx(
            line["logit"], abs=1e-4
        )
    assert {path.name for path in tmp_path.glob("*.png")} == {f"00000012_000-{line['finding']}.png" for line in lines}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "To begin with (bias)" in page and "AUROC" in page
    assert "Right answers over all findings" in page and "<figcaption>Accuracy" not in page


def test_every_finding_of_an_image_is_measured_where_there_is_room(run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "run")
    opened = protomask.open_run(tmp_path / "run", progress=False)
    found = positives(opened.test.labels, 3)
    some = opened.test.subset(found.any(1).nonzero().flatten().tolist())
    monkeypatch.setattr(type(opened), "test", property(lambda _: some))
    findings = int(found.sum())
    assert len(some) < findings
    assert len(opened.evaluate("center", metrics="sparseness", samples=1000).pairs) == findings
    audited = opened.audit("center", samples=findings)
    assert next(row.overlap.n for row in audited.rows if row.check == "noise") == findings
