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


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {word.arg: getattr(word.value, "value", "?") for word in node.keywords},
                node.lineno,
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_call_that_loads_is_a_safe_one(path):
    for name, words, line in calls(path):
        if name in CALLS:
            safe = CALLS[name]
            assert safe is not None and words.get(safe[0]) is safe[1], f"{path}:{line}: {name} may run code of the file"


def test_the_check_sees_what_it_must():
    names = {name for path in FILES for name, _, _ in calls(path)}
    assert {"torch.load", "np.load"} <= names
