"""How an explainer is trained."""

from __future__ import annotations

from dataclasses import dataclass

from protomask.localizers.settings import Settings


@dataclass(frozen=True, repr=False)
class Distillation(Settings):
    """Set how an explainer is trained.

    Args:
        teacher: the learned mask whose settings give the objective, and whose maps the explainer begins with: a name
            with settings, of ``mdm``.
        maps: how many of the teacher's maps; 0 begins with the evidence at first sight.
        imitation: steps in which the explainer imitates them.
        steps: steps of the objective through the explained model.
        batch_size: pairs in each step.
        rate: AdamW's greatest learning rate; it rises over 20 steps and falls with a cosine.
        others: share of the pairs whose class or prototype is not the image's own.
        seed: of the order of the images, of the pairs and of a fresh explainer.

    Raises:
        InputError: a value that is impossible; the message names the field.
    """

    teacher: str = "mdm"
    maps: int = 256
    imitation: int = 400
    steps: int = 600
    batch_size: int = 8
    rate: float = 0.003
    others: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("maps", "imitation", "steps"):
            self.require_steps(0, name)
        self.require_steps(1, "batch_size")
        self.require_positive("rate")
        self.require(0 <= self.others <= 1, "others", "a share from 0 to 1")
        self.require(0 <= self.seed < 2**31, "seed", "a number from 0 to 2147483647")
