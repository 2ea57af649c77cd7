"""Compare localizers of a plain classifier: the same images, classes and statistics for all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import rgb_to_grayscale

from protomask.data import AnnotatedImages
from protomask.devices import choose_device
from protomask.errors import InputError
from protomask.evaluation.evaluate import evaluate
from protomask.evaluation.pairs import Pairs, device_of
from protomask.evaluation.results import Evaluation
from protomask.explainable import Classifier, Explainable
from protomask.freezing import frozen
from protomask.given import as_count, as_flag, as_path
from protomask.labels import require_numbers
from protomask.localization.class_names import Labels, check_labels, class_numbers, labels_of
from protomask.localization.finding_boxes import with_model_classes
from protomask.localization.judge_classes import judge_numbers
from protomask.localization.photographs import as_data_set
from protomask.localization.preprocessing import Preprocessing, as_classifier, unwrap_classifier
from protomask.localizers import BUILT_IN, Localizer
from protomask.localizers.several import Localizers, as_localizers, one_at_a_time
from protomask.localizers.specs import name_of
from protomask.precision import float32_by_default

DEFAULT = ("mdm", "gradcam", "center", "random")
SCORES = {
    "extremal": "logit",
    "chefer": "logit",
    "gradcam": "logit",
    "gradcam++": "logit",
    "layercam": "logit",
    "lrp": "logit",
    "score-cam": "logit",
    "smoothgrad": "logit",
    "igos": "probability",
    "meaningful": "probability",
    "integrated-gradients": "probability",
    "occlusion": "probability",
    "rise": "probability",
}
"""the score that a method was published for, by name; the others explain log-probabilities"""


class JudgedClassifier(Classifier):
    """A classifier by its probabilities, and a second one of the same classes that judges maps made for the first.

    Args:
        explained, judge: the first and the second.
        prepare, judge_prepare: how they want their images.

    Attributes:
        judge_numbers: the judge's number of each class of the first; None where they are numbered alike.
    """

    judge_numbers: tuple[int, ...] | None = None

    def __init__(
        self,
        explained: nn.Module | Classifier,
        prepare: Preprocessing,
        judge: nn.Module | Classifier,
        judge_prepare: Preprocessing,
        *,
        multi_label: bool = False,
    ):
        alone = as_classifier(explained, "probability", prepare, multi_label)
        super().__init__(alone.model, "probability", multi_label=multi_label, mean=prepare.mean, std=prepare.std)
        self._alone = alone
        self.judge = as_classifier(judge, "probability", judge_prepare, multi_label)
        self._size = judge_prepare.image_size

    def logits(self, images: Tensor) -> Tensor:
        """Return the first classifier's logits (B, C), by whatever class it is of."""
        return self._alone.logits(images)

    def judge_score(self, images: Tensor, index: Tensor) -> Tensor:
        """Return the judge's probabilities (B,) of one class per image, normalised for the first network."""
        if self.judge_numbers is not None:
            index = torch.tensor(self.judge_numbers, device=index.device)[index]
        return self.judge.score(self.judge_images(images), index)

    def settings(self) -> dict[str, Any]:
        told = {**self._alone.settings(), "judge": self.judge.settings(), "judge_image_size": self._size}
        return told if self.judge_numbers is None else {**told, "judge_numbers": self.judge_numbers}

    def without_judge(self) -> Classifier:
        """Give the first classifier alone, by its probabilities."""
        return self._alone

    def judge_images(self, images: Tensor) -> Tensor:
        """Turn images that are normalised for the first network into those that the judge wants."""
        mean, std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.mean, self.std))
        own_mean, own_std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.judge.mean, self.judge.std))
        pixels = images * std + mean
        if len(self.mean) == 3 and len(self.judge.mean) == 1:
            pixels = rgb_to_grayscale(pixels)  # as photographs become grey for such a network
        if pixels.shape[-1] != self._size:
            pixels = nn.functional.interpolate(pixels, (self._size, self._size), mode="bilinear", antialias=True)
        return (pixels - own_mean) / own_std


@dataclass(frozen=True)
class PublishedScore:
    """A localizer that explains the kind of score that it was published for, whatever it is measured by."""

    localizer: Localizer
    kind: str

    def __call__(self, explained: Explainable, images: Tensor, index: Tensor, *, progress: bool = False) -> Tensor:
        """See :class:`protomask.localizers.Localizer`."""
        if isinstance(explained, Classifier):
            alone = explained.without_judge() if isinstance(explained, JudgedClassifier) else explained
            explained = alone.with_score(self.kind)
        shown = {"progress": True} if progress else {}  # a function of one's own need not know of it
        return self.localizer(explained, images, index, **shown)


@float32_by_default()
def compare(
    model: nn.Module | Classifier,
    images: object,
    localizers: Localizers = DEFAULT,
    *,
    index: object = None,
    metrics: str | Sequence[str] | None = None,
    judge: nn.Module | Classifier | None = None,
    labels: Labels | None = None,
    preprocessing: object = None,
    judge_preprocessing: object = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    intensity_range: tuple[float, float] | None = None,
    multi_label: bool = False,
    device: str | torch.device | None = None,
    batch_size: int = 8,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure which localizer of a plain classifier to trust.

    >>> found = protomask.compare(model, "photographs/", ["mdm", "gradcam", "rise"])     # doctest: +SKIP
    >>> print(found.table())                                                             # doctest: +SKIP

    Insertion, deletion, average drop, increase, gain and ROAD are measured in probabilities, as published; with boxes
    or masks in the data, or with a judge, their metrics, too. Intervals and verdicts are those of
    :func:`protomask.evaluate`.

    Args:
        model: any classifier, see :func:`protomask.look`.
        images: photographs (:func:`protomask.inputs.read_pictures`), a torch Dataset of (image, label), or one of our
            data sets, whose boxes and masks are used. Boxes of single findings are those of the model's classes of the
            same names; what is assumed or left out, where names are missing or differ, is warned of. A data set's own
            transform gives way to the model's size and normalisation; another size than it was opened for is warned
            of, unless ``image_size`` is given.
        localizers: names separated by commas, settings after a colon; several of them; or localizers by name,
            ``{"mine": MDM(...), "gradcam": "gradcam"}``. Each explains the score that it was published for.
        index: the classes to explain, one for all or one per image; by default the most probable one of each.
        metrics: names out of the evaluation's catalogue; by default the usual ones.
        judge: a second network of the same classes, whose order may differ where both bring names (Hugging Face models
            do). Maps made for ``model`` are measured on it as well:
            judge_insertion, judge_deletion, and judge_kept, the share of its probability that the first 15 % of the
            pixels keep. What a second network confirms is evidence; what only the first one sees may be a pattern of
            its own.
        labels, preprocessing, mean, std, image_size, multi_label, device, batch_size: as for :func:`protomask.look`.
        judge_preprocessing: the judge's, in the same forms.
        intensity_range: of deep grey photographs, see :func:`protomask.inputs.read_pictures`.
        seed: of the bootstrap.
        cache: folder that keeps maps and values; the same call goes on where it was stopped.
        progress: show a bar.

    Raises:
        InputError: no images, unknown names, a judge of other classes, and what :func:`protomask.look` refuses.
    """
    plain, prepare, multi_label = unwrap_classifier(
        model, preprocessing, mean=mean, std=std, image_size=image_size, multi_label=multi_label
    )
    if judge is None:
        explained = as_classifier(model, "probability", prepare, multi_label)
    else:
        plain_judge, other, _ = unwrap_classifier(judge, judge_preprocessing)
        explained = JudgedClassifier(model, prepare, judge, other, multi_label=multi_label)
    where = device_of(plain) if device is None else choose_device(str(device))
    batch_size, seed = as_count(batch_size, "batch_size"), as_count(seed, "seed", 0)
    progress = as_flag(progress, "progress")
    methods = {
        name: PublishedScore(one_at_a_time(each) if batch_size == 1 else each, _score_of(name, each))
        for name, each in as_localizers(localizers).items()
    }
    names = labels_of(plain, labels)
    if isinstance(images, AnnotatedImages) and image_size is None:
        _warn_of_size(images, prepare.image_size)
    data = as_data_set(images, prepare, intensity_range)
    classes, chosen = _classes(explained, data, class_numbers(index, len(data), names), where, batch_size)
    check_labels(labels, names, classes)
    if isinstance(explained, JudgedClassifier):
        _check_judge(explained, data, classes, where)
        explained.judge_numbers = judge_numbers(names, labels_of(plain, None), labels_of(plain_judge, None), classes)
    data = with_model_classes(data, names, classes)
    data.classes = tuple(names.get(number, f"class {number}") for number in range(classes))
    data.labels = chosen
    pairs = Pairs(torch.arange(len(data)), chosen)
    return evaluate(
        explained,
        data,
        methods,
        pairs,
        metrics=metrics,
        seed=seed,
        batch_size=batch_size,
        device=where,
        cache=None if cache is None else as_path(cache, "cache"),
        progress=progress,
    )


def _score_of(name: str, localizer: Localizer) -> str:
    """Give the score to explain: by the localizer's name, or by its class where one calls it as one likes."""
    kind = type(localizer)
    own = [each for each, place in BUILT_IN.items() if f"protomask.localizers.{place}" == _place(kind)]
    name = name_of(name)
    return SCORES.get(name if name in own or not own else own[0], "log-probability")


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _warn_of_size(data: AnnotatedImages, size: int) -> None:
    """Say so where a data set was opened for, or its transform makes, squares of another size than is measured."""
    own = getattr(data, "image_size", None)
    if data.transform is not None and len(data):
        height, width = data[0]["image"].shape[-2:]
        own = height if height == width else None
    if own not in (None, size):
        warnings.warn(
            f"the data set gives images of {own} pixels, and they are measured at {size}, the model's own size; give "
            f"image_size={own} to measure at that, or image_size={size} to leave this out",
            stacklevel=3,
        )


def _classes(
    explained: Classifier, data: AnnotatedImages, wanted: list[int] | None, device: torch.device, batch_size: int
) -> tuple[int, Tensor]:
    """How many classes there are, and the class of each image (n,)."""
    found: list[Tensor] = []
    with torch.no_grad(), frozen(explained):
        for part in torch.arange(len(data)).split(batch_size):
            images = torch.stack([data[place]["image"].as_subclass(Tensor) for place in part.tolist()]).to(device)
            if not found:
                explained.first_probabilities(images[:1])
            logits = require_numbers(explained.logits(images), [data.names[place] for place in part.tolist()])
            found.append(logits.argmax(1).cpu())
            if wanted is not None:
                break
    classes = logits.shape[1]
    if wanted is None:
        return classes, torch.cat(found)
    wrong = [number for number in wanted if not 0 <= number < classes]
    if wrong:
        raise InputError(f"there is no class {wrong[0]}; the model has {classes}, numbered 0 to {classes - 1}")
    return classes, torch.tensor(wanted)


def _check_judge(explained: JudgedClassifier, data: AnnotatedImages, classes: int, device: torch.device) -> None:
    image = data[0]["image"].as_subclass(Tensor)[None].to(device)
    with torch.no_grad(), frozen(explained):
        pixels = torch.zeros(
            1, len(explained.judge.mean), explained._size, explained._size, device=device, dtype=torch.float32
        )
        count = explained.judge.first_probabilities(pixels).shape[1]
        explained.judge_score(image, torch.zeros(1, dtype=torch.long, device=device))
    if count != classes:
        raise InputError(f"the judge has {count} classes and the model {classes}; a judge needs the same classes")
