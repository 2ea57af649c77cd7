import pytest
import torch

from protomask.data.words import Paths, Words


def test_words_are_a_sequence_of_texts():
    texts = ["", "one", "zwölf", "bird \udcff.jpg", "last"]
    words = Words(iter(texts))
    assert list(words) == texts and words == tuple(texts) and len(words) == 5 and "one" in words
    assert words != texts[:4] and words[1:3] == ["one", "zwölf"] and words.index("last") == 4
    assert words[-2] == "bird \udcff.jpg" and list(reversed(words)) == texts[::-1]
    taken = words.take(torch.tensor([4, 1, 1])).take([0, 2])
    assert list(taken) == ["last", "one"] and Words(taken) == taken
    assert len(Words()) == 0 and list(words.take([])) == []
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            words[wrong]
        with pytest.raises(IndexError):
            words.take([wrong])


def test_more_than_are_held_at_once(monkeypatch):
    monkeypatch.setattr("protomask.data.words.AT_ONCE", 3)
    assert list(Words(map(str, range(10)))) == [str(number) for number in range(10)]


def test_paths(tmp_path):
    paths = Paths([tmp_path / "a", tmp_path / "b"])
    assert list(paths) == [tmp_path / "a", tmp_path / "b"] and paths[-1].name == "b" and paths[:1] == (tmp_path / "a",)
