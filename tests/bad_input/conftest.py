"""Whole data sets, which every test copies or mends again."""

import pytest

from tests.bad_input.sets import MAKERS


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good sets")
    for name, make in MAKERS.items():
        (folder / name).mkdir()
        make(folder / name)
    return folder
