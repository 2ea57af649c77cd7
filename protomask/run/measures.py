"""What a training measures on its test images, and what of it ``metrics.json`` keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protomask.data import AnnotatedImages
from protomask.errors import InputError
from protomask.prototype_network import PrototypeNetwork
from protomask.training import Action, Epochs, TrainingSet, accuracy, changed_answers, performance

MEASURES = ("accuracy", "auroc", "average_precision")
"""what ``metrics.json`` holds of each stage; see :func:`protomask.training.performance`"""


PROJECTION = "projection"
"""what a recipe calls the Action that moves prototypes onto training patches"""

AFTER_PROJECTION = "test after projection"
"""the row of a training's log that follows its last projection"""

AT_THE_END = "test at the end"
"""the last row of a training's log"""


def with_test_accuracy(stages: list, test: AnnotatedImages) -> list:
    """Measure on the test images before and after the last projection and at the end; nothing is chosen by it.

    At the end on the validation images, too: the last epoch's network is not the one that the last layer was fitted to.

    Raises:
        InputError: as :func:`last_projection`.
    """

    def measure(name: str) -> Action:
        return Action(
            name,
            lambda network, setup: {
                key if key == "per_class" else f"test_{key}": value
                for key, value in performance(network, test, setup).items()
                if value is not None or key != "right"
            },
        )

    at_the_end = measure(AT_THE_END)

    def finish(network: PrototypeNetwork, setup: TrainingSet) -> dict:
        return {**at_the_end.run(network, setup), **validated(network, setup)}

    last = last_projection(stages)
    return [
        *stages[:last],
        measure("test before projection"),
        stages[last],
        measure(AFTER_PROJECTION),
        *stages[last + 1 :],
        replace(at_the_end, run=finish),
    ]


def validated(network: PrototypeNetwork, setup: TrainingSet) -> dict[str, float]:
    """Measure ``validation_accuracy`` of a network as it is, as after an epoch; nothing without validation images."""
    if not len(setup.validation):
        return {}
    return {"validation_accuracy": accuracy(network, setup.validation, setup, "validation")}


def last_projection(stages: Sequence[Epochs | Action]) -> int:
    """Find the place of the last projection in a recipe.

    Raises:
        InputError: it has none of that name.
    """
    places = [place for place, stage in enumerate(stages) if stage.name == PROJECTION]
    if not places:
        names = ", ".join(dict.fromkeys(stage.name for stage in stages)) or "none"
        raise InputError(
            f"the network's recipe has no stage that is called {PROJECTION!r} (it has: {names}); call the Action that "
            f"moves prototypes onto training patches {PROJECTION!r}"
        )
    return places[-1]


def training_metrics(rows: list[dict]) -> dict:
    """Give the content of ``metrics.json``, from the rows of the log."""
    measured = {row["stage"]: row for row in rows if "test_accuracy" in row}
    when = {
        "before_projection": "test before projection",
        "after_projection": AFTER_PROJECTION,
        "final": AT_THE_END,
    }
    scores = {
        f"test_{name}": {key: measured[stage][f"test_{name}"] for key, stage in when.items()} for name in MEASURES
    }
    answers = {key: measured[stage]["test_right"] for key, stage in when.items() if "test_right" in measured[stage]}
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    return {
        **scores,
        "per_class": measured[AT_THE_END]["per_class"],
        **({"changes": changes(answers)} if len(answers) > 1 else {}),
        "validation_accuracy": measured[AT_THE_END].get("validation_accuracy"),
        **{f"black_box_{name}": None for name in MEASURES},
        "seconds": seconds,
    }


def changes(answers: dict[str, str]) -> dict[str, dict[str, int]]:
    """Count the test images whose answer changed at each step, from the packed answers after it; a difference of two
    accuracies can only be judged by these.

    >>> changes({"before_projection": "90", "after_projection": "c0", "final": "c0", "black_box": "c0"})["projection"]
    {'right_to_wrong': 1, 'wrong_to_right': 1}
    """
    steps = {
        "projection": ("before_projection", "after_projection"),
        "refitting": ("after_projection", "final"),
        "prototypes": ("black_box", "final"),
    }
    return {
        name: changed_answers(answers[first], answers[second])
        for name, (first, second) in steps.items()
        if first in answers and second in answers
    }
