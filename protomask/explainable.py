"""What can be explained: anything that gives a score for an image and an index.

Localizers and metrics see a model through :class:`Explainable` alone. A class of a plain classifier becomes a score
through :class:`Classifier`; a prototype through :class:`PrototypeNetwork`, the base of ProtoPNet and XProtoNet.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from protomask.errors import BatchStatisticsWarning, InputError, NotLogitsWarning
from protomask.given import as_flag, as_statistics, refuse_run, short
from protomask.labels import probabilities
from protomask.places import as_index, check_numbers
from protomask.precision import as_float
from protomask.wanted import wanted_by

if TYPE_CHECKING:
    from typing_extensions import Self


@runtime_checkable
class Explainable(Protocol):
    """A model whose scores can be explained by masks."""

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Compute the score of one index per image.

        Args:
            images: (B, 3, H, W), normalised as the model expects.
            index: (B,) long; the class or the prototype whose score is asked for.

        Returns:
            (B,) float, differentiable with respect to ``images``.
        """
        ...


SCORES = ("log-probability", "probability", "logit")
_SUMS: dict[torch.dtype | None, float] = {torch.float16: 1e-2, torch.bfloat16: 1e-2}
"""how far from 1 the sum of probabilities may be, by the type of the model's numbers; 1e-4 of any other"""


class Classifier:
    """Adapt any torch classifier to :class:`Explainable`; the index is a class.

    The model may return logits (B, C), or an object or mapping with ``logits``. Models in half or bfloat16 get images
    of their type, and their scores are taken in float32. A model that refuses images in channels-last order gets
    contiguous ones. TorchScript modules work for localizers that need scores alone.

    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5)), score="probability")
    >>> classifier.score(torch.zeros(2, 3, 4, 4), torch.tensor([0, 4])).shape
    torch.Size([2])

    Args:
        model: maps (B, C, H, W) to logits.
        score: ``"log-probability"`` (the default: its drop is comparable between classes and images), ``"probability"``
            or ``"logit"``.
        multi_label: each class is a question of its own: probabilities by sigmoid instead of softmax.
        mean, std: one number per channel each, the normalisation that ``model`` expects of values in [0, 1]. By default
            what timm says of the model (``model.pretrained_cfg``), or torchvision of its own; give it for weights that
            want another. Methods that hide in black need it (NeuroMask), and so does the check that images
            are normalised.

    Attributes:
        mean, std: tuples, or None where nothing says so.

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
        _known_kind(score)
        if isinstance(model, type):
            raise InputError(f"{model.__name__} is a class; give one of its objects, {model.__name__}()")
        if not callable(model):
            refuse_run(model, "model")
            raise InputError(f"a classifier is called with images, but {type(model).__name__} cannot be called")
        if getattr(model, "num_classes", None) == 0:
            raise InputError(
                f"{type(model).__name__} has num_classes=0, so it gives features, not logits; make it with its classes"
            )
        self.model = model
        self.kind = score
        self.multi_label = as_flag(multi_label, "multi_label")
        self.mean, self.std = _normalisation(model, mean, std)
        _warn_of_batch_statistics(model)
        self._contiguous = self._warned = self._one_by_one = False
        self._writes: bool | None = None

    def __repr__(self) -> str:
        labels = ", multi_label=True" if self.multi_label else ""
        return f"Classifier({type(self.model).__name__}, score={self.kind!r}{labels})"

    def settings(self) -> dict[str, Any]:
        """Give what scores depend on beside the model's weights."""
        return {"score": self.kind, "multi_label": self.multi_label, "mean": self.mean, "std": self.std}

    def with_score(self, kind: str) -> Self:
        """Ask the same model for another kind of score.

        Raises:
            InputError: there is no such kind.
        """
        return self._changed(kind=_known_kind(kind))

    def with_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """Expect images of another normalisation.

        Raises:
            InputError: mean and std are no normalisation.
        """
        mean, std = _normalisation(self.model, mean, std)
        return self if (mean, std) == (self.mean, self.std) else self._changed(mean=mean, std=std)

    def _changed(self, **changes: object) -> Self:
        """Copy this, of whatever class it is, with other attributes."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def logits(self, images: Tensor) -> Tensor:
        """Return the model's logits (B, C) in float32 (float64 stays).

        Raises:
            InputError: the model gives something else.
        """
        images = images.to(_dtype_of(self.model, images))
        found = self._call_alone(images) if self._one_by_one and len(images) > 1 else self._call_together(images)
        logits = _unwrapped(found)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(found).__name__
            raise InputError(
                f"a classifier gives logits (B, C), but {type(self.model).__name__} gave {got} for {len(images)} "
                "images; wrap it so that it returns the logits alone"
            )
        if not logits.shape[1]:
            raise InputError(
                f"{type(self.model).__name__} gives logits of no class, of the shape {tuple(logits.shape)}; "
                "make it with its classes"
            )
        return as_float(logits)

    def first_probabilities(self, images: Tensor) -> Tensor:
        """Return :meth:`probabilities` of the first images that the model gets, which it may not take at all.

        Warns as :meth:`warn_of_probabilities`.

        Raises:
            InputError: the model fails; names the images' shape and the reason.
        """
        try:
            logits = self.logits(images)
            found = self.as_probabilities(logits)
            self.warn_of_probabilities(logits)
            return found
        except (InputError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"{type(self.model).__name__} fails on images of the shape {tuple(images.shape)} on {images.device} "
                f"({reason}); check image_size, device and the model"
            ) from error

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities (B, C) of all classes; NaN where a logit is no number or has overflown.

        Raises:
            InputError: as :meth:`logits` and :meth:`as_probabilities`.
        """
        return self.as_probabilities(self.logits(images))

    def as_probabilities(self, logits: Tensor) -> Tensor:
        """Turn :meth:`logits` into probabilities (B, C).

        Raises:
            InputError: the model gives one logit per image, and is no multi-label one.
        """
        self._check_several(logits.shape[1], "")
        return probabilities(logits, self.multi_label)

    def warn_of_probabilities(self, logits: Tensor) -> None:
        """Warn, once, where what the model gives as :meth:`logits` are probabilities already.

        Of a multi-label model that cannot be told. It looks at the numbers, so it is not for the steps of a loop.
        """
        if self.multi_label or self._warned:
            return
        inside = ((logits >= 0) & (logits <= 1)).all()
        near = ((logits.sum(1) - 1).abs() <= _SUMS.get(own_dtype(self.model), 1e-4)).all()
        if inside and near:
            self._warned = True
            warnings.warn(
                f"{type(self.model).__name__} seems to give probabilities, not logits, and softmax is taken once more, "
                "so that probabilities and maps are wrong; give it without its softmax, or let it return log(p)",
                NotLogitsWarning,
                stacklevel=3,
            )

    def _check_several(self, classes: int, otherwise: str) -> None:
        if classes == 1 and not self.multi_label:
            raise InputError(
                f"{type(self.model).__name__} gives one logit per image, whose softmax is always 1; a yes-or-no model "
                f"needs multi_label=True (--multi-label){otherwise}"
            )

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """Return the scores (B,) of one class per image; see :class:`Explainable`.

        Raises:
            InputError: the model gives no logits, or has no such class; not one class per image.
        """
        index, logits = as_index(index, images), self.logits(images)
        if self.kind != "logit":
            self._check_several(logits.shape[1], ', or score="logit"')
        # On an accelerator a look at the numbers would wait for it in every step: once, before the learning, is enough.
        if index.device.type == "cpu" or not torch.is_grad_enabled():
            check_numbers(index, logits.shape[1], "class")
        if self.kind == "log-probability":
            logits = F.logsigmoid(logits) if self.multi_label else F.log_softmax(logits, dim=1)
        elif self.kind == "probability":
            logits = logits.sigmoid() if self.multi_label else F.softmax(logits, dim=1)
        return logits.gather(1, index.long()[:, None]).squeeze(1)

    def _call(self, images: Tensor) -> object:
        if self._writes is False:
            return self._ask(images)
        # A model may write into its images (x.sub_(mean)); they are somebody else's.
        own = images.clone()
        given = own._version if not own.is_inference() else None
        found = self._ask(own)
        if given is not None:
            self._writes = own._version != given
        return found

    def _call_together(self, images: Tensor) -> object:
        try:
            return self._call(images)
        except (InputError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, AssertionError, ValueError):
            if len(images) < 2:
                raise
            # A model that was exported for one image, or reshapes so, may take one at a time.
            try:
                first = self._call(images[:1])
            except (RuntimeError, AssertionError, ValueError):
                first = None
            if not isinstance(_unwrapped(first), Tensor):
                raise
        found = self._call_alone(images)
        self._one_by_one = True
        return found

    def _call_alone(self, images: Tensor) -> Tensor:
        """Call the model with one image at a time.

        Raises:
            InputError: something looks on inside of it, which would see the last image alone.
        """
        name = type(self.model).__name__
        layers = list(self.model.modules())[1:] if isinstance(self.model, nn.Module) else []
        if any(each._forward_hooks for each in layers):
            raise InputError(f"{name} takes one image at a time; give batch_size=1, or one image")
        found = [_unwrapped(self._call(each)) for each in images.split(1)]
        logits = [each for each in found if isinstance(each, Tensor) and len(each) == 1]
        if len(logits) < len(images):
            raise InputError(f"{name} takes one image at a time, and does not give its logits (1, C) then")
        return torch.cat(logits)

    def _ask(self, images: Tensor) -> object:
        if self._contiguous:
            return self.model(images.contiguous())
        try:
            return self.model(images)
        except RuntimeError as error:
            if "numpy()" in str(error):
                raise InputError(
                    f"{type(self.model).__name__} turns what it computes into numpy arrays, so its score has no "
                    "gradient with respect to the images; explain it by what needs scores alone: rise, occlusion"
                ) from error
            # A model that flattens by .view takes images in the usual order only.
            if "view size is not compatible" not in str(error) or images.is_contiguous():
                self._check_type(images, error)
                raise
            found = self.model(images.contiguous())
            self._contiguous = True
            return found

    def _check_type(self, images: Tensor, error: RuntimeError) -> None:
        """Raise InputError where a model failed because its numbers are of another type than the images'."""
        own = own_dtype(self.model)
        if own in (None, images.dtype) or "type" not in str(error) or isinstance(error, torch.OutOfMemoryError):
            return
        mend = "model.float(), or a localizer images.double()" if own == torch.float64 else f"images.to({own})"
        raise InputError(
            f"{type(self.model).__name__} has weights of {own} and gets images of {images.dtype}; give {mend}"
        ) from error


def _warn_of_batch_statistics(model: object) -> None:
    for each in model.modules() if isinstance(model, nn.Module) else ():
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.running_mean is None:
            warnings.warn(
                f"{type(model).__name__} normalises by the statistics of the batch (a {type(each).__name__} without "
                "running ones), so that scores, and maps, change with what else is in the batch; give one picture at a "
                "time, batch_size=1, or a model with track_running_stats=True",
                BatchStatisticsWarning,
                stacklevel=3,
            )
            return


def _known_kind(kind: object) -> str:
    if not isinstance(kind, str) or kind not in SCORES:
        raise InputError(f"score {short(kind)} is unknown; choose one of {', '.join(SCORES)}")
    return kind


def _dtype_of(model: object, images: Tensor) -> torch.dtype:
    """Find the type of the model's numbers where it is a half one; the images' own elsewhere."""
    if torch.is_autocast_enabled(images.device.type):
        return images.dtype
    own = own_dtype(model) or images.dtype
    return (
        own
        if own in (torch.float16, torch.bfloat16) or images.dtype in (torch.float16, torch.bfloat16)
        else images.dtype
    )


def statistics_of(explained: object, name: str) -> tuple[float, ...] | None:
    """Give the numbers of a normalisation that a model tells as ``mean`` or ``std``, in whatever form it has them.

    Networks of somebody else's hold them as a buffer (1, 3, 1, 1), or one number for all channels.

    Returns:
        None where nothing of that name holds finite numbers.
    """
    given = getattr(explained, name, None)
    try:
        numbers = tuple(torch.as_tensor(given).double().flatten().tolist())
    except (TypeError, ValueError, RuntimeError):  # a method of that name, or nothing
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None


def own_dtype(model: object) -> torch.dtype | None:
    """Find the type of a module's first floating-point parameter, where there is one."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), None)


def _unwrapped(found: object) -> object:
    """Find the logits within an output object or mapping."""
    if isinstance(found, Mapping):
        return found.get("logits", found)
    return found if isinstance(found, Tensor) else getattr(found, "logits", found)


def _normalisation(model: object, mean: Sequence[float] | None, std: Sequence[float] | None):
    """Give what is given, else what timm or torchvision say of the model, else (None, None)."""
    if (mean is None) != (std is None):
        raise InputError("Classifier: mean and std go together; give both or none")
    if mean is None:
        known = wanted_by(model)
        mean, std = known.mean, known.std
        if mean is None or std is None:
            return None, None
    mean, std = as_statistics(mean, "mean"), as_statistics(std, "std")
    if len(mean) != len(std):
        raise InputError(f"Classifier: mean {mean} and std {std}; give one number per channel each")
    return mean, std
