"""The methods that the benchmark compares, each with the score that it was published for, and what counts their
passes."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.localizers import HDM, MDM, Cascade, Fusion, Localizer, NeuroMask, Order, Views, get_localizer
from protomask.localizers.base import ChoosesSettings
from protomask.localizers.specs import name_of, settings_of, with_settings


class Method(NamedTuple):
    localizer: Localizer
    score: str
    """what of the class is explained; see :class:`protomask.Classifier`"""


SCORES = {
    "mdm": "log-probability",
    "hdm": "log-probability",
    "mdm-fine": "log-probability",
    "hdm-fine": "log-probability",
    "distilled": "log-probability",
    "mdm-published": "log-probability",
    "hdm-published": "log-probability",
    "neuromask": "log-probability",
    "neuromask-published": "log-probability",
    "meaningful": "probability",
    "extremal": "logit",
    "igos": "probability",
    "gradcam": "logit",
    "score-cam": "logit",
    "chefer": "logit",
    "attention-rollout": "logit",
    "smoothgrad": "logit",
    "integrated-gradients": "probability",
    "occlusion": "probability",
    "rise": "probability",
    "center": "logit",
    "random": "logit",
}
"""every method by name; the learned masks of this project first"""
FINE = Order(sizes=(28, 112, 224), rate=0.1, damping=0.0, values="sufficient")
STILL = Views(noise=0.0, shift=0.0)
"""The order of single pixels on views as they are: the first of the networks' own insertion, and not steady."""
FORMER = Cascade(rest=0.1, in_probability=False, benchmarks=1)
"""The modules of HDM for classes as they were when the tables of single pixels were measured."""
VARIANTS = {
    "mdm-fine": lambda: MDM(order=FINE, views=STILL),
    "hdm-fine": lambda: HDM(order=FINE, cascade=FORMER, fusion=Fusion(steps=10, rate=0.1, complete=False), views=STILL),
    "neuromask-published": NeuroMask.imagenet,
}
"""those that are another's with other settings"""


def get_method(name: str) -> Method:
    """Make a method with its published settings, this project's with their defaults, but for those after its name.

    Raises:
        InputError: no method has that name.
    """
    base = name_of(name)
    if base not in SCORES:
        raise InputError(f"method {base!r} is unknown; choose from {', '.join(SCORES)}")
    localizer = with_settings(VARIANTS[base](), settings_of(name), base) if base in VARIANTS else get_localizer(name)
    if isinstance(
        localizer, ChoosesSettings
    ):  # what it would choose itself, so that the settings written down are those of the figures
        localizer = localizer.for_model(Classifier(nn.Identity()))
    return Method(localizer, SCORES[base])


class Tally:
    """Images that went through a model; copies of the model that a method makes count here, too."""

    def __init__(self) -> None:
        self.forward, self.backward = 0, 0

    def __deepcopy__(self, memo: dict) -> Tally:
        return self


class CountedClassifier(Classifier):
    """A classifier that counts each image it scores: forward-backward where its score has a gradient, else forward
    only."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.tally = Tally()

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        scores = super().score(images, index)
        if scores.requires_grad:
            self.tally.backward += len(images)
        else:
            self.tally.forward += len(images)
        return scores
