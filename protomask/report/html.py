"""The report: one HTML file with everything in it, which loads nothing from the internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from protomask import distributed
from protomask.errors import InputError
from protomask.explanations.records import Explanation, PrototypePicture
from protomask.files import text_digest, write_atomically
from protomask.report import accuracies, summary, verdict, views
from protomask.report.answers import Answers, answers_section
from protomask.report.audit_view import audit_view
from protomask.report.charts import curve_charts, training_charts
from protomask.report.encoding import QUALITY, photo_side
from protomask.report.neighbourhoods import neighbourhoods
from protomask.report.overlays import LEVEL
from protomask.report.paging import gallery_pages, neighbours_of, page_list, page_path, written_pages
from protomask.report.palette import look
from protomask.report.series import of_few, shown_curves
from protomask.report.templating import template
from protomask.report.wording import BASELINES, Namer, localizer_label, readable_all, whole_map
from protomask.suggested import command

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
    can_replace: bool = True,
) -> Path:
    """Write ``report.html``, and pages beside it for a gallery that is too large for one.

    What is missing or empty gives a report without that section. Several processes, each called with the same, share
    the drawing; the first writes.

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
        vectors: (P, ...), the prototypes' own, for the map of their neighbourhoods; marks that are made in a browser
            are kept for prototypes of these vectors.
        level: share of a map's maximum at which it is outlined.
        quality: of the photographs, as WebP counts it, 1 to 100; the size of the file follows.
        title: in place of "ProtoPNet on ...".
        can_replace: whether refining can put others in a prototype's place, split it, or move it: else judging does not
            offer that.
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
        can_replace=can_replace,
        folder=path.parent,
        name=path.name,
    )

    distributed.only_first(lambda: _write_pages(path, contents))
    return path


def _write_pages(path: Path, contents: Mapping[str, Any]) -> None:
    """Write the report, and before it the pages of a gallery that is too large for one; older ones go."""
    made = [page_path(path, number) for number in range(1, len(contents["pages"]) + 1)]
    for old in written_pages(path)[len(made) :]:
        old.unlink()
    for target, page in [*zip(made, contents["pages"]), (path, None)]:
        text = template(PAGE).render(**(contents if page is None else gallery_page(contents, page, path)))
        write_atomically(target, partial(_write_text, text))


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def gallery_page(contents: Mapping[str, Any], page: Mapping[str, Any], report: Path) -> dict[str, Any]:
    """Give what the template prints on one of the gallery's pages, out of what it would print on a single one."""
    own = [contents["cards"][place] for place in page["places"]]
    shown = [contents["pictures"][place] for place in page["places"]]
    return {
        **contents,
        "page": page,
        "home": quote(report.name),
        "gallery": own,
        "classes": views.class_filter(shown, contents["names"]),
        "flags": views.flag_filter(shown),
        "elsewhere": [each for each in contents["pages"] if each["number"] != page["number"]],
        "neighbours": neighbours_of(contents["all_neighbours"], [card["number"] for card in own]),
        "answers": None,
    }


def render(**contents: Any) -> str:
    """Make the page as text, without those of a large gallery; arguments as for :func:`page_contents`."""
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
    can_replace: bool = True,
    folder: str | Path = "RUN",
    name: str = "report.html",
) -> dict[str, Any]:
    """Collect what the template prints.

    Arguments as for :func:`write_report`, the ``folder`` for the commands it names, and the ``name`` of its file.
    """
    localizers = views.localizers_of(pictures, explanations)
    rivals = _rivals(evaluation, localizers)
    side = photo_side(len(pictures) + len(explanations))
    names, pooled = class_names(pictures, explanations, answers, metrics), views.are_pooled(pictures)
    cards = views.gallery(pictures, localizers, explanations, level, quality, side, names)
    neighbours = views.neighbours(pictures, test_images or {}, nearest_maps, level, names)
    divided = gallery_pages(cards, neighbours)
    pages = page_list(Path(name), divided, cards)
    file_of = {cards[place]["number"]: page["file"] for page in pages for place in page["places"]}
    return {
        "title": title or summary.title(config),
        "can_replace": can_replace,
        "level": f"{100 * level:.0f}",
        "levels": [
            (localizer_label(name), f"{100 * own:.0f}")
            for name, own in (pictures[0].record.levels if pictures else {}).items()
        ],
        "answers": answers_section(
            answers,
            _anchors(explanations),
            names,
        ),
        "accuracy": accuracies.accuracy(metrics, config, names, log),
        "localizers": views.localizer_switch(localizers, pooled),
        "pooled": pooled,
        "findings": _of_findings(config, explanations, answers),
        "marks_of": _marks_of(pictures, vectors),
        "page": None,
        "elsewhere": [],
        "pages": pages,
        "home": "",
        "card_link": lambda number: f"{file_of.get(number, '')}#prototype-{number}",
        "total": len(cards),
        "cards": cards,
        "pictures": pictures,
        "gallery": [] if pages else cards,
        "classes": views.class_filter(pictures, names),
        "names": names,
        "all_neighbours": neighbours,
        "neighbours": {} if pages else neighbours,
        "neighbour_look": look("similarity"),
        "map": neighbourhoods(pictures, vectors, localizers[0] if localizers else None, level, names),
        "flags": views.flag_filter(pictures),
        "whole_map": whole_map(localizers[0]) if localizers else "",
        "inspected": summary.inspected(pictures),
        "panels": views.panels(explanations, localizers, cards, level, quality, side),
        "evaluate": command("evaluate", folder, "--localizers", ",".join(localizers)),
        "trust": verdict.which_to_trust(evaluation, *rivals) if rivals else None,
        "table": verdict.metric_table(evaluation) if evaluation and evaluation.rows else None,
        "contests": verdict.contest_tables(evaluation, *rivals) if rivals else [],
        "curves": curve_charts(shown_curves(evaluation) if evaluation else {}),
        "few": bool(evaluation) and of_few(evaluation),
        "audit": audit_view(audit),
        "training": training_charts(log, _of_findings(config, explanations, answers)),
        "provenance": summary.provenance(config, metrics),
        "config": config,
        "metrics": metrics,
    }


def _marks_of(pictures: Sequence[PrototypePicture], vectors: np.ndarray | None) -> str:
    """Digest what marks are of, wherever the report lies and however its gallery is divided: the prototypes, their
    classes and sources."""
    records = [each.record for each in pictures]
    told = [(each.prototype, each.class_name, each.source, tuple(each.location)) for each in records]
    # A last layer that is fitted anew leaves prototypes, and what was said of them, as they are.
    own = [each.weight for each in records] if vectors is None else np.asarray(vectors, np.float32).tobytes()
    return text_digest(repr((told, own)))


def _anchors(explanations: Sequence[Explanation]) -> dict[str | tuple[str, str], str]:
    """Give the place of the page that explains each image, the first of several, and each finding of an image."""
    found: dict[str | tuple[str, str], str] = {}
    for place, each in enumerate(explanations):
        for key in (each.name, (each.name, each.finding or "")):
            found.setdefault(key, f"image-{place}")
    return found


def _of_findings(config: Mapping, explanations: Sequence[Explanation], answers: Answers | None) -> bool:
    """Tell whether an image may have several findings, or none."""
    data = config.get("data")
    told = isinstance(data, Mapping) and bool(data.get("multi_label"))
    return told or any(each.finding for each in explanations) or (answers is not None and answers.findings)


def class_names(
    pictures: Sequence[PrototypePicture],
    explanations: Sequence[Explanation],
    answers: Answers | None,
    metrics: Mapping,
) -> Namer:
    """Name every class that the page shows, so that two that are written alike are told apart everywhere on it."""
    known = {each.record.class_name for each in pictures} | {*(metrics.get("per_class") or {})}
    known |= {name for each in explanations for name in each.classes}
    return readable_all(known | {*(answers.classes if answers else ())})


def _rivals(evaluation, localizers: Sequence[str]) -> tuple[str, str] | None:
    """Choose the two localizers that the page compares: those of the pictures, else the first two evaluated."""
    if evaluation is None or not evaluation.comparisons:
        return None
    have = list(dict.fromkeys(row["localizer"] for row in evaluation.rows))
    order = [name for name in localizers if name in have]
    order += [name for name in have if name not in order and name not in BASELINES]
    order += [name for name in have if name not in order]
    return (order[0], order[1]) if len(order) > 1 else None
