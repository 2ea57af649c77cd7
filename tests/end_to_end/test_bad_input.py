"""Every mistake is one clear line on standard error and exit code 2; nothing is half made."""

import json
import shutil

import pytest

from protomask.cli import main
from tests.end_to_end.conftest import SMALL, write_folder


def fails(capsys, words, *named):
    assert main([*words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    message = lines[-1]
    assert message.startswith("protomask: error: ")
    assert not any("Traceback" in line for line in lines)
    for name in named:
        assert name in message, message
    assert len(message) < 3000
    return message


@pytest.mark.parametrize(
    "words, named",
    [
        (["--root", "/nowhere/at all"], ["/nowhere/at all"]),
        (["--backbone", "resnet1O1"], ["resnet1O1", "resnet101"]),
        (["--localizer", "mdn"], ["mdn", "mdm"]),
        (["--network", "protopnot"], ["protopnot", "protopnet"]),
        (["--data", "cup"], ["cup", "cub"]),
        (["--device", "cuda:77"], ["--device", "cpu"]),
        (["--device", "meta"], ["--device", "meta", "cpu"]),
        (["--device", ""], ["--device", "empty"]),
        (["--backbone", ""], ["--backbone", "empty"]),
        (["--weights", ""], ["--weights", "empty"]),
        (["--output", ""], ["--output", "empty"]),
        (["--seed", "9" * 5000], ["--seed", "invalid int"]),
        (["--seed", "9" * 4000], ["--seed", "between"]),
        (["--validation", "1e999"], ["--validation"]),
        (["--validation", "nan"], ["--validation"]),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--epochs", "0"], ["--epochs"]),
        (["--similarity", "dot"], ["--similarity", "cosine"]),
        (["--weights", "/no/such/file.safetensors"], ["/no/such/file.safetensors"]),
        (["--prototype-size", "30"], ["30", "feature map"]),
        (["--config", "/no/config.json"], ["/no/config.json"]),
        (["--resume"], ["no run to resume"]),
    ],
)
def test_train(folder, tmp_path, capsys, words, named):
    fails(
        capsys,
        ["train", "--data", "folder", "--root", str(folder), "--output", str(tmp_path / "run"), *SMALL, *words],
        *named,
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_an_output_folder_that_holds_a_run(run, folder, capsys):
    fails(
        capsys,
        ["train", "--data", "folder", "--root", str(folder), "--output", str(run.folder), *SMALL],
        "holds a run already",
        "--resume",
    )


@pytest.mark.parametrize("output", ["run", "colour 2/run", "."])
def test_a_run_among_the_class_folders(folder, tmp_path, capsys, output):
    root = tmp_path / "pictures"
    shutil.copytree(folder / "train", root)
    before = sorted(root.rglob("*"))
    words = ["train", "--data", "folder", "--root", str(root), *SMALL]
    fails(capsys, [*words, "--output", str(root / output)], "would be inside", "read as classes", "--output")
    assert main(["check", "folder", "--root", str(root), "--output", str(root / output), "--quiet"]) == 2
    assert "read as classes" in capsys.readouterr().out
    assert sorted(root.rglob("*")) == before


def test_runs_of_no_name_are_not_begun_among_the_class_folders(folder, tmp_path, capsys, monkeypatch):
    shutil.copytree(folder / "train", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    fails(capsys, ["train", "--data", "folder", "--root", ".", *SMALL], "runs would be inside", "--output")
    assert not (tmp_path / "runs").exists()


def test_an_unreadable_image_is_named(tmp_path, capsys):
    root = write_folder(tmp_path / "pictures", 6)
    broken = next(iter(sorted((root / "train").rglob("*.png"))))
    broken.write_bytes(broken.read_bytes()[:60])
    fails(
        capsys,
        ["train", "--data", "folder", "--root", str(root), "--output", str(tmp_path / "run"), *SMALL],
        broken.name,
    )


def test_a_class_without_training_images_is_named(tmp_path, capsys):
    root = write_folder(tmp_path / "pictures", 6)
    for path in (root / "train" / "colour 1").iterdir():
        path.unlink()
    fails(
        capsys,
        ["train", "--data", "folder", "--root", str(root), "--output", str(tmp_path / "run"), *SMALL],
        "colour 1",
    )


def test_weights_that_do_not_fit_are_listed(folder, tmp_path, capsys):
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.safetensors")
    fails(
        capsys,
        [
            "train",
            "--data",
            "folder",
            "--root",
            str(folder),
            "--output",
            str(tmp_path / "run"),
            *SMALL,
            "--weights",
            str(tmp_path / "other.safetensors"),
        ],
        "other.safetensors",
        "missing",
    )


def test_a_changed_data_set_is_noticed(run, tmp_path, capsys):
    other = write_folder(tmp_path / "pictures", 7)
    fails(capsys, ["evaluate", str(run.folder), "--root", str(other), "--quiet"], "fingerprint", "--root")


@pytest.mark.parametrize("command", ["project", "evaluate", "report", "explain"])
def test_commands_on_what_is_no_run(tmp_path, capsys, command):
    image = ["x.png"] if command == "explain" else []
    fails(capsys, [command, str(tmp_path / "nowhere"), *image], "nowhere")
    fails(capsys, [command, str(tmp_path), *image], "config.json")


@pytest.mark.parametrize(
    "damage, named",
    [
        (lambda path: (path / "model.safetensors").unlink(), ["model.safetensors", "--resume"]),
        (lambda path: (path / "model.safetensors").write_bytes(b"\0" * 40), ["model.safetensors"]),
        (lambda path: (path / "model.json").write_text("{"), ["model.json"]),
        (lambda path: (path / "model.json").write_text('{"network": "protopnet", "settings": {}}'), ["model.json"]),
        (lambda path: (path / "config.json").write_text("[]"), ["config.json"]),
        (lambda path: (path / "config.json").write_text('{"options": {"colour": 1}}'), ["config.json", "colour"]),
    ],
)
def test_a_half_written_run(run, tmp_path, capsys, damage, named):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    damage(copy)
    fails(capsys, ["evaluate", str(copy), "--quiet"], *named)


def test_pictures_that_are_missing(run, folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    (copy / "prototypes" / "0003.png").unlink()
    fails(capsys, ["report", str(copy), "--quiet"], "0003.png", "protomask project")
    (copy / "prototypes.json").unlink()
    fails(capsys, ["report", str(copy), "--quiet"], "prototypes.json", "protomask project")


def test_explain_names_the_image_and_evaluate_the_metric(run, tmp_path, capsys):
    fails(capsys, ["explain", str(run.folder), str(tmp_path / "no.png"), "--quiet"], "no.png")
    (tmp_path / "text.png").write_text("not an image")
    fails(capsys, ["explain", str(run.folder), str(tmp_path / "text.png"), "--quiet"], "text.png")
    fails(capsys, ["evaluate", str(run.folder), "--metrics", "inserton", "--quiet"], "inserton", "insertion")
    fails(capsys, ["evaluate", str(run.folder), "--localizers", "mdn", "--quiet"], "mdn", "mdm")
    fails(capsys, ["evaluate", str(run.folder), "--samples", "0", "--quiet"], "--samples")


def test_unknown_options_and_files(tmp_path, capsys):
    fails(capsys, ["train", "--colour", "red"], "--colour")
    fails(capsys, ["paint"], "paint")
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"epoch": 3}))
    fails(capsys, ["train", "--config", str(path)], "epoch", "options.json")
