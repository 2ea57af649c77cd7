"""What an explanation answers, in words, for panels and pages."""

from __future__ import annotations

from protomask.explanations.records import Explanation
from protomask.report.wording import Namer, certainty, number


def heading(explanation: Explanation, names: Namer) -> str:
    """Title an explanation by its answer."""
    if not explanation.finding:
        return f"Predicted: {names(explanation.predicted)}"
    return f"{names(explanation.finding)}: {explanation.verdict}"


def truth(explanation: Explanation, names: Namer) -> str:
    """Say what is true, where that is known."""
    return explanation.presence if explanation.finding else f"it is {names(explanation.true_class)}"


def threshold(explanation: Explanation) -> str:
    """Say how many points a finding needs, and that what speaks for one that is not found is not enough."""
    found = "a finding is found above 0 points"
    return found if explanation.found else f"what speaks for it is not enough: {found}"


def facts(explanation: Explanation, names: Namer) -> str:
    """Give the probability of the class or finding, and what decided."""
    rival = f"next: {names(explanation.runner_up)} with {number(explanation.runner_up_logit)} points"
    return (
        f"probability {certainty(explanation.probability)} · {threshold(explanation) if explanation.finding else rival}"
    )
