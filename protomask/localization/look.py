"""Look where a plain classifier looks: from a photograph to an overlay in one call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from protomask.devices import choose_device
from protomask.errors import NOTHING_TO_KEEP, InputError, NothingToKeepWarning
from protomask.evaluation.pairs import device_of
from protomask.explainable import Classifier
from protomask.freezing import frozen
from protomask.given import as_count, as_flag
from protomask.inputs import Picture, are_several, read_pictures
from protomask.localization.class_names import Labels, check_labels, class_numbers, labels_of
from protomask.localization.empty_image import nothing_to_keep
from protomask.localization.preprocessing import own_statistics, preprocessing_of
from protomask.localization.result import Look
from protomask.localizers import Localizer, as_localizer
from protomask.localizers.calling import checked_maps
from protomask.localizers.several import one_at_a_time
from protomask.warned import named_maps


def look(
    model: nn.Module | Classifier,
    pictures: object,
    *,
    index: object = None,
    localizer: str | Localizer = "mdm",
    labels: Labels | None = None,
    preprocessing: object = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    intensity_range: tuple[float, float] | None = None,
    multi_label: bool = False,
    score: str = "log-probability",
    device: str | torch.device | None = None,
    batch_size: int = 8,
    progress: bool = False,
) -> Look | list[Look]:
    """Find where a classifier looks in photographs.

    >>> found = protomask.look(model, "bird.jpg")                               # doctest: +SKIP
    >>> found.class_name, found.probability, found.save("overlay.png")          # doctest: +SKIP

    Args:
        model: any classifier: an ``nn.Module`` that gives logits, or a :class:`protomask.Classifier`. Left as it was.
        pictures: one photograph or many, see :func:`protomask.inputs.read_pictures`.
        index: the class to explain: its number, or its name where ``labels`` are known; one for all or one per picture.
            By default the most probable one of each picture.
        localizer: a name with settings (``"mdm:damping=1"``) or a localizer.
        labels: the classes' names; Hugging Face models bring their own.
        preprocessing, mean, std, image_size: see :func:`protomask.localization.preprocessing.preprocessing_of`.
        intensity_range: of deep grey images, see :func:`protomask.inputs.read_pictures`.
        multi_label, score: see :class:`protomask.Classifier`.
        device: by default where the model is.
        batch_size: photographs localised together; 1 for a model that takes one image at a time.
        progress: show a bar.

    Returns:
        A :class:`Look`, or a list of them where any number of pictures was given (a list, a set, a generator, a batch,
        a folder).

    Raises:
        InputError: pictures that cannot be read, a class that does not exist, an unknown normalisation, a model that
            gives no logits.
    """
    several, found = are_several(pictures), read_pictures(pictures, intensity_range)
    progress = as_flag(progress, "progress")
    if isinstance(model, Classifier):
        if as_flag(multi_label, "multi_label") or score != "log-probability":
            raise InputError(
                "multi_label and score are the Classifier's own; give them to it, or give look the bare model"
            )
        explained = model
        mean, std = own_statistics(model, preprocessing, mean, std)
    else:
        explained = Classifier(model, score, multi_label=multi_label)
    prepare = preprocessing_of(explained.model, preprocessing, mean=mean, std=std, image_size=image_size)
    explained = explained.with_normalisation(prepare.mean, prepare.std)
    batch_size = as_count(batch_size, "batch_size")
    method = as_localizer(localizer)
    if batch_size == 1:
        method = one_at_a_time(method)
    names = labels_of(explained.model, labels)
    wanted = class_numbers(index, len(found), names)
    where = device_of(explained.model) if device is None else choose_device(str(device))
    looks: list[Look] = []
    for start in range(0, len(found), batch_size):
        part = found[start : start + batch_size]
        images = prepare([picture.pixels for picture in part]).to(where)
        chosen = None if wanted is None else torch.tensor(wanted[start : start + batch_size], device=where)
        title = localizer if isinstance(localizer, str) else type(localizer).__name__.lower()
        looks += _look_at(explained, part, images, chosen, method, title, names, labels, progress)
    return looks if several else looks[0]


def _look_at(
    explained: Classifier,
    part: Sequence[Picture],
    images: Tensor,
    chosen: Tensor | None,
    method: Localizer,
    title: str,
    names: Mapping[int, str],
    labels: Labels | None,
    progress: bool,
) -> list[Look]:
    with torch.no_grad(), frozen(explained):
        chances = explained.first_probabilities(images)
        check_labels(labels, names, chances.shape[1])
        if not chances.isfinite().all():
            raise InputError(
                f"{type(explained.model).__name__} gives probabilities that are no numbers; check its weights"
            )
        index = chances.argmax(1) if chosen is None else chosen
    without = nothing_to_keep(explained, images, index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToKeepWarning)  # said below, with the pictures' names
        shown: dict[str, Any] = {"progress": True} if progress else {}  # a function of one's own need not know of it
        with named_maps(lambda place: f"{part[place].name}, class {int(index[place])}"):
            maps = checked_maps(method, explained, images, index, title, **shown).cpu().numpy()
    looks = []
    for place, picture in enumerate(part):
        number = int(index[place])
        warning = NOTHING_TO_KEEP if without[place] else None
        name = names.get(number, f"class {number}")
        if warning is not None:
            warnings.warn(f"{picture.name}, {name}: {warning}", stacklevel=3)
        looks.append(
            Look(picture.name, picture.pixels, number, name, chances[place, number].item(), maps[place], title, warning)
        )
    return looks
