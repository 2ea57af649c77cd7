"""The script that runs everything on a device, tried on the processor."""

import json

import pytest

import protomask
from tests.run.conftest import SMALL, write_image_folder
from tests.support.scripts import benchmark


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("on a device")
    options = {**SMALL, "image_size": 32, "samples": 1}
    return protomask.train(
        data="folder", root=write_image_folder(place / "pictures"), output=place / "run", **options
    ).folder


@pytest.fixture(scope="module")
def script(request):
    with benchmark(request.config.rootpath, "accelerator") as module:
        yield module


def test_a_step_that_fails_is_told_and_does_not_stop_the_next(script, tmp_path, capsys):
    words = ["--device", "cpu", "--only", "job,maps", "--output", str(tmp_path), "--training", "--no-such-option"]
    assert script.main(words) == 1
    rows = json.loads((tmp_path / "accelerator.json").read_text())["steps"]
    assert [row["step"] for row in rows] == ["job", "maps"] and all(row["ended"] == 2 for row in rows)
    assert "--no-such-option" in rows[0]["last"] and "job" in rows[1]["last"]
    assert "| job | no (2) |" in capsys.readouterr().out


def test_unknown_steps_are_named(script, capsys):
    assert script.main(["--device", "cpu", "--only", "job,mask"]) == 2
    assert "no such step: mask; choose from suite, job" in capsys.readouterr().err


def test_maps_on_the_processor_are_those_of_a_batch_and_of_single_images(script, trained, monkeypatch):
    monkeypatch.setattr(script, "IMAGES", 2)
    mdm, hdm = "mdm:keep.steps=8,order.steps=8", "hdm:modules=1,order.steps=8"
    told = script.compare(trained, script.choose_device("cpu"), f"{mdm},{hdm}")
    assert f"{mdm} batch against cpu: ranks 1.000, first tenths 1.000" in told
    assert f"{hdm} batch against single: ranks" in told
