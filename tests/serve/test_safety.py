"""What strangers and hostile files can do: nothing, and they are told so in a line."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from .conftest import KEY, LOCAL, events, explain, photo


def test_without_the_key_nothing_is_answered(client):
    for given in ({}, {"x-protomask-key": ""}, {"x-protomask-key": KEY + "x"}, {"x-protomask-key": "ключ".encode()}):
        headers = {"x-protomask-key": "", **given}
        for method, address in (
            ("GET", "/api/about"),
            ("POST", "/api/pictures"),
            ("GET", "/api/prototypes/0"),
            ("POST", "/api/pictures/x/hide"),
        ):
            found = client.request(method, address, headers=headers, content=photo() if method == "POST" else None)
            assert found.status_code == 403 and "key" in found.json()["error"]


def test_the_page_itself_holds_no_secret(client):
    for address in ("/", "/page.js", "/page.css"):
        found = client.get(address, headers={"x-protomask-key": ""})
        assert found.status_code == 200 and KEY not in found.text


@pytest.mark.parametrize("host", ["evil.example:8765", "127.0.0.1.evil.example:8765", "127.0.0.1:9999", "", "[::1"])
def test_another_name_for_this_machine_is_refused(client, host):
    assert client.get("/api/about", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765"])
def test_the_own_names_are_taken(client, host):
    assert client.get("/api/about", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://evil@127.0.0.1"])
def test_other_pages_may_not_ask(client, origin):
    found = client.post("/api/pictures", content=photo(), headers={"origin": origin})
    assert found.status_code == 403 and "another page" in found.json()["error"]
    assert client.get("/api/about", headers={"origin": LOCAL}).status_code == 200


def test_every_answer_carries_the_headers_that_keep_it_in_its_place(client):
    for address in ("/", "/api/about", "/nothing", "/page.js"):
        headers = client.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../setup.cfg",
        "/page/../../app.py",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/app.py",
        "/page.js/../app.py",
        "/app.py",
        "//etc/passwd",
        "/api/pictures/..%2f..%2fmodel.json/panel",
        "/api/prototypes/..%2f..%2fconfig.json",
        "/api/prototypes/0000.png",
    ],
)
def test_no_path_reaches_the_disk(client, path):
    found = client.get(path)
    assert found.status_code in (404, 405, 422) and "root:" not in found.text and "import" not in found.text


def bomb(width, height):
    """A PNG that claims any number of pixels."""

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


def hostile():
    good = photo(kind="JPEG")
    png = photo()
    tiff = photo(kind="TIFF")
    yield "empty.png", b""
    yield "bomb.png", bomb(60000, 60000)
    yield "wide bomb.png", bomb(2**31 - 1, 1)
    yield "zero.png", bomb(0, 0)
    yield "script.html", b"<html><script>alert(1)</script></html>"
    yield "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\nshowpage\n"
    yield "print.pdf", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"
    yield "archive.zip", b"PK\x03\x04" + os.urandom(200)
    yield "program", b"\x7fELF" + os.urandom(400)
    yield "words.jpg", b"this is no picture"
    yield "noise.jpg", np.random.default_rng(0).bytes(5000)
    yield "pickle.png", b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
    yield "numbers.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}"
    yield "medical.dcm", b"\0" * 128 + b"DICM" + os.urandom(100)
    yield "words.dcm", b"no medicine"
    yield "noise without a name", b"\0" * 128 + b"DICM"
    for share in (0.1, 0.3, 0.5):
        yield f"truncated {share}.png", png[: int(len(png) * share)]
        yield f"truncated {share}.tiff", tiff[: int(len(tiff) * share)]
    yield "truncated.jpg", good[: len(good) // 3]
    yield "head.gif", b"GIF89a" + b"\xff" * 7
    yield "head.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 "
    yield "head.bmp", b"BM" + b"\xff" * 60
    yield "head.tiff", b"II*\0\xff\xff\xff\xff"
    yield "loop.tiff", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    yield "head.ppm", b"P6 999999999 999999999 255\n"
    yield from claims_of_size()
    yield from other_kinds()


def claims_of_size():
    """Files of every kind that say that they are enormous."""
    frame = struct.pack(">BHHB", 8, 65535, 65535, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    yield "bomb.jpg", b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6 + b";"
    yield (
        "bomb.bmp",
        b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHH", 40, 99999, 99999, 1, 24) + b"\0" * 24,
    )
    yield "bomb.tiff", tiff_of(200_000, 200_000)
    yield "wide bomb.tiff", tiff_of(2**31 - 1, 2)
    head = struct.pack("<BBB", 0xFF, 0xFF, 0xFF) * 2
    yield "bomb.webp", b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + head
    yield "bomb.ppm", b"P5 60000 60000 255\n" + b"\0" * 100
    yield "bomb.pfm", b"Pf 60000 60000 -1.0\n" + b"\0" * 100
    yield "bomb.tga", b"\0\0\2" + b"\0" * 9 + struct.pack("<HH", 65535, 65535) + b"\x18\0"
    yield "bomb.ico", b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 2**31 - 1, 22)
    text = zlib.compress(b"a" * 200_000_000, 9)
    yield "bomb in words.png", png_with(b"zTXt", b"Comment\0\0" + text)
    yield "bomb in a profile.png", png_with(b"iCCP", b"icc\0\0" + text)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(kind, data):
    """A PNG without pixels that carries something else."""
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(kind, data) + chunk(b"IEND", b"")


def tiff_of(width, height):
    """A TIFF that claims any number of pixels."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, 9)]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + rows + b"\0" * 4


def other_kinds():
    """What is no picture, or one of a kind that is not read."""
    yield "program.exe", b"MZ" + b"\0" * 200
    yield "music.mp3", b"ID3\3\0" + os.urandom(200)
    yield "film.mp4", b"\0\0\0\x18ftypmp42" + os.urandom(200)
    yield "photo.heic", b"\0\0\0\x18ftypheic" + os.urandom(200)
    yield "base.sqlite", b"SQLite format 3\0" + b"\0" * 100
    yield "packed.gz", b"\x1f\x8b\x08" + os.urandom(100)
    yield "link.lnk", b"L\0\0\0\1\x14\2\0" + b"\0" * 60
    yield "entities.svg", b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'
    yield "code.php", b"GIF89a<?php system($_GET[0]); ?>"
    yield "layers.psd", b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3)
    yield "stars.fits", b"SIMPLE  =                    T" + b" " * 50
    yield "page.html.jpg", b"<!doctype html><img src=//evil.example/x>"
    yield "model.safetensors", struct.pack("<Q", 2**62) + b"{}"
    yield "torch.pt", b"PK\x03\x04" + b"archive/data.pkl" + os.urandom(50)


HOSTILE = list(hostile())
assert len(HOSTILE) >= 50
NAMES = [
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/passwd",
    "a" * 40_000 + ".png",
    "line\nbreak\r\n.png",
    "nul\0.png",
    "<img src=x onerror=alert(1)>.png",
    "‮gnp.exe",
    "",
    ".",
    "日本語.png",
    "%2e%2e%2fpasswd",
    "CON",
    "~root",
    "$(reboot).png",
    "a;rm -rf .png",
    "\ud83d.png",
]


@pytest.mark.parametrize("name, content", HOSTILE, ids=[name for name, _ in HOSTILE])
def test_hostile_files_get_one_clear_line(client, capfd, name, content):
    answer, told = explain(client, content, name)
    assert answer is None
    (error,) = [each["error"] for each in told if "error" in each]
    assert error and "\n" not in error and len(error) < 400 and "Traceback" not in error
    assert "something went wrong" not in error, error
    assert "Traceback" not in capfd.readouterr().err
    assert client.app.state.service.room.held == 0


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_hostile_names_are_shown_and_no_more(client, run, name):
    before = sorted(path for path in run.folder.rglob("*"))
    found = client.post(
        "/api/pictures", params={"name": name.encode("utf-8", "surrogatepass")}, content=photo(size=(32, 32))
    )
    told = events(found)
    (answer,) = [each["answer"] for each in told if "answer" in each]
    assert 0 < len(answer["name"]) <= 120 and "/" not in answer["name"] and "\n" not in answer["name"]
    assert sorted(path for path in run.folder.rglob("*")) == before


def test_uploads_larger_than_the_limit_are_refused_before_they_are_read(client, monkeypatch):
    from protomask.serve import app

    monkeypatch.setattr(app, "MOST_BYTES", 10_000)
    found = client.post("/api/pictures", content=os.urandom(10_001))
    assert found.status_code == 413 and "larger" in found.json()["error"]

    def parts():
        for _ in range(5):
            yield os.urandom(4000)

    assert client.post("/api/pictures", content=parts()).status_code == 413  # without a declared length
    assert client.app.state.service.room.held == 0


def test_what_is_held_together_is_bounded(client, monkeypatch):
    monkeypatch.setattr(client.app.state.service.room, "most", 1000)
    found = client.post("/api/pictures", content=photo())
    assert found.status_code == 429 and "waiting" in found.json()["error"]
    assert client.app.state.service.room.held == 0


def test_a_full_queue_says_so(client, monkeypatch):
    monkeypatch.setattr(client.app.state.service.worker, "most_waiting", 0)
    found = client.post("/api/pictures", content=photo())
    assert found.status_code == 429 and client.app.state.service.room.held == 0


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b'{"strokes": 3, "fill": "blur"}',
        b'{"strokes": [{"points": [], "radius": 0.1}], "fill": "blur"}',
        b'{"strokes": [{"points": [[0.1]], "radius": 0.1}], "fill": "blur"}',
        b'{"strokes": [{"points": [[1e9, 0]], "radius": 0.1}], "fill": "blur"}',
        b'{"strokes": [{"points": [[NaN, 0]], "radius": 0.1}], "fill": "blur"}',
        b'{"strokes": [{"points": [[0, 0]], "radius": 99}], "fill": "blur"}',
        b'{"strokes": [], "fill": "/etc/passwd"}',
        b'{"strokes": []}',
        b" " * (2**20 + 1),
    ],
    ids=range(13),
)
def test_what_is_to_be_hidden_is_checked(client, words):
    answer, _ = explain(client, photo(size=(32, 32)))
    found = client.post(f"/api/pictures/{answer['picture']}/hide", content=words)
    assert found.status_code in (400, 413) and found.json()["error"]


def test_a_picture_that_is_forgotten_is_not_somebody_elses(client):
    found = client.post("/api/pictures/AAAAAAAAAAAAAAAA/hide", json={"strokes": [], "fill": "blur"})
    assert found.status_code == 404 and "once more" in found.json()["error"]


def test_transparent_and_turned_pictures_are_read_as_files_are(client):
    image = Image.new("RGBA", (30, 50), (255, 0, 0, 0))
    file = io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6
    image.convert("RGB").save(file, format="JPEG", exif=exif)
    answer, _ = explain(client, file.getvalue(), "turned.jpg")
    assert (answer["width"], answer["height"]) == (50, 30)
