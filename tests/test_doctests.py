"""The examples in docstrings give what they say."""

import doctest
import pkgutil
from importlib import import_module

import pytest
import torch

ROOMS = ("protomask", "protopnet", "xprotonet")


def _modules():
    for room in ROOMS:
        package = import_module(room)
        yield room
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{room}."))


@pytest.mark.parametrize("name", [name for name in _modules() if not name.endswith("__main__")])
def test_examples(name):
    module = import_module(name)
    failed = []
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(module, name, extraglobs={"torch": torch}):
        runner.run(example, out=failed.append)
    assert not failed, "".join(failed)


def test_examples_are_found():
    found = doctest.DocTestFinder().find(import_module("protomask.localizers.specs"))
    assert sum(bool(each.examples) for each in found) >= 3
