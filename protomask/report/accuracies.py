"""How accurate the network is, and what projection, pruning and prototypes changed, in figures and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from protomask.errors import InputError
from protomask.report.steps import before_steps, original_accuracy, steps_of, unlisted, words_of
from protomask.report.wording import Namer, accuracy_of_images, count, number, percent, readable_all
from protomask.statistics import compare_hits, newcombe, wilson

MOMENTS = ("final", "after_projection", "before_projection")
"""when accuracies were measured, the last first"""


def accuracy(
    metrics: Mapping, config: Mapping, names: Namer | None = None, log: Sequence[Mapping] | None = None
) -> dict:
    """Give figures, sentences and a table of classes about accuracy: before and after projection, at the end, without
    prototypes.

    An interval is Wilson's for the number of test images, where ``config["data"]["test"]`` tells it: the luck of the
    test set, not that of training. A difference has the interval of its pairs, :func:`difference`. Of a run that was
    pruned or refined the first figure is that of the network as it is now; what projection did, and the comparison with
    a plain classifier, are told of the network before that, whose answers were counted; then what each step did.
    ``names`` gives the classes' names as they are shown. Where nothing was learned after the projection, as the ``log``
    or ``config`` tells, nothing is said of it.
    """
    scores = {name: value for name, value in (metrics.get("test_accuracy") or {}).items() if value is not None}
    areas = {name: value for name, value in (metrics.get("test_auroc") or {}).items() if value is not None}
    given = config.get("data")
    data = given if isinstance(given, Mapping) else {}
    findings, images = bool(data.get("multi_label")), data.get("test")
    steps, changes = steps_of(metrics), metrics.get("changes") or {}
    since = words_of(steps, config)
    head = next((name for name in MOMENTS if name in scores), None)
    figures, sentences, whole = [], [], dict(scores)
    refitted = _was_refitted(config, log or ())
    if head:
        figures += _head(scores[head], areas.get(head), images, findings)
    if since:
        own = original_accuracy(metrics, config, images, findings)
        whole.pop("final", None)
        if own is not None:
            whole["final"] = own
            figures.append(before_steps(own, since, steps))
    else:
        figures += [
            {"value": percent(scores[name]), "label": label, "note": note}
            for name, label, note in (
                ("before_projection", "before projection", "prototypes still free vectors"),
                ("after_projection", "after projection", "prototypes are from training images"),
            )
            if name in scores and name != head
        ]
    told = {} if findings else changes
    known = None if findings else images
    sentences.append(_course(whole, told, known, since, refitted))
    sentences += [_step(step, images, findings) for step in steps]
    if "refined" in unlisted(steps, config):
        sentences.append("It was refined, too; refined.json in the run's folder says what that changed.")
    black_box = metrics.get("black_box_accuracy")
    if black_box is not None:
        figures.append(
            {"value": percent(black_box), "label": "plain classifier", "note": "same backbone, no prototypes"}
        )
        # What an older run does not tell of the network that its answers were compared with is left out.
        own = whole.get("final") if since else whole.get(head or "")
        if own is not None:
            sentences.append(_price(own, black_box, told.get("prototypes"), known, since))
    elif head:
        sentences.append(
            "What the prototypes cost in accuracy against the same backbone as a plain classifier is not measured; "
            "protomask train with --black-box measures it."
        )
    return {
        "figures": figures,
        "sentences": [text for text in sentences if text],
        "table": _classes(metrics.get("per_class") or {}, findings, names),
    }


def difference(
    before: float,
    after: float,
    images: int | None,
    changed: Mapping | None = None,
    words: tuple[str, str] = ("became wrong", "right"),
) -> str:
    """Say how sure a difference of two accuracies is: "3 images became wrong, 5 right: within chance", or an interval.

    Of counted images it is within chance as a metric of hits is undecided in an evaluation: by the exact sign test, or
    where the interval of the paired difference holds zero.

    Args:
        before, after: accuracies, in [0, 1].
        images: test images; None where the number is not known, or the answers of one image are several.
        changed: ``right_to_wrong`` and ``wrong_to_right``, of the same images. Without them the interval is that of
            two independent samples, wider than the truth where both are right about the same images.
            Raises InputError where they are more than ``images``.
        words: what is said of the images that only the first answers right, and of those that only the second does.
    """
    if not images:
        return "how much of that is chance is not known"
    if changed is not None:
        lost, won = changed["right_to_wrong"], changed["wrong_to_right"]
        if lost + won > images:
            raise InputError(
                f"metrics.json, or that of a step, tells of {lost + won} changed answers of {images} test images; "
                "restore it from the run that measured them"
            )
        found = compare_hits(round(before * images), won, lost, images)
        _, low, high, *_ = found.interval
        chance = not found.sign
        swaps = f"{count(lost, 'image')} {words[0]}, {won} {words[1]}"
    else:
        both = after * before * images
        _, low, high = newcombe(
            both, after * images - both, before * images - both, (1 - after) * (1 - before) * images
        )
        chance = False  # only the interval tells
        swaps = f"{abs(round((after - before) * images))} of {count(images, 'image')} on balance"
    if chance or low <= 0 <= high:
        return f"{swaps}: within chance"
    return f"{swaps}; 95\N{NO-BREAK SPACE}% interval {_signed(low)} to {_signed(high)} points"


def _signed(share: float) -> str:
    text = number(100 * share, 1)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def _head(score: float, area: float | None, images: int | None, findings: bool) -> list[dict]:
    # Answers about the findings of one image are not independent.
    interval = wilson(score, images) if images and not findings else None
    note = ""
    if interval:
        reach = f"{percent(interval[0])} to {percent(interval[1])}"
        note = f"95\N{NO-BREAK SPACE}% interval {reach}, {count(images or 0, 'image')}"
    label = "right answers on test images, over all findings" if findings else "test accuracy"
    figures = [{"value": percent(score), "label": label, "note": note}]
    if area is not None:
        kind = "findings" if findings else "classes"
        figures.append({"value": number(area), "label": "AUROC", "note": f"mean over {kind}, each against the rest"})
    return figures


def _was_refitted(config: Mapping, log: Sequence[Mapping]) -> bool:
    """Tell whether something was learned after the last projection: not in a network of one's own, or of others, whose
    prototypes were moved when it became a run, nor by a recipe that ends with the projection."""
    from protomask.run.measures import AFTER_PROJECTION, AT_THE_END

    stages = [row.get("stage") for row in log]
    whole = all(each in stages for each in (AFTER_PROJECTION, AT_THE_END))
    ended = whole and stages.index(AT_THE_END) == stages.index(AFTER_PROJECTION) + 1
    return not (config.get("saved") or config.get("imported") or ended)


def _course(scores: Mapping, changes: Mapping, images: int | None, since: str, refitted: bool) -> str:
    if "before_projection" not in scores or "after_projection" not in scores:
        return ""
    begin = f"Before {since}, tying" if since else "Tying"
    text = f"{begin} every prototype to a real training image (projection) " + _moved(
        scores["before_projection"], scores["after_projection"], images, changes.get("projection")
    )
    if "final" in scores and refitted:
        text += "; re-fitting the last layer then " + _moved(
            scores["after_projection"], scores["final"], images, changes.get("refitting")
        )
    return text + "."


def _moved(before: float, after: float, images: int | None, changed: Mapping | None) -> str:
    change = 100 * (after - before)
    if abs(change) < 0.05:
        same = "left the accuracy as it was"
        return f"{same} ({difference(before, after, images, changed)})" if changed and any(changed.values()) else same
    verb = "gained" if change > 0 else "cost"
    return f"{verb} {_points(change)} ({difference(before, after, images, changed)})"


def _step(step: Mapping, images: int | None, findings: bool) -> str:
    outcome = step.get("pruned") or step.get("refined")
    if not outcome:
        return ""
    scores = outcome["test_accuracy"]
    before, after = percent(scores["before"]), percent(scores["after"])
    if findings:
        swaps = f"{count(outcome['right_to_wrong'], 'image')} became wrong, {outcome['wrong_to_right']} right"
    else:
        swaps = difference(scores["before"], scores["after"], images, outcome)
    measure = f"the {accuracy_of_images(True)}" if findings else accuracy_of_images(False)
    if "pruned" not in step:
        return f"Refining by a review: {measure} was {before} before, and {after} after it ({swaps})."
    removed, least = len(outcome["removed"]), percent(scores["without_refitting"])
    origin = Path(outcome["from"]).name  # a page is for others, too: no folders of this machine
    return (
        f"{removed} of {outcome['prototypes']} prototypes were removed from {origin}: {measure} was {before} "
        f"with all of them, {least} without these, and {after} once the last layer was re-fitted ({swaps})."
    )


def _price(own: float, black_box: float, changed: Mapping | None, images: int | None, since: str) -> str:
    subject = f"Compared with the network before {since}, the same" if since else "The same"
    change = 100 * (own - black_box)
    how = difference(black_box, own, images, changed, ("right only without prototypes", "only with them"))
    if abs(change) < 0.05:
        return f"{subject} backbone as a plain classifier is as accurate: the prototypes cost nothing here."
    text = (
        f"{subject} backbone as a plain classifier is {'more' if change < 0 else 'less'} accurate by {_points(change)} "
        f"({how})"
    )
    if how.endswith("chance") or not images:
        return f"{text}."
    return f"{text}: " + ("the price of the prototypes." if change < 0 else "here the prototypes help.")


def _points(change: float) -> str:
    return f"{abs(change):.1f} percentage point{'' if f'{abs(change):.1f}' == '1.0' else 's'}"


def _classes(found: Mapping, findings: bool, names: Namer | None) -> dict | None:
    names = names or readable_all(found)
    rows = [
        (
            names(name),
            f"AUROC {number(row['auroc'])}, average precision {number(row['average_precision'])}, "
            f"{count(row['images'], 'test image')}",
        )
        for name, row in found.items()
    ]
    return {"title": f"Each {'finding' if findings else 'class'} against the rest", "rows": rows} if rows else None
