"""What pruning and refining did to a run's accuracy, step by step, and how accurate it was before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protomask.report.wording import listed, percent

NAMES = {"pruned": "pruning", "refined": "refining"}
"""kinds of steps, which are also their marks in ``config.json``"""


def steps_of(metrics: Mapping) -> list[dict]:
    """Give what became of the run since, in turn, each under its kind; a run of before tells its last pruning alone."""
    if "steps" in metrics:
        return list(metrics["steps"])
    return [{"pruned": metrics["pruned"]}] if metrics.get("pruned") else []


def unlisted(steps: Sequence[Mapping], config: Mapping) -> list[str]:
    """Name the kinds of steps that ``config.json`` knows of, and that runs of before did not count."""
    return [kind for kind in NAMES if config.get(kind) and not any(kind in step for step in steps)]


def words_of(steps: Sequence[Mapping], config: Mapping) -> str:
    """Name all that was done: "pruning", "refining", "pruning and refining"; empty for a run that is as it was made."""
    done = [kind for step in steps for kind in step if kind in NAMES] + unlisted(steps, config)
    return listed([NAMES[kind] for kind in dict.fromkeys(done)]) if done else ""


def original_accuracy(metrics: Mapping, config: Mapping, images: int | None, findings: bool) -> float | None:
    """Tell how accurate the network was before all steps; None where a run of before does not say.

    Such a run has the accuracy of now in place of it, but counts of the answers that the last layer's re-fitting
    changed, out of which it follows; or what its only step, a pruning, was compared with.
    """
    scores, steps = metrics.get("test_accuracy") or {}, steps_of(metrics)
    if scores.get("original") is not None:
        return scores["original"]
    counted, before = (metrics.get("changes") or {}).get("refitting"), scores.get("after_projection")
    if findings:
        return None  # a pruning counts images there, accuracy findings
    if counted and images and before is not None:
        return before + (counted["wrong_to_right"] - counted["right_to_wrong"]) / images
    told = [step["pruned"] for step in steps if "pruned" in step]
    return None if len(told) != 1 or unlisted(steps, config) else told[0]["test_accuracy"]["before"]


def before_steps(score: float, words: str, steps: Sequence[Mapping]) -> dict:
    """Make the figure of the accuracy before all steps."""
    pruned = [step["pruned"] for step in steps if "pruned" in step]
    note = ""
    if pruned and words == NAMES["pruned"]:
        left = pruned[-1]["prototypes"] - len(pruned[-1]["removed"])
        note = f"with all {pruned[0]['prototypes']} prototypes; now {left}"
    return {"value": percent(score), "label": f"before {words}", "note": note}
