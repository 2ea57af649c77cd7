"""Files: regular ones only, whole or not at all, never through a link, different names for different things."""

import os
import signal
import stat
from functools import partial

import pytest
from PIL import Image

from protomask.data.raster import open_raster
from protomask.errors import InputError
from protomask.files import (
    PARTIAL,
    check_regular_file,
    file_name,
    open_regular,
    parse_json,
    read_bytes,
    remove_partial,
    write_atomically,
    write_together,
)
from tests.support.interrupted import interrupt_everywhere


def put(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "named pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "nowhere":
        path.symlink_to(path.parent / "not there")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("folder", "a folder, where a file is expected; restore it"),
        ("named pipe", "a named pipe, where a file is expected; restore it"),
        ("device", "a device, where a file is expected; restore it"),
        ("loop", "cannot be read"),
        ("nowhere", "no such file"),
        ("nothing", "no such file"),
    ],
)
@pytest.mark.parametrize("read", [check_regular_file, open_regular, read_bytes])
def test_only_regular_files_are_opened(tmp_path, kind, words, read):
    path = tmp_path / "model.json"
    put(path, kind)
    with pytest.raises(InputError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"])
def test_impossible_names_are_bad_input(path):
    with pytest.raises(InputError, match="cannot be read"):
        check_regular_file(path)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "there").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert read_bytes(tmp_path / "link") == b"content"
    assert check_regular_file(tmp_path / "link").st_size == 7


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "NaN", '{"a": [Infinity]}', "[1e999]", "1" * 5000, b"\xff"])
def test_json_is_read_strictly(text):
    with pytest.raises(InputError, match="x.json is not JSON .*; make it again"):
        parse_json(text, "x.json", "make it again")


def test_json_is_read():
    assert parse_json('{"a": [1, 2.5, null]}', "x.json", "") == {"a": [1, 2.5, None]}


def test_nothing_is_written_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    target = tmp_path / "report.html"
    target.symlink_to(victim)
    for name in ("report.html.part", "report.html.partial", f".{PARTIAL}"):
        (tmp_path / name).symlink_to(victim)
    write_atomically(target, lambda path: path.write_text("new"))
    assert victim.read_text() == "mine"
    assert target.read_text() == "new" and not target.is_symlink()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="cannot write .*file: No space left on device"):
        write_atomically(tmp_path / "file", fail)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_a_signal_between_two_files_waits_for_both(tmp_path, monkeypatch):
    replace = os.replace

    def and_a_signal(source, target):
        replace(source, target)
        if target == tmp_path / "a":
            signal.raise_signal(signal.SIGINT)

    (tmp_path / "old").write_text("of before")
    monkeypatch.setattr(os, "replace", and_a_signal)
    writes = {tmp_path / name: partial(_write, name) for name in "ab"}
    with pytest.raises(KeyboardInterrupt):
        write_together(writes, instead_of=[tmp_path / "old", tmp_path / "never there"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def _write(text, path):
    path.write_text(text)


def test_written_files_have_the_usual_rights(tmp_path):
    write_atomically(tmp_path / "ours", lambda path: path.write_text("x"))
    (tmp_path / "usual").write_text("x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_partial_files_are_removed_and_no_others(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / f".0123{PARTIAL}").write_text("half")
    (tmp_path / "film.part").write_text("a download")
    remove_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoint", "film.part"]


@pytest.mark.parametrize(
    "name", ["red kite", "..", ".", "", "a/b", "../../x", "x" * 300, "ä" * 300, "\udcff", "a\0b", ".png"]
)
def test_names_become_names_of_files(tmp_path, name):
    made = file_name(name)
    assert len(made.encode()) <= 110 and "/" not in made and not made.startswith(".")
    (tmp_path / f"gallery_{made}.png").write_text("x")
    assert (tmp_path / f"gallery_{made}.png").parent == tmp_path


def test_plain_names_stay():
    assert file_name("Red_kite-3.1") == "Red_kite-3.1"
    assert file_name("red kite") == "red kite"
    assert file_name("café") == "café"


def test_different_names_have_different_files():
    names = [
        "x y",
        "x_y",
        "x/y",
        "x y ",
        " x y",
        "x" * 300,
        "x" * 301,
        "..",
        ".",
        "",
        "_",
        "__",
        "caf\u00e9",
        "cafe\u0301",
    ]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert file_name(made[2]) != made[2]  # a class that is called like the file of another


def open_and_close(path):
    open_regular(path).close()


def read_picture(path):
    with open_raster(path) as image:
        image.load()


@pytest.mark.parametrize("read", [open_and_close, read_bytes, read_picture])
def test_an_interruption_while_a_file_is_read_stays_one(tmp_path, read):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)
    stopped = [type(error) for error in interrupt_everywhere(lambda: read(path), "protomask.", "os")]
    assert len(stopped) > 30 and set(stopped) == {KeyboardInterrupt}
