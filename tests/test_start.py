"""How quickly the package and its commands answer."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

from protomask import launched
from protomask.cli import COMMANDS, TOGETHER, build_parser, find_command, main
from protomask.commands.messages import one_line
from protomask.errors import InputError
from tests.distributed.jobs import child_environment


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


def test_importing_protomask_imports_no_torch():
    assert python("import sys, protomask; print('torch' in sys.modules)").strip() == "False"
    code = "import sys, protomask.cli; protomask.cli.build_parser(); print({'torch', 'numpy'} & set(sys.modules))"
    assert python(code).strip() == "set()"


def test_help_answers_at_once():
    """In the processor's time, of which a busy machine has as much as a quiet one."""
    code = (
        "import contextlib, io, time; from protomask.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "    code = main([])\n"
        "print(code, 'evaluate' in said.getvalue(), time.process_time())"
    )
    code, listed, seconds = python(code).split()
    assert code == "0" and listed == "True" and float(seconds) < 0.3


def test_every_command_has_its_words():
    for name in COMMANDS:
        module = find_command(name)
        assert module.HELP and module.DESCRIPTION and callable(module.add_arguments) and callable(module.run)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image_size is 3; it must be larger", "--image-size is 3; it must be larger"),
        ("/a/b holds a run already; give another output=", "/a/b holds a run already; give another --output"),
        ("use precision=fp32; mdm:damping=1 is known", "use --precision fp32; mdm:damping=1 is known"),
        ("config.json: epochs is 0", "config.json: epochs is 0"),
        ("data set 'x' is unknown", "data set 'x' is unknown"),
        ("weights and pretrained exclude each other", "--weights and --pretrained exclude each other"),
        ("RISE: masks=0, epochs=None; give output=x", "RISE: masks=0, epochs=None; give --output x"),
        ("a.tif: give intensity_range=(low, high), or", "a.tif: give --intensity-range LOW,HIGH, or"),
        ("intensity_range is 3; give two numbers (low, high)", "--intensity-range is 3; give two numbers LOW,HIGH"),
        ("intensity_range=(0, 4095.5) would use all", "--intensity-range 0,4095.5 would use all"),
        ("run folder /exp/lr=0.1/epochs=3", "run folder /exp/lr=0.1/epochs=3"),
        ("evaluate with rise:masks=10,precision=bf16", "evaluate with rise:masks=10,precision=bf16"),
        ("two\nlines", "two lines"),
    ],
)
def test_messages_speak_the_words_of_the_command_line(text, said):
    options = {"image_size", "output", "precision", "epochs", "data", "weights", "pretrained", "damping"}
    options |= {"intensity_range"}
    assert one_line(InputError(text), options) == said


@pytest.mark.parametrize(
    ("words", "files", "said"),
    [
        (["--output", "RUN"], [], "nothing was begun yet that could be resumed: give the same command again"),
        (["--output", "RUN"], [".lock"], "nothing was begun"),
        (["--output", "RUN"], ["config.json"], "go on with --resume and the same --output"),
        (["--output", "RUN", "--seeds", "0,1"], ["config.json"], "nothing was begun"),
        (
            ["--output", "RUN", "--seeds", "0,1"],
            ["seed-0/config.json"],
            "go on with --resume and the same --output and --seeds",
        ),
        ([], [], "if the run folder named above is there, go on with --resume"),
    ],
)
def test_an_interrupted_training_is_resumed_only_where_there_is_one(tmp_path, monkeypatch, capsys, words, files, said):
    def stop(arguments):
        for name in files:
            (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "run" / name).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("protomask.commands.train.run", stop)
    assert main(["train", *(str(tmp_path / "run") if word == "RUN" else word for word in words)]) == 130
    assert capsys.readouterr().err.startswith(f"protomask: interrupted; {said}")


def test_an_interrupted_command_has_its_exit_code_wherever_it_was_interrupted(tmp_path):
    # Python ends a process by the signal itself where the last text that it evaluated was interrupted.
    (tmp_path / "interrupted.py").write_text(
        """
import sys
from protomask import cli
from protomask.commands import check
def run(arguments):
    exec("raise KeyboardInterrupt")
check.run = run
sys.exit(cli.main(["check", "shapes"]))
"""
    )
    command, environment = [sys.executable, "-m", "interrupted"], child_environment()
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (130, "protomask: interrupted\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_several_processes_do_not_share_is_refused_where_there_are_several(monkeypatch, capsys, name):
    for variable, value in {"MASTER_ADDR": "127.0.0.1", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(variable, value)
    launched.launched.cache_clear()
    plain = ["--model", "m", "a.png"]
    others = {"localize": plain, "compare": plain, "explain": ["run", "a.png"], "train": [], "check": ["folder"]}
    words = {**others, "import-official": ["a.pth", "--output", "out"]}.get(name, ["run"])
    module = f"protomask.commands.{name.replace('-', '_')}"
    monkeypatch.setattr(f"{module}.run", lambda arguments: 0)
    try:
        code = main([name, *words])
    finally:
        launched.launched.cache_clear()
    said = capsys.readouterr().err
    if name in TOGETHER:
        assert (code, said) == (0, "")
    else:
        assert code == 2 and said.startswith(
            f"protomask: error: {name} works in one process, and torchrun started 2 (WORLD_SIZE);"
        )
        assert said.count("\n") == 1


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("value", ["two", "", "-1", "1.0"])
def test_an_environment_that_counts_no_processes_is_one_line(monkeypatch, capsys, tmp_path, variable, value):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv(variable, value)
    launched.launched.cache_clear()
    try:
        assert main(["prune", str(tmp_path)]) == 2
    finally:
        launched.launched.cache_clear()
    said = capsys.readouterr().err
    assert said.startswith(f"protomask: error: the environment variable {variable} is {value!r}; give")
    assert said.count("\n") == 1


def test_the_version_is_the_installed_package_s_and_known_without_one():
    import importlib.metadata

    import protomask

    assert protomask.__version__ == importlib.metadata.version("protomask")
    code = (
        "import importlib.metadata as m\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.version = missing\n"
        "import protomask; print(protomask.__version__)"
    )
    assert python(code).strip() == "unknown"


def test_every_package_says_what_is_in_it():
    for package in ("protomask", "protopnet", "xprotonet"):
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        for room in [package, *(each.name for each in found if each.ispkg)]:
            names = importlib.import_module(room).__all__
            assert len(set(names)) == len(names) > 0, room
            for name in names:
                assert hasattr(importlib.import_module(room), name) or importlib.import_module(f"{room}.{name}"), name


@pytest.mark.parametrize("value", ["-1000,400", "-1e3,4", "-.5,.5", "0,4095"])
def test_a_value_may_begin_with_a_minus(value):
    words = build_parser().parse_args(["localize", "--model", "m", "--intensity-range", value, "a.png"])
    assert (words.intensity_range, words.images) == (value, ["a.png"])
