"""No file that a user may have got from somewhere runs code when it is opened."""

import ast
from pathlib import Path

import pytest

import protomask

ROOT = Path(protomask.__file__).parent.parent
FILES = [path for room in ("protomask", "protopnet", "xprotonet") for path in sorted((ROOT / room).rglob("*.py"))]
# Call -> the keyword that makes it safe; None where nothing does.
CALLS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "pickle.load": None,
    "pickle.loads": None,
    "pickle.Unpickler": None,
    "yaml.load": None,
    "yaml.unsafe_load": None,
    "joblib.load": None,
    "marshal.loads": None,
    "dill.load": None,
    "torch.jit.load": None,
    "torch.hub.load": None,
    "eval": None,
    "exec": None,
    "os.system": None,
    "np.fromregex": None,
}


WRITTEN_HERE = {"eval", "exec"}  # run what they are given: no file's content where that is written in the call itself


def calls(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if (
                name in WRITTEN_HERE
                and all(isinstance(value, ast.Constant) for value in node.args)
                and not node.keywords
            ):
                continue
            yield (
                name,
                {word.arg: getattr(word.value, "value", "?") for word in node.keywords},
                node.lineno,
            )


def unsafe(text):
    for name, words, line in calls(text):
        if name in CALLS:
            safe = CALLS[name]
            if safe is None or words.get(safe[0]) is not safe[1]:
                yield f"line {line}: {name} may run code of the file"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_call_that_loads_is_a_safe_one(path):
    assert not list(unsafe(path.read_text(encoding="utf-8")))


def test_the_check_sees_what_it_must():
    names = {name for path in FILES for name, _, _ in calls(path.read_text(encoding="utf-8"))}
    assert {"torch.load", "np.load"} <= names


@pytest.mark.parametrize(
    "call", ["eval(text)", "exec(open(path).read())", "eval('0', names)", "exec(f'{text}')", "torch.load('network.pt')"]
)
def test_what_is_not_written_in_the_call_is_refused(call):
    assert len(list(unsafe(call))) == 1


def test_what_is_written_in_the_call_is_no_file():
    assert not list(unsafe("eval('0')"))
