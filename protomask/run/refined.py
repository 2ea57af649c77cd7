"""What refining changed, beside what it was made of: accuracy, answers, prototypes; in words, figures and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from protomask.errors import InputError
from protomask.explanations.photographs import photographs
from protomask.explanations.records import PrototypePicture
from protomask.report.wording import accuracy_of_images, count
from protomask.run.derived import right
from protomask.run.review import FILE, Review
from protomask.statistics import Comparison, compare_hits

if TYPE_CHECKING:
    from protomask.run.opened import Run

FOLDER = "refined"
"""in the new run, for pictures"""
MOST_LISTED, MOST_PICTURED = 500, 60
"""test images whose answer changed: in the file, and those of them that have a picture there"""
SIDE = 320
"""pixels of such a picture's longer side at most"""


def compare_answers(run: Run, before: Tensor, after: Tensor, labels: Tensor) -> dict:
    """Compare the test logits (N, C) before and after: accuracies, their paired difference, and what changed.

    Images whose answer became wrong are listed first, then those that became right.
    """
    good, now = right(before, labels), right(after, labels)
    lost, won = int((good & ~now).sum()), int((~good & now).sum())
    interval = compare_hits(int(good.sum()), won, lost, len(good)).interval
    classes, several = run.network.classes, run.network.multi_label
    one, other = answers(before, classes, several), answers(after, classes, several)
    places = [place for place in range(len(labels)) if one[place] != other[place]]
    places.sort(key=lambda place: (int(now[place]) - int(good[place])) or 2)
    return {
        "test_images": len(good),
        "test_accuracy": {"before": good.double().mean().item(), "after": now.double().mean().item()},
        "difference": {"mean": interval.mean, "low": interval.low, "high": interval.high},
        "right_to_wrong": lost,
        "wrong_to_right": won,
        "answers_changed": len(places),
        "changed": [
            {
                "image": run.test.names[place],
                "position": place,
                "truth": list(found) if isinstance(found := run.test.truth(place), tuple) else found,
                "before": one[place],
                "after": other[place],
                "was_right": bool(good[place]),
                "is_right": bool(now[place]),
            }
            for place in places[:MOST_LISTED]
        ],
    }


def compared(outcome: dict) -> Comparison:
    """Compare both accuracies of ``refined.json`` by the images that became right and wrong.

    Older files keep another interval of the difference, which promised too much.

    Raises:
        InputError: more images changed than there are, as in a file that is damaged.
    """
    count, won, lost = (outcome[key] for key in ("test_images", "wrong_to_right", "right_to_wrong"))
    if won + lost > count:
        raise InputError(f"refined.json tells of {won + lost} changed images of {count}; refine the run again")
    return compare_hits(round(outcome["test_accuracy"]["before"] * count), won, lost, count)


def span(found: Comparison) -> tuple[float, float] | None:
    """Give the interval of a difference to be shown, low and high.

    None where there is none, or the sign test calls chance what the interval alone would not.
    """
    _, low, high, *_ = found.interval
    unsure = not np.isfinite(low) or (found.interval.excludes_zero and not found.sign)
    return None if unsure else (low, high)


def answers(logits: Tensor, classes: Sequence[str], several: bool) -> list[str] | list[list[str]]:
    """Name what logits (N, C) say: the class of each image, or all its findings."""
    if not several:
        return [classes[number] for number in logits.argmax(1).tolist()]
    return [[name for name, there in zip(classes, row) if there] for row in (logits > 0).tolist()]


def outside(pictures: Iterable[PrototypePicture]) -> float | None:
    """Average the share of the prototypes' maps outside of the object; None where the object is not known."""
    shares = [
        next(iter(picture.inspection.outside.values()))
        for picture in pictures
        if picture.inspection is not None and picture.inspection.outside
    ]
    return float(np.mean(shares)) if shares else None


def draw_changes(run: Run, refined: Run, outcome: dict, found: Sequence[PrototypePicture]) -> None:
    """Write the pictures of the comparison into the new run: images whose answer changed, both galleries."""
    folder = refined.files / FOLDER
    (folder / "changed").mkdir(parents=True, exist_ok=True)
    places = [each["position"] for each in outcome["changed"][:MOST_PICTURED]]
    for number, pixels in enumerate(photographs(run.test, places, SIDE)):
        Image.fromarray(pixels).save(changed_picture(folder, number), quality=85)
    pictures = run.pictures
    _gallery(refined, [pictures[pair["before"]] for pair in outcome["pairs"]], "before")
    _gallery(refined, [found[number] for pair in outcome["pairs"] for number in pair["after"]], "after")


def changed_picture(folder, number: int):
    """Name the file of the ``number``-th image whose answer changed."""
    return folder / "changed" / f"{number:03d}.webp"


def _gallery(refined: Run, pictures: Sequence[PrototypePicture], name: str) -> None:
    from protomask.report import prototype_gallery, save_figure

    if pictures:
        figure = prototype_gallery(pictures, next(iter(pictures[0].maps)), classes=refined.network.classes)
        save_figure(figure, refined.files / FOLDER / f"{name}.png", dpi=110)


def carry_over(review: Review, new: Run, numbers: dict[int, int]) -> None:
    """Keep in the new run the judgements of the prototypes that are still there.

    All of them, also a "forget" where people differ: without it somebody's earlier word would count again, and the
    dispute would be gone. Prototypes that were forgotten or removed are not among ``numbers``.

    Args:
        numbers: of those prototypes, from before to now.
    """
    carried = [
        {**each, "prototype": numbers[each["prototype"]]} for each in review.judgements if each["prototype"] in numbers
    ]
    if carried:
        new.files.write(FILE, {"judgements": carried})


def in_words(outcome: dict, findings: bool = False) -> str:
    """Say in a line what the refining did."""
    scores, found = outcome["test_accuracy"], compared(outcome)
    reach = span(found)
    interval = f" [{reach[0]:+.3f}, {reach[1]:+.3f}]" if reach else ", within chance"
    share = outcome.get("outside") or {}
    beside = (
        f"; {share['before']:.0%} of the evidence beside the object before, {share['after']:.0%} after"
        if share.get("before") is not None and share.get("after") is not None
        else ""
    )
    return (
        f"{_what(outcome)}; {accuracy_of_images(findings)} {scores['before']:.3f} before, "
        f"{scores['after']:.3f} after ({found.interval.mean:+.3f}{interval}; "
        f"{count(outcome['right_to_wrong'], 'image')} became wrong, {outcome['wrong_to_right']} right){beside}"
    )


def _what(outcome: dict) -> str:
    gone = [number for number in outcome["forgotten"] if number not in outcome["replaced"]]
    counts = {
        "replaced": outcome["replaced"],
        "removed": gone,
        "moved": [number for number in outcome["required"] if number not in outcome["replaced"]],
        "split": outcome["split"],
        "added": outcome["added"],
    }
    return ", ".join(f"{word} {count(len(numbers), 'prototype')}" for word, numbers in counts.items() if numbers)
