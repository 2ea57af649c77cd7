"""What can be explained: anything that gives a score for an image and an index.

Localizers and metrics see a model through :class:`Explainable` alone. A class of a plain classifier becomes a score
through :class:`Classifier`; a prototype through :class:`PrototypeNetwork`, the base of ProtoPNet and XProtoNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F

from protomask.errors import InputError
from protomask.precision import as_float


@runtime_checkable
class Explainable(Protocol):
    """A model whose scores can be explained by masks."""

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Scores of one index per image.

        Args:
            images: (B, 3, H, W), normalised as the model expects.
            index: (B,) long; the class or the prototype whose score is asked for.

        Returns:
            (B,) float, differentiable with respect to ``images``.
        """
        ...


SCORES = ("log-probability", "probability", "logit")


class Classifier:
    """Any torch classifier as an :class:`Explainable`; the index is a class.

    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5)), score="probability")
    >>> classifier.score(torch.zeros(2, 3, 4, 4), torch.tensor([0, 4])).shape
    torch.Size([2])

    Args:
        model: maps (B, 3, H, W) to logits (B, C).
        score: ``"log-probability"`` (the default: its drop is comparable between classes and images), ``"probability"``
            or ``"logit"``.
        multi_label: each class is a question of its own: probabilities by sigmoid instead of softmax.
        mean, std: three numbers each, the normalisation that ``model`` expects of RGB in [0, 1]. By default what timm
            says of the model (``model.pretrained_cfg``); give it for weights that want another. Only methods that hide
            in black need it (NeuroMask).

    Attributes:
        mean, std: tuples of three, or None where nothing says so.

    Raises:
        InputError: ``score`` is none of these, or mean and std are no normalisation.
    """

    def __init__(
        self,
        model: nn.Module,
        score: str = "log-probability",
        *,
        multi_label: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if score not in SCORES:
            raise InputError(f"score {score!r} is unknown; choose one of {', '.join(SCORES)}")
        self.model = model
        self.kind = score
        self.multi_label = multi_label
        self.mean, self.std = _normalisation(model, mean, std)

    def __repr__(self) -> str:
        labels = ", multi_label=True" if self.multi_label else ""
        return f"Classifier({type(self.model).__name__}, score={self.kind!r}{labels})"

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        logits = self.model(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(
                f"a classifier gives logits (B, C), but {type(self.model).__name__} gave {got}; "
                "wrap it so that it returns the logits alone"
            )
        logits = as_float(logits)
        if self.kind == "log-probability":
            logits = F.logsigmoid(logits) if self.multi_label else F.log_softmax(logits, dim=1)
        elif self.kind == "probability":
            logits = logits.sigmoid() if self.multi_label else F.softmax(logits, dim=1)
        return logits.gather(1, index[:, None]).squeeze(1)


def _normalisation(model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None):
    """What is given, else what timm knows of the model, else (None, None)."""
    if (mean is None) != (std is None):
        raise InputError("Classifier: mean and std go together; give both or none")
    if mean is None:
        known = getattr(model, "pretrained_cfg", None)
        known = known if isinstance(known, Mapping) else vars(known) if known is not None else {}
        mean, std = known.get("mean"), known.get("std")
        if mean is None or std is None:
            return None, None
    mean, std = (tuple(float(value) for value in values) for values in (mean, std))
    if len(mean) != 3 or len(std) != 3 or not min(std) > 0:
        raise InputError(f"Classifier: mean {mean} and std {std}; give three numbers each, std positive")
    return mean, std
