"""A small run, and its page, asked without a browser."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import protomask
from tests.run.conftest import SMALL, write_image_folder
from tests.support.once import made_once

pytest.importorskip("fastapi")
pytest.importorskip("starlette.testclient", exc_type=RuntimeError)

KEY = "the key of the tests"
HEADERS = {"x-protomask-key": KEY}
LOCAL = "http://127.0.0.1:8765"


def photo(seed=0, size=(80, 60), kind="PNG"):
    """The bytes of a picture of noise with a bright square."""
    pixels = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
    pixels[10:30, 15:40, seed % 3] = 250
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    def make(place):
        pictures = write_image_folder(place / "pictures", per_class=8)
        options = {**SMALL, "localizer": "mdm", "epochs": 2, "samples": 1}
        protomask.train(data="folder", root=pictures, output=place / "a run", **options)

    # Trained once; every process of the tests serves a copy of its own, beside which nothing lies.
    made = made_once(tmp_path_factory, "run of serve", make)
    copy = tmp_path_factory.mktemp("served") / "a run"
    shutil.copytree(made / "a run", copy)
    return protomask.open_run(copy, progress=False)


@pytest.fixture(scope="session")
def forgetful(tmp_path_factory):
    """A run whose network can only forget."""
    place = tmp_path_factory.mktemp("forgetful")
    pictures = write_image_folder(place / "pictures", per_class=6)
    return protomask.train(data="folder", root=pictures, output=place / "net", **{**SMALL, "network": "xprotonet"})


def client_of(subject, **settings):
    from fastapi.testclient import TestClient

    from protomask.serve.app import make_app

    app = make_app(subject, key=KEY, port=8765, **settings)
    return TestClient(app, base_url=LOCAL, headers=HEADERS, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def client(run):
    from protomask.serve.of_run import RunSubject

    with client_of(RunSubject(run)) as client:
        yield client


def events(answer):
    return [json.loads(line) for line in answer.text.splitlines()]


def explain(client, content, name="picture.png"):
    """What the page tells of an upload: the answer, and all events."""
    answer = client.post("/api/pictures", params={"name": name}, content=content)
    assert answer.status_code == 200, answer.text
    told = events(answer)
    return next((each["answer"] for each in told if "answer" in each), None), told


@pytest.fixture(scope="session")
def findings_run(tmp_path_factory):
    """A small run in which an image has several findings or, for this network, none."""
    from protomask.cli import main
    from tests.data.chestxray_folder import write_chestxray

    # No white space in its paths: the words of the command are split at it.
    def make(place):
        write_chestxray(place / "xrays")
        words = (
            f"train --network xprotonet --data chestxray --root {place / 'xrays'} --output {place / 'run'} --quiet "
            "--backbone test_resnet --features 8 --image-size 48 --batch-size 8 --prototypes-per-class 2 "
            "--prototype-channels 16 --samples 4 --workers 0 --localizer center --epochs 1"
        )
        assert main(words.split()) == 0

    place = tmp_path_factory.mktemp("findings")
    shutil.copytree(made_once(tmp_path_factory, "findings-of-serve", make) / "run", place / "run")
    run = protomask.open_run(place / "run", progress=False)
    run.network.last_layer.bias.data -= 3
    return run
