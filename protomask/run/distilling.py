"""Distilling a run: an explainer network that draws the masks of its prototypes in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protomask.distillation import Distillation
from protomask.distillation.explainers import distill_explained, with_changes
from protomask.files import content_digest
from protomask.localizers.amortised.files import WEIGHTS
from protomask.localizers.distilled import Distilled
from protomask.run.setup import say
from protomask.suggested import command

if TYPE_CHECKING:
    from protomask.run.opened import Run


def distill_run(
    run: Run, *, settings: Distillation | None = None, only: Sequence[int] | None = None, **changes
) -> Distilled:
    """Train the explainer of a run's network on its training images, and write it into the run's folder.

    ``localizer.safetensors`` and ``localizer.json``; a call that was stopped goes on. Of several processes each does
    its share, and the first writes.

    Args:
        run: its data are needed.
        settings: how (:class:`protomask.distillation.Distillation`); by default with the run's seed.
        only: prototypes that may be asked for; all by default.
        changes: fields of the settings by name: ``steps=600``.

    Raises:
        InputError: data not found, a value that is impossible, too few images.
    """
    chosen = with_changes(settings or Distillation(seed=run.options.seed), changes)
    setup = run.setup
    before = _weights_of(run)
    found = distill_explained(
        run.network,
        setup.plain,
        chosen,
        setup.device,
        folder=run.folder,
        only=only,
        workers=setup.workers,
        progress=setup.progress,
    )
    say(in_words(found))
    measured = command("evaluate", run.folder, "--localizers", "distilled,similarity")
    say(f"it is called distilled in {run.folder}: {measured}")
    if before is not None and before != _weights_of(run):
        for line in _of_before(run):
            say(line)
    return found


def _weights_of(run: Run) -> bytes | None:
    return content_digest(run.files / WEIGHTS) if run.files.is_whole(WEIGHTS) else None


def _of_before(run: Run) -> list[str]:
    """Say which of the run's files are of an explainer that stood there before, and how they are made anew."""
    lines = []
    if run.files.is_whole("prototypes.json"):
        names = next((list(row["boxes"]) for row in run.files.read("prototypes.json") or []), [])
        if any(map(_is_distilled, names)):
            learned = [name for name in names if name != "similarity"]
            again = command("project", run.folder, "--localizer", ",".join(learned))
            lines.append(f"the pictures of its prototypes are still of the explainer before; make them anew: {again}")
    if run.files.is_whole("evaluation.json"):
        names = list(dict.fromkeys(row["localizer"] for row in run.files.read("evaluation.json")["rows"]))
        if any(map(_is_distilled, names)):
            again = command("evaluate", run.folder, "--localizers", ",".join(names))
            lines.append(f"the evaluation is still of the explainer before; make it anew: {again}")
    return lines


def _is_distilled(name: str) -> bool:
    return name.partition(":")[0] == "distilled"


def in_words(distilled: Distilled) -> str:
    """Say in a line how good an explainer is on images that it did not learn from."""
    about = distilled.opened().about
    held, seconds = about["held_out"], about["training"]["seconds"]["all"]
    return (
        f"distilled in {seconds:.0f} s; on {held['images']:.0f} held-out images the masks keep {held['kept']:.0%} of "
        f"the score, {held['rest']:.0%} is left without them, and {held['low']:.0%} of the maps are flagged"
    )
