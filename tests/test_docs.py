"""What the documents promise."""

import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributed.run import get_args_parser

import protomask
from protomask.cli import COMMANDS, TOGETHER, build_parser, main
from protomask.distillation import Distillation
from protomask.localizers import localizer_names
from protomask.run import setup
from protomask.training.last_layer import fit_last_layer
from tests.support.toy import ForeignPPNet

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


TABLES_OF_FIGURES = "benchmarks.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_is_long_but_that_of_figures(page):
    words = [word for word in page.read_text(encoding="utf-8").split() if re.search(r"\w", word)]
    assert len(words) <= 1400 or page.name == TABLES_OF_FIGURES, f"{len(words)} words; split the page"


def test_names_that_documents_import_exist():
    for page in PAGES:
        for line in re.findall(r"^from protomask import (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            for name in line.split(","):
                assert getattr(protomask, name.strip()), name


RUN_ELSEWHERE = {"python.md"}
"""whose blocks are whole scripts: tests/run/test_script.py runs each in a process of its own"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make what the pages take for granted, small: pictures of their names, models without downloads, one epoch."""
    import timm

    create = timm.create_model

    def without_download(name, pretrained=False, **options):
        return create("test_resnet", num_classes=5, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **options)

    monkeypatch.setattr(timm, "create_model", without_download)
    defaults = {"backbone": "test_resnet", "image_size": 32, "epochs": 1, "samples": 3, "workers": 0}
    monkeypatch.setitem(setup.DATA_DEFAULTS, None, {**setup.DATA_DEFAULTS[None], **defaults})
    few = partial(Distillation, maps=2, imitation=1, steps=1)
    monkeypatch.setattr("protomask.distillation.explainers.Distillation", few)
    monkeypatch.setattr("protopnet.recipe.fit_last_layer", partial(fit_last_layer, passes=2))
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for place in range(9):
        colour = np.eye(3)[place % 3] * 200
        pixels = (generator.random((64, 64, 3)) * 50 + colour).astype(np.uint8)
        folder = tmp_path / "PICTURES" / ("red", "green", "blue")[place % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    Image.fromarray(pixels).save("bird.jpg")


def own_network():
    """What docs/evaluation.md takes for granted: a prototype network of other code, and its normalisation."""
    torch.manual_seed(0)
    return {"model": ForeignPPNet(), "mean": (0.5,) * 3, "std": (0.5,) * 3}


def classifier():
    """What docs/distill.md takes for granted."""
    import timm

    return {"model": timm.create_model("resnet50").eval()}


TAKEN_FOR_GRANTED = {"evaluation.md": own_network, "distill.md": classifier}
INSTALLED = {"extending.md"}
"""whose blocks are files of a package"""


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if code(page, "python") and page.name not in RUN_ELSEWHERE],
    ids=lambda page: page.name,
)
@pytest.mark.filterwarnings("ignore:.*no higher than that of an empty image", "ignore:.*nothing to keep")
def test_python_runs_as_printed(page, small, monkeypatch, request):
    """The blocks of a page, in order, in one module, as classes of dataclasses and pickles need one."""
    if page.name in INSTALLED:
        request.getfixturevalue("newcomer")
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    vars(module).update(TAKEN_FOR_GRANTED.get(page.name, dict)())
    for block in code(page, "python"):
        exec(compile(block, str(page), "exec"), vars(module))


class Corner(torch.nn.Module):
    """A network of four classes; each is as probable as the sum of the corner's first channel says."""

    def forward(self, images):
        return images[:, :1, :2, :2].sum((1, 2, 3))[:, None] * torch.tensor([1.0, 0.5, 0.25, 0.0])


EXTENDING = ROOT / "docs" / "extending.md"


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """Install the package of docs/extending.md as the page says: its files, and their entry points."""
    site = tmp_path / "site"
    about = site / "my_package-1.0.dist-info"
    about.mkdir(parents=True)
    for block in code(EXTENDING, "python"):
        file = re.match("# (my_package/.+)\n", block).group(1)
        (site / file).parent.mkdir(exist_ok=True)
        (site / file).write_text(block, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    points = ""
    for block in code(EXTENDING, "ini"):
        group, point = re.fullmatch(r"\[options.entry_points\]\n(\S+) =\n +(\S+ = \S+)\n", block).groups()
        points += f"[{group}]\n{point}\n"
    (about / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    yield site / "my_package"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_the_localizer_of_the_document_works_by_its_name(newcomer):
    lines = (newcomer / "localizer.py").read_text(encoding="utf-8").splitlines()[1:]
    assert sum(bool(line.strip()) for line in lines) == 19
    found = protomask.get_localizer("gradient:cell=3")
    assert repr(found) == "InputGradient(cell=3)" and "gradient" in localizer_names()
    images, index = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
    explained = protomask.Classifier(Corner(), "logit")
    sharp, smooth = (
        protomask.get_localizer(spec)(explained, images, index) for spec in ("gradient", "gradient:cell=3")
    )
    assert sharp.shape == (2, 8, 8) and sharp[:, :2, :2].eq(1).all() and sharp.sum() == 8
    assert smooth[:, 2, 2].gt(0).all() and smooth[:, 4:, 4:].eq(0).all()
    for given in (1, [1, 1], torch.tensor([1, 1])):
        assert protomask.get_localizer("gradient")(explained, images, given).shape == (2, 8, 8)
    with pytest.raises(protomask.InputError, match="one integer per image"):
        protomask.get_localizer("gradient")(explained, images, [1])
    for cell in (0, 2):
        with pytest.raises(protomask.InputError, match=f"gradient: cell is {cell}; give an odd number"):
            protomask.get_localizer(f"gradient:cell={cell}")
    with pytest.raises(protomask.InputError, match="'gradient' has no setting 'cel'; did you mean cell"):
        protomask.get_localizer("gradient:cel=3")


def test_the_data_set_of_the_document_is_known_by_its_name(newcomer):
    splits = protomask.load_data("stripes", validation=0)
    assert (len(splits.train), len(splits.test), splits.train.classes) == (18, 6, ("upright", "level"))
    image = splits.test[0]["image"]
    assert image.shape == (3, 32, 32) and (image == image[0]).all()
    upright = (image[0] == image[0, :1]).all().item()
    assert upright == (splits.test.truth(0) == "upright")


def test_the_network_of_the_document_does_the_whole_job_by_its_name(newcomer, small):
    """Trained by the command on the page's own data set, with the page's localizer; then asked in Python."""
    words = "--network gaussian --data stripes --localizer gradient --validation 0 --epochs 6 --output run --quiet"
    assert main(["train", *words.split()]) == 0
    run = protomask.open_run("run", progress=False)
    network = run.network
    assert type(network).__module__ == "my_package.model" and network.prototype_count == 4
    assert run.metrics["test_accuracy"]["final"] == 1
    batch = torch.stack([run.setup.plain[place]["image"] for place in range(18)])
    found = network.candidates(batch).distances[network.source_positions, range(4)]
    assert found.abs().max() < 1e-5, "prototypes are patches of their source images"
    assert "gradient" in run.evaluate(metrics=["deletion"]).localizers
    explained = run.explain(run.splits.test[0]["image"])
    assert explained[0].predicted == run.splits.test.truth(0)
    for ask in (network.score, network.similarity_maps):
        with pytest.raises(protomask.InputError, match="one integer per image"):
            ask(batch[:1], torch.tensor([0, 1]))
        with pytest.raises(protomask.InputError, match="prototype"):
            ask(batch[:1], torch.tensor([-1]))
    network.keep([1, 2, 3])
    network.save("pruned")
    pruned = protomask.load_network("pruned")
    assert pruned.prototype_classes.tolist() == [0, 1, 1] and torch.equal(pruned.prototypes, network.prototypes)
    assert (run.folder / "report.html").stat().st_size > 10_000


def test_options_that_documents_name_exist(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    for page in PAGES:
        for block in code(page, "bash"):
            for line in block.splitlines():
                if line.startswith(("protomask ", "python train.py")):
                    assert set(re.findall(r"--[a-z][a-z-]+", line.partition("#")[0])) <= known, line


def test_torchrun_leaves_our_options_to_us():
    """Each example with torchrun takes all options of its command; those of train may be short forms of its own."""
    examples = {
        found.strip(" `")
        for page in PAGES
        for found in re.findall(r"torchrun --n[^`#\n]*", page.read_text(encoding="utf-8"))
    }
    assert len(examples) >= 5
    commands = next(each for each in build_parser()._actions if each.dest == "command").choices
    for example in examples:
        name = next((word for word in example.split() if word in TOGETHER), "train")
        options = [each for action in commands[name]._actions for each in action.option_strings if each[:2] == "--"]
        given = get_args_parser().parse_args([*example.split()[1:], *options])
        assert (
            given.training_script in ("train.py", "protomask")
            and given.training_script_args[-len(options) :] == options
        )
    with pytest.raises(SystemExit):
        get_args_parser().parse_args(["train.py", "--log", "tensorboard"])


def test_the_test_command_of_the_readme_is_what_ci_runs():
    lines = [line for block in code(ROOT / "README.md", "bash") for line in block.splitlines()]
    assert len(lines[0].split("&&")) == 4 and lines[0].endswith("python train.py")
    assert sum("python -m pytest" in line for line in lines) == 1
    assert "grep -m1 'python -m pytest' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_pages_and_names_of_the_site_exist():
    import importlib

    import yaml

    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r": ([\w-]+\.md)$", text, re.MULTILINE)
    assert len(set(named)) == len(named) and yaml.safe_load(text)["docs_dir"] == "docs"
    assert set(named) <= {page.name for page in PAGES if page.parent.name == "docs"} and len(named) > 10
    for name in re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            home, _, last = name.rpartition(".")
            assert hasattr(importlib.import_module(home), last), name
