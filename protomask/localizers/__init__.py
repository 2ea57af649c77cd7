"""Localizers by name, with settings where wanted.

A built-in is imported on first use. Another package adds its own through an entry point of the group
``protomask.localizers``: ``name = package.module:ClassOrObject``; a class is called without arguments.

Wherever a localizer is named, settings may follow: ``mdm:damping=1,seed=3`` (:mod:`protomask.localizers.specs`).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from protomask.errors import InputError, did_you_mean, type_named
from protomask.localizers.specs import name_of, settings_of, split_specs, with_settings
from protomask.registered import find_registered, is_ours, load_registered, origin_of

if TYPE_CHECKING:
    from protomask.localizers.base import Localizer

GROUP = "protomask.localizers"
_SIGNS = "[:,=]"
"""with which settings and lists of localizers are written"""
BUILT_IN = {
    "mdm": "mdm:MDM",
    "hdm": "hdm:HDM",
    "neuromask": "neuromask:NeuroMask",
    "similarity": "similarity:Similarity",
    "distilled": "distilled:Distilled",
    "mdm-published": "published:published_mdm",
    "hdm-published": "published:PublishedHDM",
    "meaningful": "meaningful:MeaningfulPerturbation",
    "extremal": "extremal:ExtremalPerturbation",
    "igos": "igos:IGOS",
    "random": "baselines:RandomMap",
    "center": "baselines:CenterMap",
    "gradcam": "gradcam:GradCAM",
    "gradcam++": "gradcam:GradCAMPlusPlus",
    "layercam": "layercam:LayerCAM",
    "score-cam": "scorecam:ScoreCAM",
    "rise": "rise:RISE",
    "occlusion": "captum_methods:Occlusion",
    "integrated-gradients": "captum_methods:IntegratedGradients",
    "smoothgrad": "captum_methods:SmoothGrad",
    "lrp": "relevance:LRP",
    "prp": "relevance:LRP",
    "attention-rollout": "attention:AttentionRollout",
    "chefer": "attention:Chefer",
    "receptive-field": "receptive:ReceptiveField",
}
"""name -> module:class within this package; ours first, then baselines, then the methods to compare with"""

_SETTINGS = ("Cascade", "Destroy", "Fusion", "Keep", "Order", "Runtime", "Views")
_HOMES = {
    "Localizer": "base",
    **dict.fromkeys(_SETTINGS, "settings"),
    **{place.split(":")[1]: place.split(":")[0] for place in BUILT_IN.values()},
}
_KINDS: list[object] = []
"""classes and functions of the registered localizers that were loaded, but for ours"""
__all__ = [*sorted(_HOMES), "as_localizer", "get_localizer", "get_localizers", "localizer_names", "split_specs"]


def localizer_names() -> list[str]:
    """List every name that :func:`get_localizer` knows: the built-ins, then the registered ones."""
    return list(BUILT_IN) + sorted({point.name for point in _registered() if _can_be_given(point)} - set(BUILT_IN))


def get_localizer(spec: str) -> Localizer:
    """Make the localizer of that name, with its default settings but for those that follow the name.

    >>> get_localizer("mdm:damping=1,keep.steps=8,seed=3")
    MDM(keep=Keep(steps=8), order=Order(damping=1.0), runtime=Runtime(seed=3))

    Args:
        spec: ``name`` or ``name:setting=value,...``, as in :func:`protomask.localizers.specs.with_settings`.

    Raises:
        InputError: an unknown name, setting or value; a registered localizer that cannot be loaded, or whose name
            another package has, too.
    """
    if not isinstance(spec, str):
        raise InputError(f"a localizer's name is a text, not {type(spec).__name__}; give one of {', '.join(BUILT_IN)}")
    name = name_of(spec)
    return with_settings(_plain(name), settings_of(spec), name)


def as_localizer(given: object) -> Localizer:
    """Give the localizer of a name, or a localizer as it is.

    Raises:
        InputError: as :func:`get_localizer`; a class, or anything else that cannot be called with images.
    """
    if isinstance(given, str):
        return get_localizer(given)
    if isinstance(given, type):
        raise InputError(f"localizer {given.__name__} is a class; give one of its objects, {given.__name__}()")
    if not callable(given):
        raise InputError(f"localizer is {type_named(given)}; give a name, or something that is called as they are")
    return given


def get_localizers(
    words: str | Iterable[str], beside: Mapping[str, Callable[[], Localizer]] | None = None
) -> dict[str, Localizer]:
    """Make every localizer of a list: ``{"mdm:damping=1": MDM(...), "similarity": ...}``.

    Args:
        words: localizers separated by commas (:func:`split_specs`), or several strings.
        beside: further names, and what makes the localizer of each; settings may follow them, too.

    Raises:
        InputError: as :func:`get_localizer`; the list is empty; or a localizer lacks a file that it needs.
    """
    beside = beside or {}
    specs = split_specs(words)
    if not specs:
        raise InputError("no localizer is named; give names separated by commas, for example mdm,similarity")
    found = {spec: _made(spec, beside) for spec in specs}
    for each in found.values():
        opened = getattr(each, "opened", None)  # of those that need a file; without it they are no use
        if callable(opened):
            opened()
    return found


def _made(spec: str, beside: Mapping[str, Callable[[], Localizer]]) -> Localizer:
    name = name_of(spec)
    return with_settings(beside[name](), settings_of(spec), name) if name in beside else get_localizer(spec)


def _plain(name: str) -> Localizer:
    place = BUILT_IN.get(name)
    points = _registered()
    point = find_registered(points, name, "localizer", None if place is None else f"{__name__}.{place}")
    if place is not None:
        module, _, attribute = place.partition(":")
        return getattr(import_module(f"{__name__}.{module}"), attribute)()
    if point is not None:
        return _load(point)
    for each in points:
        if not _can_be_given(each) and name == re.split(_SIGNS, each.name)[0].strip():
            raise InputError(
                f"localizer {name[:80]!r} is unknown, and {each.name!r} of {origin_of(each)} cannot be given, as "
                "settings and lists are written with ':', ',' and '='; have it registered under a name without these"
            )
    known = localizer_names()
    raise InputError(f"localizer {name[:80]!r} is unknown; choose from {', '.join(known)}{did_you_mean(name, known)}")


def is_registered(localizer: object) -> bool:
    """Tell whether a localizer, or the one that it wraps, is of a kind that was loaded from another package's entry
    point."""
    wrapped = getattr(localizer, "localizer", None)
    return any(kind is localizer or kind is type(localizer) for kind in _KINDS) or (
        callable(wrapped) and is_registered(wrapped)
    )


def _registered() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _can_be_given(point: EntryPoint) -> bool:
    return not re.search(_SIGNS, point.name)


def _load(point: EntryPoint) -> Localizer:
    localizer = load_registered(point, "localizer", lambda found: found() if isinstance(found, type) else found)
    if not callable(localizer):
        raise InputError(f"localizer {point.name!r} ({point.value}) is no localizer: it cannot be called")
    # Of a class of Python's own, as functools.partial is, other people's localizers may be, too.
    shared = inspect.isroutine(localizer) or type(localizer).__module__.partition(".")[0] in sys.stdlib_module_names
    kind = localizer if shared else type(localizer)
    # A package may register one of ours with settings of its own: the others of that class stay ours.
    if not is_ours(kind) and not any(kind is each for each in _KINDS):
        _KINDS.append(kind)
    return localizer


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
