"""The benchmark of the page, on a small run in a process of its own."""

import pytest

from tests.support.scripts import benchmark


@pytest.fixture(scope="module")
def serving(request):
    with benchmark(request.config.rootpath, "serving") as module:
        yield module


def test_uploads_to_another_process_are_answered_as_alone(serving, run, capsys):
    assert serving.main([str(run.folder), "--uploads", "4", "--megapixels", "0.02"]) == 0
    told = capsys.readouterr().out
    assert "4 at once: 4 answered under their own names and sizes, 3 of 3 the same as alone" in told
    assert "learned masks after" in told


def test_too_few_uploads_are_refused_before_anything_is_served(serving, run, capsys):
    assert serving.main([str(run.folder), "--uploads", "1"]) == 2
    assert capsys.readouterr().err == "serving: error: --uploads is 1; give at least 3\n"


def test_no_two_photographs_are_alike(serving):
    sizes = {serving.size_of(number, 12) for number in range(20)}
    assert len(sizes) == 20
    assert all(width * height == pytest.approx(12e6, rel=0.01) for width, height in sizes)
