"""Localizers x metrics on a run's images: one table with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from protomask import distributed
from protomask.errors import InputError
from protomask.evaluation import (
    Evaluation,
    Oracle,
    choose_pairs,
    choose_prototype_pairs,
    choose_similar_pairs,
    choose_source_pairs,
    evaluate,
)
from protomask.evaluation.availability import choose_metrics
from protomask.evaluation.catalogue import METRICS, Over
from protomask.evaluation.summaries import unit_of
from protomask.evaluation.tables import CLASS_ROWS, as_csv, as_markdown
from protomask.evaluation.tables import per_class as class_means
from protomask.evaluation.texts import power_sentence
from protomask.files import write_together
from protomask.given import as_count, as_flag, short
from protomask.localizers.several import Localizers
from protomask.precision import float32_by_default
from protomask.run.setup import say
from protomask.run_folder import RunFolder

if TYPE_CHECKING:
    from protomask.run.opened import Run

BASELINES = ("similarity", "center", "random")
STEMS = {"test": "evaluation", "sources": "evaluation_sources"}
CACHE = "evaluation"
"""folder of a run that keeps maps and values; it may be deleted at any time"""


OF_CLASSES = "_classes.csv"
"""how the table of each class's means ends, which only some evaluations write"""


@float32_by_default()
def evaluate_run(
    run: Run,
    localizers: Localizers | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    samples: int | None = None,
    on: str = "test",
    per_class: bool = False,
    seed: int | None = None,
) -> Evaluation:
    """Measure localizers on a run's images, and write ``evaluation.json``, ``.csv`` and ``.md``.

    For the prototypes' own images the files are called ``evaluation_sources``. Of several processes each does its
    share, and the first writes.

    Args:
        run: its data are needed.
        localizers: names separated by commas, several of them, or localizers by name; by default the run's own, the
            similarity map, centre and random. ``oracle`` is the map that the truth of ``parts`` draws.
        metrics: names, separated by commas or several, or ``all``; by default the usual ones that the data allow.
        samples: images; each with its own class's most similar prototype. Of an image with several findings each
            counts by itself. The run's own number by default.
        on: ``"test"``: test images; ``"sources"``: the training images that the prototypes were projected to.
        per_class: also write the means of each class.
        seed: of the choice of images; by default the run's.

    Raises:
        InputError: an unknown name, a metric that the data do not allow, a number out of range, data not found.
    """
    samples = as_count(run.options.samples if samples is None else samples, "samples")
    seed = as_count(run.options.seed if seed is None else seed, "seed", 0)
    per_class = as_flag(per_class, "per_class")
    if not isinstance(on, str) or on not in STEMS:
        raise InputError(f"on is {short(on)}; choose from {', '.join(STEMS)}")
    chosen = run.localizers(
        [run.options.localizer, *BASELINES] if localizers is None else localizers, {"oracle": Oracle}
    )
    names = _names(metrics)
    network, setup = run.network, run.setup
    if on == "sources":
        data = setup.plain
        pairs = choose_source_pairs(network, data, samples, seed)
    else:
        data = run.test
        pairs = choose_pairs(network, data, samples, seed, setup.device)
    wanted = choose_metrics(names, data, pairs, network)
    several = (
        choose_prototype_pairs(network, data, samples, seed)
        if any(METRICS[name].of_prototypes for name in wanted)
        else None
    )
    similar = (
        choose_similar_pairs(network, data, several.prototypes.unique(), device=setup.device)
        if several is not None and any(METRICS[name].over is Over.MOST_SIMILAR for name in wanted)
        else None
    )
    first = next((name for name in chosen if name != "similarity"), None) if "similarity" in chosen else None
    if first is not None and distributed.is_first():
        _say_what_was_needed(run.files, f"{STEMS[on]}.json", first)
    evaluation = evaluate(
        network,
        data,
        chosen,
        pairs,
        metrics=wanted,
        prototype_pairs=several,
        similar_pairs=similar,
        seed=seed,
        batch_size=setup.batch_size,
        device=setup.device,
        cache=run.files / CACHE,
        progress=setup.progress,
    )
    distributed.only_first(lambda: _write(evaluation, run.files / STEMS[on], per_class))
    if first is not None and distributed.is_first():
        say(evaluation.verdict(first, "similarity"))
        if needed := evaluation.power(first, "similarity"):
            say(needed)
    return evaluation


def _say_what_was_needed(files: RunFolder, name: str, first: str) -> None:
    """Say, before the work, how many images would decide what the evaluation that is there left undecided."""
    if not files.is_whole(name):
        return
    contests = [each for each in files.read(name)["comparisons"] if {each["a"], each["b"]} == {first, "similarity"}]
    if needed := power_sentence(contests):
        counts = [each["images"] for each in contests if each.get("images") and unit_of(each["metric"]) == "images"]
        of = f", of {max(counts)} images" if counts else ""
        say(f"by the evaluation before this one{of}: {needed}")


def _write(evaluation: Evaluation, stem: Path, classes: bool) -> None:
    texts = {
        ".json": evaluation.to_json(),
        ".csv": as_csv(evaluation.rows),
        ".md": as_markdown(evaluation, classes=classes),
    }
    if classes:
        texts[OF_CLASSES] = as_csv(class_means(evaluation), CLASS_ROWS)
    write_together(
        {stem.with_name(stem.name + ending): partial(_write_text, text) for ending, text in texts.items()},
        instead_of=() if classes else [stem.with_name(stem.name + OF_CLASSES)],
    )


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _names(metrics: str | Sequence[str] | None) -> list[str] | None:
    if metrics is None:
        return None
    words = metrics.split(",") if isinstance(metrics, str) else list(metrics) if isinstance(metrics, Iterable) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise InputError(f"metrics is {short(metrics)}; give names separated by commas, or a list of them")
    names = [word.strip() for word in words if word.strip()]
    if not names:
        raise InputError("metrics names nothing; give names separated by commas")
    return names
