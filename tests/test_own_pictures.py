"""Which pictures protomask knows as its own, wherever they lie."""

from __future__ import annotations

import os

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from protomask.own_pictures import CONTACT_SHEET, own_pictures


def test_a_signed_png_is_own_wherever_it_lies_and_a_photograph_is_not(tmp_path):
    signed = PngInfo()
    signed.add_text("Software", "protomask")
    Image.new("RGB", (8, 8)).save(tmp_path / CONTACT_SHEET, pnginfo=signed)  # copied away from its folder
    Image.new("RGB", (8, 8)).save(tmp_path / "photograph.png")
    is_own = own_pictures()
    assert is_own(tmp_path / CONTACT_SHEET)
    assert not is_own(tmp_path / "photograph.png")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "scan.png")  # nobody writes: opened, it would be waited for without end
    (tmp_path / "folder.png").mkdir()
    is_own = own_pictures()
    assert not any(is_own(tmp_path / name) for name in ("scan.png", "folder.png", "absent.png"))
