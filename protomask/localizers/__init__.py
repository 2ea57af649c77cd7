"""Localizers by name: where in an image does a score come from?

A built-in is imported on first use. Another package adds its own through an entry point of the group
``protomask.localizers``: ``name = package.module:ClassOrObject``; a class is called without arguments.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from protomask.errors import InputError

if TYPE_CHECKING:
    from protomask.localizers.base import Localizer

GROUP = "protomask.localizers"
BUILT_IN = {
    "mdm": "mdm:MDM",
    "hdm": "hdm:HDM",
    "neuromask": "neuromask:NeuroMask",
    "similarity": "similarity:Similarity",
    "meaningful": "meaningful:MeaningfulPerturbation",
    "extremal": "extremal:ExtremalPerturbation",
    "random": "baselines:RandomMap",
    "center": "baselines:CenterMap",
    "gradcam": "gradcam:GradCAM",
    "score-cam": "scorecam:ScoreCAM",
    "rise": "rise:RISE",
    "occlusion": "captum_methods:Occlusion",
    "integrated-gradients": "captum_methods:IntegratedGradients",
    "smoothgrad": "captum_methods:SmoothGrad",
    "receptive-field": "receptive:ReceptiveField",
}
"""name -> module:class within this package; ours first, then baselines, then the methods to compare with"""

_HOMES = {"Localizer": "base", **{place.split(":")[1]: place.split(":")[0] for place in BUILT_IN.values()}}
__all__ = [*sorted(_HOMES), "get_localizer", "localizer_names"]


def localizer_names() -> list[str]:
    """Every name that :func:`get_localizer` knows: the built-ins, then the registered ones."""
    return list(BUILT_IN) + sorted({point.name for point in _registered()} - set(BUILT_IN))


def get_localizer(name: str) -> Localizer:
    """The localizer of that name, with its default settings.

    Raises:
        InputError: no localizer has that name, or a registered one cannot be loaded.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(f"{__name__}.{module}"), attribute)()
    for point in _registered():
        if point.name == name:
            return _load(point)
    raise InputError(f"localizer {name!r} is unknown; choose from {', '.join(localizer_names())}")


def _registered() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _load(point: EntryPoint) -> Localizer:
    try:
        found = point.load()
        localizer = found() if isinstance(found, type) else found
    except Exception as error:
        raise InputError(
            f"localizer {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
            "mend or uninstall the package that registers it"
        ) from error
    if not callable(localizer):
        raise InputError(f"localizer {point.name!r} ({point.value}) is no localizer: it cannot be called")
    return localizer


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
