"""Letters of any script in matplotlib's figures: fonts that have them, and what stands for those that none has."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache

import matplotlib
from matplotlib import font_manager

# One that matplotlib brings along: pictures, and where their lines break, are the same on every machine.
FONT = "DejaVu Sans"
PREFERRED = (
    "Noto Sans",
    "Source Han Sans",
    "IPA",
    "Hiragino",
    "Yu Gothic",
    "Microsoft YaHei",
    "Segoe UI",
    "Noto",
    "STIX",
)
"""beginnings of fonts' names that are tried first, in this order"""
UNUSABLE = ("Last Resort", "STIXNon", "STIXSize", "cmb", "cme", "cmm", "cmr", "cms", "cmt")
"""beginnings of the names of matplotlib's fonts that draw boxes, or other letters than their code points say"""
_LOG = logging.getLogger("protomask")


def drawable(text: str, families: list[str] | None = None) -> str:
    """Write ``text`` with nothing that cannot be drawn: letters that no font has are spelt, ``[bird]`` or ``[U+9CE5]``.

    >>> drawable("Vögel"), drawable("\\ue000")
    ('Vögel', '[U+E000]')

    Args:
        families: fonts that the text will be drawn with; by default all that are installed are looked through.

    A note says so once; a question mark stands for every byte of a file's name that is no UTF-8.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    if text.isascii() and text.isprintable():
        return text
    shaped = not families and _can_shape()
    return "".join(_letter(each, families, shaped) for each in text)


def families(text: str) -> list[str]:
    """List the fonts that have the letters of ``text``, in the order in which they are tried."""
    wanted = [FONT]
    for each in text:
        if not each.isascii() and (found := font_of(each)) and found not in wanted:
            wanted.append(found)
    return wanted


def weight_for(text: str, weight: str) -> str:
    """Give ``weight``, or ``normal`` where a font that the text needs has no bold form of its letters."""
    kept = weight == "normal" or all(_has_bold(each) for each in text if not each.isascii())
    return weight if kept else "normal"


@cache
def _has_bold(letter: str) -> bool:
    """Whether the font that has ``letter`` has it in bold, too; some bold fonts have fewer letters."""
    name, weights = font_of(letter), font_manager.weight_dict
    return name is None or any(
        each.name == name
        and each.style == "normal"
        and (weights.get(each.weight, 400) if isinstance(each.weight, str) else each.weight) >= 600
        and ord(letter) in _letters_of(each.fname)
        for each in font_manager.fontManager.ttflist
    )


@cache
def font_of(letter: str) -> str | None:
    """Find an installed font that has ``letter``; None where there is none."""
    return next((name for name, path in _installed() if ord(letter) in _letters_of(path)), None)


def _letter(letter: str, families: list[str] | None, shaped: bool) -> str:
    kind = unicodedata.category(letter)
    if letter == "\n" or letter.isascii() and kind != "Cc":
        return letter
    if kind == "Cc":
        return " " if letter.isspace() else ""
    if 0xFE00 <= ord(letter) <= 0xFE0F:  # varies what stands before it
        return ""
    found = font_of(letter) if kind != "Co" else None  # in the area for private use every font has its own signs
    right_to_left = unicodedata.bidirectional(letter) in ("R", "AL")
    if found and (families is None or found in families) and (shaped or not right_to_left):
        return letter
    if kind == "Cf":  # joins its neighbours
        return ""
    _note()
    return spelt(letter)


def spelt(letter: str) -> str:
    """Write a letter in plain ones: Japanese and Korean syllables by sound, signs by name, others by code point.

    >>> spelt("\\N{HIRAGANA LETTER KA}"), spelt("\\N{HANGUL SYLLABLE SAE}"), spelt("\\N{BIRD}"), spelt("\\u9ce5")
    ('ka', 'sae', '[bird]', '[U+9CE5]')
    """
    name = unicodedata.name(letter, "")
    for script in ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE "):
        if name.startswith(script):
            return name.removeprefix(script).removeprefix("SMALL ").lower()
    if unicodedata.category(letter).startswith("S") and 0 < len(name) <= 20:
        return f"[{name.lower()}]"
    return f"[U+{ord(letter):04X}]"


@cache
def _note() -> None:
    _LOG.info(
        "some names have letters that no installed font has; figures spell them, as in [bird] or [U+9CE5]. Install a "
        "font that has them, such as Noto Sans CJK"
    )


@cache
def _installed() -> list[tuple[str, str]]:
    """Name and file of every usable font: ours first, then the preferred, then the others by name."""
    entries: dict[str, str] = {}
    for each in font_manager.fontManager.ttflist:
        # Colour fonts hold no outlines to draw.
        if each.style == "normal" and "Color" not in each.name and not each.name.startswith(UNUSABLE):
            entries.setdefault(each.name, each.fname)
    entries[FONT] = font_manager.findfont(FONT)

    def rank(name: str) -> tuple[int, str]:
        found = next((place for place, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))
        return (-1 if name == FONT else found), name

    return [(name, entries[name]) for name in sorted(entries, key=rank)]


@cache
def _letters_of(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a file that is gone or damaged is no font
        return frozenset()


@cache
def _can_shape() -> bool:
    """Whether matplotlib joins letters and writes from right to left; it does from 3.11 on."""
    return tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 11)
