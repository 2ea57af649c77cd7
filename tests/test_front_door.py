"""What a person meets first: help, names that are nearly right, configurations, numbers before the work begins."""

import argparse
import dataclasses
import json
import shlex
import socket
import warnings

import pytest
from PIL import Image

from protomask import cli
from protomask.backbones import build_backbone, fetching
from protomask.commands import arguments
from protomask.commands.messages import told
from protomask.data import load_data
from protomask.errors import InputError, NothingToKeepWarning, did_you_mean
from protomask.options import GROUPS, METAVARS, Options
from protomask.run.setup import data_options, say
from protomask.run.training import epoch_line
from protomask.run_folder import read_options
from protomask.training.stages import Action, Epochs, with_rate


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_an_example_that_it_understands(name, capsys):
    example = cli.find_command(name).EXAMPLE
    words = shlex.split(example)
    assert words[:2] == ["protomask", name] and cli.build_parser().parse_args(words[1:]).command == name
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args([name, "--help"])
    out = capsys.readouterr().out
    assert out.endswith(f"example:\n  {example}\n") and "WORD" not in out


VALUES = {
    *(
        "FILE",
        "DIR",
        "NAME",
        "NAMES",
        "RUN",
        "NEWRUN",
        "IMAGE",
        "N",
        "X",
        "N,N,...",
        "NUMBERS",
        "LOW,HIGH",
        "KIND",
        "KINDS",
    ),
    *("CLASS", "ADDRESS"),
}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_of_every_command_is_in_a_group_and_its_value_has_a_name(name):
    parser = argparse.ArgumentParser()
    cli.find_command(name).add_arguments(parser)
    positional, options, *groups = parser._action_groups
    assert [action.dest for action in options._group_actions] == ["help"]
    grouped = [action.dest for group in groups for action in group._group_actions]
    named = [action.dest for action in parser._actions if action.option_strings and action.dest != "help"]
    assert sorted(grouped) == sorted(named) and len({group.title for group in groups}) == len(groups)
    for action in parser._actions:
        takes_value = action.nargs != 0 and action.choices is None
        assert not takes_value or action.metavar in VALUES, action.dest
        assert action.help, action.dest


def test_every_option_is_in_one_group_and_its_value_has_a_name():
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(Options))
    assert METAVARS.keys() <= set(named)


def test_the_version_is_printed(capsys):
    import protomask

    with pytest.raises(SystemExit) as end:
        cli.build_parser().parse_args(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"protomask {protomask.__version__}\n"


def test_names_that_are_nearly_right(capsys):
    assert did_you_mean("trian", ("train", "check")) == "; did you mean train?" and did_you_mean("x", ("train",)) == ""
    assert cli.main(["trian", "--quiet"]) == 2
    assert capsys.readouterr().err == "protomask: error: there is no command 'trian'; did you mean train?\n"
    assert cli.main(["train", "--epohcs", "3"]) == 2
    assert "train has no option --epohcs; did you mean --epochs? see protomask train --help" in capsys.readouterr().err
    assert cli.main(["--versoin"]) == 2
    assert "there is no option --versoin; see protomask --help" in capsys.readouterr().err
    assert cli.main(["report", "run", "two"]) == 2
    assert "report has no place for two; see protomask report --help" in capsys.readouterr().err
    assert cli.main(["xyz"]) == 2
    assert "there are: train, project" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown data set 'foldr'; known: .*; did you mean folder"):
        load_data("foldr")
    from protomask.networks import get_network

    with pytest.raises(InputError, match="'protopnett' is unknown; .*; did you mean protopnet"):
        get_network("protopnett")


def test_configurations_in_yaml(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("# mine\nepochs: 3\nimage-size: 96\nbalance: true\nlr: 0.001\n")
    assert read_options(path) == Options(epochs=3, image_size=96, balance=True, lr=0.001)
    (tmp_path / "config.json").write_text(json.dumps({"options": {"epochs": 3}}))
    (tmp_path / "config.yml").write_text("options: {epochs: 3}")
    assert read_options(tmp_path / "config.yml") == read_options(tmp_path / "config.json")
    for text, what in (
        ("epochs: [", "is not YAML"),
        ("- 3", "must hold a mapping of options"),
        ("options: 3", "must be a mapping"),
        ("epoch: 3", "unknown option epoch"),
        ("epochs: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("epochs: many", "epochs is 'many'"),
        ("epochs: &a 3\nseed: *a", "aliases"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=what):
            read_options(path)


def test_a_configuration_that_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"^[^ ]*gone.yaml: no such file"):
        read_options(tmp_path / "gone.yaml")


def test_bars_are_for_terminals(monkeypatch):
    words = cli.build_parser().parse_args(["train"])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert arguments.bars(words) and not arguments.bars(cli.build_parser().parse_args(["train", "--quiet"]))
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert not arguments.bars(words)


def test_a_warning_of_the_library_is_one_line():
    before = warnings.formatwarning
    with told():
        text = warnings.formatwarning(NothingToKeepWarning("no higher\nthan empty"), NothingToKeepWarning, "a.py", 3)
        assert text == "protomask: no higher than empty\n"
        assert "a.py:3: UserWarning" in warnings.formatwarning(UserWarning("x"), UserWarning, "a.py", 3)
    assert warnings.formatwarning is before


def test_what_the_library_logs_is_in_the_words_of_the_command(capsys):
    with told({"root", "weights"}):
        say("the data have moved; give their folder by root=\n  name  root=")
        text = warnings.formatwarning(
            NothingToKeepWarning("give weights=, or pretrained="), NothingToKeepWarning, "", 3
        )
    assert capsys.readouterr().err == "protomask: the data have moved; give their folder by --root\n  name  --root\n"
    assert text == "protomask: give --weights, or pretrained=\n"


def test_an_epoch_is_one_line():
    assert epoch_line({"stage": "projection", "seconds": 2.0}) == "projection (2.0 s)"
    row = {"stage": "joint", "epoch": 2, "loss": 0.5, "train_accuracy": 0.75, "validation_accuracy": None, "seconds": 1}
    assert epoch_line(row) == "joint, epoch 2: loss 0.500, train accuracy 0.750 (1.0 s)"
    assert "train right answers over all findings 0.750" in epoch_line(row, findings=True)
    assert epoch_line({**row, "seen": 1234, "seconds": 2}).endswith("(2.0 s, 617 images/s)")
    assert epoch_line({**row, "seen": 1234, "seconds": 0}).endswith("(0.0 s)")


def test_a_learning_rate_scales_the_recipe_but_not_the_last_layer():
    plan = [
        Epochs("warm", 1, None, {"add_on": 3e-3}),
        Epochs("joint", 2, None, {"backbone": 2e-4, "add_on": 3e-3}),
        Action("projection", None),
        Epochs("last layer", 1, None, {"last_layer": 1e-4}),
    ]
    assert with_rate(plan, None) == plan
    warm, joint, action, last = with_rate(plan, 1e-4)
    assert joint.rates == pytest.approx({"backbone": 1e-4, "add_on": 1.5e-3})
    assert warm.rates == pytest.approx({"add_on": 1.5e-3}) and (action, last) == (plan[2], plan[3])


def test_the_share_of_test_images(tmp_path):
    for name in ("Vögel", "鳥"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (8, 8), (number * 20, len(name) * 9, 0)).save(tmp_path / name / f"{number}.png")
    options = Options(data="folder", root=str(tmp_path), test_share=0.5)
    splits = load_data("folder", tmp_path, validation=0, **data_options(options))
    assert len(splits.test) == 10 and splits.text() == "20 images of 2 classes: 10 to train, 0 to validate, 10 to test"
    again = load_data("folder", tmp_path, validation=0, seed=7, **data_options(options))
    assert again.test.names == splits.test.names  # whatever the seed
    with pytest.raises(InputError, match="test_share is given, but data set 'cub' has test images of its own"):
        data_options(Options(data="cub", test_share=0.5))
    (tmp_path / "train").mkdir()
    for name in ("Vögel", "鳥"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    (tmp_path / "test").symlink_to(tmp_path / "train")
    with pytest.raises(InputError, match="has test images of its own"):
        load_data("folder", tmp_path, test=0.5)


def test_weights_that_cannot_be_fetched_are_told_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "answers", lambda address: False)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"of resnet18.* fetch model.safetensors of timm/resnet18.* by weights="):
        build_backbone("resnet18", pretrained=True)
    with pytest.raises(InputError, match=r"torchvision/resnet18 are not on this machine.*fetch resnet18-\w+.pth"):
        build_backbone("torchvision/resnet18", pretrained=True)


def test_a_server_answers_or_does_not(monkeypatch):
    monkeypatch.setattr(fetching, "getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert fetching.answers(f"http://127.0.0.1:{port}/x", 1)
        monkeypatch.setattr(fetching, "getproxies", lambda: {"https": f"http://127.0.0.1:{port}"})
        assert fetching.answers("https://nowhere.invalid", 1)
    assert not fetching.answers("https://nowhere.invalid", 1)
    monkeypatch.setattr(fetching, "getproxies", dict)
    assert not fetching.answers(f"http://127.0.0.1:{port}", 1) and not fetching.answers("http://127.0.0.1:99999", 1)
