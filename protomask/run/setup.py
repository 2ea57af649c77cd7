"""From options to data and device: what every run starts with."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from protomask import distributed
from protomask.capabilities import ChoosesAmongPatches, HasBackbone
from protomask.data import AnnotatedImages, Splits, find_data, from_datasets, load_data, reopen_data
from protomask.data.contents import data_change
from protomask.data.folder import SHARE
from protomask.data.geometry import boxes_of_class
from protomask.data.images import Sample
from protomask.data.splitting import findings_by_combination
from protomask.data.transforms import evaluation_transform, training_transform
from protomask.devices import choose_device as choose_device
from protomask.errors import InputError
from protomask.given import short
from protomask.localizers import Localizer, get_localizers
from protomask.localizers.several import Localizers, as_localizers
from protomask.networks import ask_network
from protomask.options import CompleteOptions, Options
from protomask.prototype_network import PrototypeNetwork
from protomask.run.measures import last_projection
from protomask.training import Action, Epochs, TrainingSet
from protomask.training.black_box import black_box_stages
from protomask.training.stages import with_rate

_LOG = logging.getLogger("protomask")
IN_MEMORY = "datasets"
"""the word for data that were given as Datasets, in the options of a run"""
LOOKED_AT = 32
"""images that are asked whether there are boxes or masks"""
DATA_DEFAULTS: dict[str | None, dict[str, Any]] = {
    "parts": {"backbone": "test_resnet", "features": 16, "image_size": 96, "epochs": 8, "workers": 1},
    None: {
        "backbone": "resnet18",
        "image_size": 224,
        "workers": max(1, min(8, (os.cpu_count() or 1) - 1)),
        "balance": False,
    },
}


def complete(options: Options) -> CompleteOptions:
    """Fill in every ``None`` that data set and recipe decide."""
    filled = {
        **ask_network(options.network, "defaults", Mapping, options),
        **DATA_DEFAULTS[None],
        **DATA_DEFAULTS.get(options.data, {}),
    }
    known = {name: value for name, value in options.to_mapping().items() if value is not None}
    return CompleteOptions(**{**options.to_mapping(), **filled, **known})


def open_data(
    options: Options, data: Any = None, classes: Sequence[str] | None = None, *, again: bool = False
) -> Splits:
    """Open the data set; of several processes the first one before the others, who then find its cache.

    Args:
        data: torch Datasets (train, test), one to take test images from, or splits; None: the options name the data.
        classes: their names, for Datasets that do not know them.
        again: for a run that exists, which may have been started with a crop that did nothing.

    Raises:
        InputError: as :func:`protomask.data.load_data` and ``from_datasets``; Datasets are needed but not given.
    """
    if data is not None:
        return _splits(data, classes, options)
    if options.data == IN_MEMORY:
        raise InputError("the data are Datasets in memory; give them: data=(train, test)")

    def load() -> Splits:
        return (reopen_data if again else load_data)(
            options.data,
            options.root,
            crop=options.crop,
            validation=options.validation,
            seed=0,
            image_size=options.image_size,
            **data_options(options),
        )

    return distributed.only_first(load) or load()


def reopen_data_of(
    known: Mapping[str, Any],
    options: Options,
    data: Any = None,
    classes: Sequence[str] | None = None,
    *,
    together: bool = False,
) -> Splits:
    """Open the data of a run that exists, drawn as its version drew images with several findings.

    Args:
        known: what the run's ``config.json`` knows of its data.
        options, data, classes: as for :func:`open_data`.
        together: all processes of a job are here, and the first one reads the images for all.

    Raises:
        InputError: as :func:`open_data`; that they are other data is for :func:`data_change` to say.
    """
    splits = open_data(options, data, classes, again=True)

    def differ(found: Splits) -> bool:
        if together:
            return distributed.from_first(bool(distributed.only_first(lambda: data_change(known, found))))
        return bool(data_change(known, found))

    if splits.train.multi_label and differ(splits):
        with findings_by_combination():
            older = open_data(options, data, classes, again=True)
        return splits if differ(older) else older
    return splits


def data_options(options: Options) -> dict[str, Any]:
    """Give the options that only some data sets have.

    Raises:
        InputError: a share of test images, where the data set has its own.
    """
    found: dict[str, Any] = {}
    if options.intensity_range is not None:
        found["intensity_range"] = options.levels()
    if options.test_share is not None:
        if "test" not in inspect.signature(find_data(options.data)).parameters:
            raise InputError(
                f"test_share is given, but data set {options.data!r} has test images of its own; leave it out"
            )
        found["test"] = options.test_share
    columns = {name: getattr(options, name) for name in ("image_column", "label_column")}
    return found | {name: column for name, column in columns.items() if column is not None}


def plan_of(network: PrototypeNetwork, options: CompleteOptions) -> list[Epochs | Action]:
    """Give the recipe's stages for a network, with the learning rate that was asked for.

    Raises:
        InputError: the recipe shall rest the backbone, and this kind of network trains it.
    """
    stages = with_rate(ask_network(options.network, "stages", Sequence, network, options), options.lr)
    if options.recipe == "frozen" and any("backbone" in stage.rates for stage in stages if isinstance(stage, Epochs)):
        raise InputError(f"network {options.network!r} has no recipe that leaves the backbone frozen; choose another")
    return stages


def check_fit(network: PrototypeNetwork, options: CompleteOptions, train: AnnotatedImages) -> None:
    """Check that network, its recipe and data have what the training and its options ask of them.

    Raises:
        InputError: they have not.
    """
    if options.recipe == "frozen" and not isinstance(network, HasBackbone):
        raise InputError(f"network {options.network!r} has no backbone to freeze; choose another recipe")
    check_findings(network, train)
    if options.evidence is not None and network.evidence != options.evidence:
        raise InputError(
            f"evidence is {options.evidence}, but network {options.network!r} knows {network.evidence} evidence alone; "
            "leave it out"
        )
    stages = plan_of(network, options)
    last_projection(stages)
    if options.black_box and not hasattr(network, "backbone"):
        raise InputError(
            f"network {options.network!r} has no backbone that a plain classifier shares; leave black_box out"
        )
    if options.black_box:
        black_box_stages(stages)
    if not options.on_object:
        return
    if not isinstance(network, ChoosesAmongPatches):
        raise InputError(
            f"on_object is for networks that choose among patches, as protopnet and xprotonet, not {options.network}; "
            "leave it out"
        )
    for stage in stages:
        if isinstance(stage, Epochs) and not _takes_patches(stage.objective):
            raise InputError(
                f"on_object: what network {options.network!r} minimises in stage {stage.name!r} is not told which "
                "patches are on the object (its fourth argument); leave on_object out"
            )
    if train.multi_label:
        raise InputError("on_object is for one class per image, and these images have findings; leave it out")
    looked = range(min(LOOKED_AT, len(train)))
    if not any("mask" in sample or len(_own_boxes(sample)) for sample in map(train.read, looked)):
        whose = " of their own class" if any("box_labels" in sample for sample in map(train.read, looked)) else ""
        raise InputError(
            f"on_object needs boxes or object masks, and the first {len(looked)} training images have none{whose}; "
            "leave it out"
        )
    patch = network.prototypes.shape[2:] or (1, 1)
    if all(cells <= side for cells, side in zip(network.grid, patch)):
        raise InputError(
            f"on_object chooses among patches, and a feature map of {' x '.join(map(str, network.grid))} has a single "
            "one; raise image_size, take a finer feature map (features), or leave on_object out"
        )


def check_findings(network: PrototypeNetwork, train: AnnotatedImages) -> None:
    """Raise InputError where one of network and data has any number of findings per image, and the other one class."""
    if train.multi_label != network.multi_label:
        kinds = {True: "any number of findings per image", False: "one class per image"}
        raise InputError(
            f"the data have {kinds[train.multi_label]}; the network was made for {kinds[network.multi_label]} "
            "(multi_label=)"
        )


def _own_boxes(sample: Sample) -> Tensor:
    return boxes_of_class(sample["boxes"], sample.get("box_labels"), sample["label"])


def _takes_patches(objective: Callable[..., Any]) -> bool:
    try:
        inspect.signature(objective).bind("network", "images", "labels", "patches")
    except TypeError:
        return False
    except ValueError:  # Python cannot tell
        return True
    return True


def _splits(data: Any, classes: Sequence[str] | None, options: Options) -> Splits:
    if isinstance(data, Splits):
        return data
    # A list of many (image, label) is one data set; two or three things are the splits.
    several = isinstance(data, tuple) or (isinstance(data, list) and len(data) <= 3)
    given = tuple(data) if several else (data,)
    if not 1 <= len(given) <= 3:
        what = f"a {type(data).__name__} of {len(given)}" if given else "empty"
        raise InputError(f"data is {what}; give (train, test) or (train, test, validation)")
    others = {"validation": given[2]} if len(given) == 3 else {"validation": options.validation}
    if options.test_share is not None and len(given) > 1:
        raise InputError("test_share is given, but so are test images; leave out one of them")
    if classes is not None and not isinstance(classes, Iterable):
        raise InputError(f"classes is {short(classes)}; give the classes' names, as a list of texts")
    test = given[1] if len(given) > 1 else SHARE if options.test_share is None else options.test_share
    return from_datasets(given[0], test, classes=classes, seed=0, **others)


def training_set(
    options: CompleteOptions, splits: Splits, network: PrototypeNetwork, device: torch.device, progress: bool
) -> TrainingSet:
    evaluation = evaluation_transform(options.image_size, network.mean, network.std)
    strength = "official" if options.recipe == "official" else "default"
    train = splits.train.with_transform(
        training_transform(options.image_size, network.mean, network.std, strength=strength)
    )
    return TrainingSet(
        train=train if options.repeat == 1 else train.subset(torch.arange(len(train)).repeat(options.repeat)),
        plain=splits.train.with_transform(evaluation),
        validation=splits.validation.with_transform(evaluation),
        device=device,
        batch_size=options.batch_size,
        precision=options.precision,
        workers=options.workers,
        seed=options.seed,
        progress=progress and distributed.is_first(),
        balance=options.balance,
        on_object=options.on_object,
        memory=options.memory,
    )


def pictures_localizers(
    given: Localizers, beside: Mapping[str, Callable[[], Localizer]] | None = None
) -> dict[str, Localizer]:
    """Give the localizers named, and the similarity map beside them; ``beside`` as for :func:`as_localizers`.

    Raises:
        InputError: an unknown name, or none.
    """
    return {**as_localizers(given, beside), **get_localizers("similarity")}


def say(text: str) -> None:
    """Log a line for the person at the terminal, once of several processes; the command line shows it."""
    if distributed.is_first():
        _LOG.info(text.removeprefix("protomask: "))
