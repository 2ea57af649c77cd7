"""A run, opened: what can be asked of it."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from protomask import distributed
from protomask.audit import Audit
from protomask.data import AnnotatedImages, Splits
from protomask.data.contents import data_change
from protomask.data.transforms import evaluation_transform
from protomask.errors import InputError
from protomask.evaluation import Evaluation
from protomask.explanations.files import read_pictures
from protomask.given import as_flag, as_path
from protomask.gradients import with_gradients
from protomask.localizers import Localizer
from protomask.localizers.distilled import Distilled
from protomask.localizers.several import Localizers, as_localizers
from protomask.networks import load_network
from protomask.options import CompleteOptions
from protomask.prototype_network import PrototypeNetwork
from protomask.run.audit import SAMPLES, audit_run
from protomask.run.evaluation import evaluate_run
from protomask.run.explanation import explain_images
from protomask.run.page import report_run
from protomask.run.pictures import write_pictures
from protomask.run.pruning import prune_run
from protomask.run.results import Explanations, Prototypes, Report
from protomask.run.review import Review
from protomask.run.setup import (
    IN_MEMORY,
    choose_device,
    pictures_localizers,
    reopen_data_of,
    training_set,
)
from protomask.run_folder import RunFolder
from protomask.suggested import command
from protomask.training import TrainingSet

if TYPE_CHECKING:
    from protomask.distillation import Distillation


class Run:
    """A trained network with its folder and, where they are needed, its data.

    Made by :func:`protomask.train` and :func:`protomask.open_run`. The data are opened when something asks for them:
    explaining an image and the page without explained test images do without.

    Args:
        files: the run's folder.
        options: complete.
        network: on ``device``.
        device: of the network.
        data: the splits, what :func:`protomask.run.setup.open_data` takes as ``data``, or None for the data that the
            options name.
        progress: show progress bars.
    """

    def __init__(
        self,
        files: RunFolder,
        options: CompleteOptions,
        network: PrototypeNetwork,
        device: torch.device,
        data: Any = None,
        *,
        progress: bool = True,
    ) -> None:
        self.files, self.options, self.network, self.device = files, options, network, device
        self.progress = as_flag(progress, "progress") and distributed.is_first()
        self._data = data

    @property
    def folder(self) -> Path:
        """Where everything of the run is."""
        return self.files.folder

    @property
    def metrics(self) -> dict:
        """What training measured, as ``metrics.json`` has it; empty before."""
        return self.files.read("metrics.json") or {}

    @property
    def pictures(self) -> Prototypes:
        """Every prototype's source image and maps, as :meth:`project` wrote them.

        Raises:
            InputError: it never did, files are missing or damaged, or the network has other prototypes by now.
        """
        return Prototypes(read_pictures(self.files, self.network))

    @cached_property
    def transform(self):
        """What makes the network's input of an image: resized, normalised, nothing random."""
        return evaluation_transform(self.options.image_size, self.network.mean, self.network.std)

    @cached_property
    def splits(self) -> Splits:
        """The data, opened at first use.

        Raises:
            InputError: they are not where they were, or are not those that the run was trained on.
        """
        if isinstance(self._data, Splits):
            return self._data
        if self._data is None and self.options.data == IN_MEMORY:
            raise InputError(
                f"{self.folder} was trained on Datasets in memory, which this needs; "
                f"open it with protomask.open_run({str(self.folder)!r}, data=(train, test))"
            )
        known = (self.files.read("config.json") or {}).get("data", {})
        try:
            splits = reopen_data_of(known, self.options, self._data, self.network.classes)
        except InputError as error:
            mend = "" if self._data is not None else "; if the data have moved, give their folder by root="
            raise InputError(f"the data of {self.folder} cannot be opened: {error}{mend}") from error
        changed = data_change(known, splits)
        if changed:
            where = (
                "the data given" if self._data is not None else f"the data at {self.options.root or self.options.data}"
            )
            mend = "those" if self._data is not None else "by root= the folder of those"
            raise InputError(f"{where} are not those of {self.folder} ({changed}); give {mend} that it was trained on")
        return splits

    @cached_property
    def setup(self) -> TrainingSet:
        """Training and validation images through the transforms, and the machine; needs the data."""
        return training_set(self.options, self.splits, self.network, self.device, self.progress)

    @property
    def test(self) -> AnnotatedImages:
        """Test images through the evaluation transform; needs the data."""
        return self.splits.test.with_transform(self.transform)

    def localizers(
        self,
        given: Localizers | None = None,
        beside: Mapping[str, Callable[[], Localizer]] | None = None,
        *,
        pictures: bool = False,
    ) -> dict[str, Localizer]:
        """Give localizers by name, among them the run's own ``distilled``.

        Args:
            given, beside: as for :func:`protomask.localizers.several.as_localizers`; the run's own by default.
            pictures: the similarity map is always beside them.

        Raises:
            InputError: an unknown name, or none; ``distilled``, and nothing was distilled here.
        """
        named = {"distilled": lambda: Distilled.open(self.folder), **(beside or {})}
        find = pictures_localizers if pictures else as_localizers
        return find(self.options.localizer if given is None else given, named)

    def explain(
        self,
        images: Any,
        *,
        localizer: Localizers | None = None,
        top: int | None = None,
        counter: int = 1,
    ) -> Explanations:
        """Explain new images: this looks like that. Needs no data; writes nothing.

        Args:
            images: a path, a folder, a PIL image, an array (H, W, 3) or tensor (3, H, W), or a list of these.
            localizer: which maps show where; the run's own by default. The prototypes' pictures must have them.
            top: how many prototypes are shown, strongest first; by default, for each image, of those that speak for
                its class as many as carry 90 % of their points, but at most 5.
            counter: how many are shown that speak for the runner-up.

        Returns:
            One explanation per image, or per image and finding; see ``.text()``, ``.figure()``, ``.save(folder)``.

        Raises:
            InputError: an image cannot be read; the prototypes have no pictures yet, or none by this localizer.
        """
        return explain_images(self, images, localizer=localizer, top=top, counter=counter)

    def evaluate(
        self,
        localizers: Localizers | None = None,
        *,
        metrics: str | Sequence[str] | None = None,
        samples: int | None = None,
        on: str = "test",
        per_class: bool = False,
        seed: int | None = None,
    ) -> Evaluation:
        """Measure localizers on the run's images, and write what was found into its folder.

        Args: as :func:`protomask.run.evaluation.evaluate_run`.
        """
        with self.files.lock():
            return evaluate_run(
                self, localizers, metrics=metrics, samples=samples, on=on, per_class=per_class, seed=seed
            )

    def audit(self, localizer: Localizers | None = None, *, samples: int = SAMPLES, seed: int | None = None) -> Audit:
        """Say what the run's pictures can be trusted for, and write ``audit.json`` and ``audit.html`` into its folder.

        Args: as :func:`protomask.run.audit.audit_run`.
        """
        with self.files.lock():
            return audit_run(self, localizer, samples=samples, seed=seed)

    def project(self, localizer: Localizers | None = None, *, format: str = "png") -> Prototypes:
        """Localise every prototype in the training image it was projected to, inspect it, and write the pictures.

        Args:
            localizer: the run's own by default; the similarity map is always beside it.
            format: of the galleries: png, pdf or svg.
        """
        with self.files.lock():
            return write_pictures(self, localizer, format)

    def distill(self, *, settings: Distillation | None = None, **changes) -> Distilled:
        """Train the explainer network that draws masks in one pass; it is then called ``distilled`` in this run.

        Args: as :func:`protomask.run.distilling.distill_run`.
        """
        from protomask.run.distilling import distill_run

        with self.files.lock():
            return distill_run(self, settings=settings, **changes)

    def prune(
        self,
        prototypes: Sequence[int] | None = None,
        *,
        flagged: Sequence[str] | None = None,
        output: str | os.PathLike | None = None,
    ) -> Run:
        """Make a run without some of the prototypes; this one stays as it is.

        Args: as :func:`protomask.run.pruning.prune_run`.
        """
        return prune_run(self, prototypes, flagged=flagged, output=output)

    def refine(
        self,
        review: str | os.PathLike | Sequence[str | os.PathLike] | Review | None = None,
        *,
        output: str | os.PathLike | None = None,
        epochs: int | None = None,
        features: bool = False,
        tell: Callable[[float, str], None] = lambda share, words: None,
    ) -> Run:
        """Make a run that learns what people marked; this one stays as it is.

        Args: as :func:`protomask.run.refining.refine_run`.
        """
        from protomask.run.refining import refine_run

        return refine_run(self, review, output=output, epochs=epochs, features=features, tell=tell)

    def report(self, *, quality: int = 82, explained: int = 8, figures: str | None = None) -> Report:
        """Write ``report.html``: one page of everything that the run's folder knows.

        Args: as :func:`protomask.run.page.report_run`. Without explained images it needs no data.
        """
        with self.files.lock():
            return report_run(self, quality=quality, explained=explained, figures=figures)

    def text(self) -> str:
        """Tell what the run is, in one line."""
        accuracy = (self.metrics.get("test_accuracy") or {}).get("final")
        measure = "right answers over all findings of the test images" if self.network.multi_label else "test accuracy"
        score = "" if accuracy is None else f"; {measure} {accuracy:.3f}"
        return (
            f"{self.options.network} on {self.options.data}: {self.network.prototype_count} prototypes of "
            f"{len(self.network.classes)} classes on {self.options.backbone}{score}; {self.folder}"
        )

    def __repr__(self) -> str:
        return f"Run({self.text()})"

    def _repr_html_(self) -> str:
        page = self.files / "report.html"
        link = f' <a href="{html.escape(str(page))}">report</a>' if page.is_file() else ""
        return f"<p>{html.escape(self.text())}{link}</p>"


@with_gradients
def open_run(
    folder: str | os.PathLike,
    *,
    device: str | torch.device | None = None,
    root: str | os.PathLike | None = None,
    data: Any = None,
    progress: bool = True,
) -> Run:
    """Open a run's network, on its device. Its data are opened when something needs them.

    >>> run = protomask.open_run("runs/mine")                     # doctest: +SKIP
    >>> run.explain("bird.jpg").save("explained")                 # doctest: +SKIP

    Args:
        folder: that :func:`protomask.train` wrote.
        device, root: in place of the run's own (it may have moved to another machine).
        data: Datasets (train, test), for a run that was trained on Datasets.
        progress: show progress bars.

    Raises:
        InputError: no run there, or it is half written or damaged.
    """
    files = RunFolder.open(folder)
    options = files.options()
    changes = {
        "device": None if device is None else str(device),
        "root": None if root is None else str(as_path(root, "root")),
    }
    options = options.replace(**{name: value for name, value in changes.items() if value is not None})
    if root is None:
        options = options.replace(root=_present_root(files, options.root))
    for name in ("model.json", "model.safetensors"):
        if not files.has(name):
            raise InputError(
                f"{files.folder} has no {name}: no training has finished there; "
                f"finish it with: {command('train', '--output', files.folder, '--resume')}"
            )
    network = load_network(files.folder)
    where = choose_device(options.device)
    network.to(where).to(memory_format=torch.channels_last)
    return Run(files, options, network, where, data, progress=progress)


def _present_root(files: RunFolder, root: str | None) -> str | None:
    """Find the data's folder: as it is kept, or as it was given, seen from here, where that one is no more."""
    given = ((files.read("config.json") or {}).get("data") or {}).get("root_as_given")
    if root is not None and given is not None and not Path(root).exists() and Path(given).exists():
        return given
    return root
