"""The report: one HTML file with everything in it, which loads nothing from the internet."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protomask import distributed
from protomask.errors import InputError
from protomask.explanations.records import Explanation, PrototypePicture
from protomask.files import write_atomically
from protomask.report import accuracies, summary, verdict, views
from protomask.report.answers import Answers, answers_section
from protomask.report.audit_view import audit_view
from protomask.report.charts import curve_charts, training_charts
from protomask.report.encoding import QUALITY, photo_side
from protomask.report.neighbourhoods import neighbourhoods
from protomask.report.overlays import LEVEL
from protomask.report.palette import look
from protomask.report.templating import template
from protomask.report.wording import BASELINES, localizer_label

PAGE = "report.html.j2"


def write_report(
    path: str | Path,
    *,
    config: Mapping,
    metrics: Mapping | None = None,
    log: Sequence[Mapping] | None = None,
    pictures: Sequence[PrototypePicture] = (),
    explanations: Sequence[Explanation] = (),
    evaluation=None,
    answers: Answers | None = None,
    audit: Mapping | None = None,
    test_images: Mapping[int, np.ndarray] | None = None,
    nearest_maps: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
    level: float = LEVEL,
    quality: int = QUALITY,
    title: str | None = None,
) -> Path:
    """Write ``report.html``; what is missing or empty gives a report without that section. Several processes, each
    called with the same, share the drawing; the first writes.

    Args:
        path: of the file; whole or not there.
        config: the run's ``config.json``.
        metrics: its ``metrics.json``.
        log: the rows of its ``log.jsonl``.
        pictures: every prototype's; their localizers, in order, make the page's switch.
        explanations: of test images.
        evaluation: a :class:`protomask.evaluation.results.Evaluation`.
        answers: on all test images.
        audit: the run's ``audit.json``.
        test_images: small pictures (H, W, 3) uint8 of the prototypes' nearest test images, by position in the test
            images.
        nearest_maps: (P, K, h, w) in [0, 1], each prototype's similarity maps on them.
        vectors: (P, ...), the prototypes' own, for the map of their neighbourhoods.
        level: share of a map's maximum at which it is outlined.
        quality: of the photographs, as WebP counts it, 1 to 100; the size of the file follows.
        title: in place of "ProtoPNet on ...".
    """
    if not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}; it must be between 1 and 100")
    path = Path(path)
    contents = page_contents(
        config=config,
        metrics=metrics or {},
        log=log or [],
        pictures=pictures,
        explanations=explanations,
        evaluation=evaluation,
        answers=answers,
        audit=audit,
        test_images=test_images,
        nearest_maps=nearest_maps,
        vectors=vectors,
        level=level,
        quality=quality,
        title=title,
        folder=path.parent,
    )

    def write() -> None:
        page = template(PAGE).render(**contents)
        write_atomically(
            path, lambda temporary: temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
        )

    distributed.only_first(write)
    return path


def render(**contents: Any) -> str:
    """Make the page as text; arguments as for :func:`page_contents`."""
    return template(PAGE).render(**page_contents(**contents))


def page_contents(
    *,
    config: Mapping,
    metrics: Mapping,
    log: Sequence[Mapping],
    pictures: Sequence[PrototypePicture],
    explanations: Sequence[Explanation],
    evaluation,
    answers: Answers | None = None,
    audit: Mapping | None = None,
    test_images: Mapping[int, np.ndarray] | None = None,
    nearest_maps: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
    level: float = LEVEL,
    quality: int = QUALITY,
    title: str | None = None,
    folder: str | Path = "RUN",
) -> dict[str, Any]:
    """Collect what the template prints; arguments as for :func:`write_report`, and the ``folder`` for the commands it
    names."""
    localizers = views.localizers_of(pictures, explanations)
    rivals = _rivals(evaluation, localizers)
    side = photo_side(len(pictures) + len(explanations))
    cards = views.gallery(pictures, localizers, explanations, level, quality, side)
    return {
        "title": title or summary.title(config),
        "level": f"{100 * level:.0f}",
        "levels": [
            (localizer_label(name), f"{100 * own:.0f}")
            for name, own in (pictures[0].record.levels if pictures else {}).items()
        ],
        "answers": answers_section(
            answers,
            {each.name: f"image-{place}" for place, each in reversed(list(enumerate(explanations)))},
        ),
        "accuracy": accuracies.accuracy(metrics, config),
        "localizers": views.localizer_switch(localizers),
        "gallery": cards,
        "classes": views.class_filter(pictures),
        "neighbours": views.neighbours(pictures, test_images or {}, nearest_maps, level),
        "neighbour_look": look("similarity"),
        "map": neighbourhoods(pictures, vectors, localizers[0] if localizers else None, level),
        "flags": views.flag_filter(pictures),
        "inspected": summary.inspected(pictures),
        "panels": views.panels(explanations, localizers, cards, level, quality, side),
        "evaluate": f"protomask evaluate {shlex.quote(str(folder))} --localizers {shlex.quote(','.join(localizers))}",
        "trust": verdict.which_to_trust(evaluation, *rivals) if rivals else None,
        "table": verdict.metric_table(evaluation) if evaluation and evaluation.rows else None,
        "contests": verdict.contest_tables(evaluation, *rivals) if rivals else [],
        "curves": curve_charts(getattr(evaluation, "curves", None) or {}),
        "audit": audit_view(audit),
        "training": training_charts(log),
        "provenance": summary.provenance(config, metrics),
        "config": config,
        "metrics": metrics,
    }


def _rivals(evaluation, localizers: Sequence[str]) -> tuple[str, str] | None:
    """Choose the two localizers that the page compares: those of the pictures, else the first two evaluated."""
    if evaluation is None or not evaluation.comparisons:
        return None
    have = list(dict.fromkeys(row["localizer"] for row in evaluation.rows))
    order = [name for name in localizers if name in have]
    order += [name for name in have if name not in order and name not in BASELINES]
    order += [name for name in have if name not in order]
    return (order[0], order[1]) if len(order) > 1 else None
