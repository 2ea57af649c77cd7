"""Localizers as commands and functions call them: with tensors of their own, and errors that name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from torch import Tensor

from protomask.explainable import Explainable
from protomask.localizers import is_registered
from protomask.localizers.base import check_maps
from protomask.registered import told_in_one_line


def call_localizer(
    localizer: Callable, explained: Explainable, images: Tensor, index: Tensor, name: str, **shown: bool
) -> object:
    """Call a localizer; what it changes in the images or the index stays within it.

    Args:
        localizer, explained, images, index: see :class:`protomask.localizers.Localizer`.
        name: of the localizer.
        shown: ``progress``, where it is asked for.

    Returns:
        Whatever it gives.

    Raises:
        InputError: as the localizer does; one that another package registers fails, or the model within it.
    """
    # Those that are called after it get the same tensors; of what it does by .numpy() or .data no tensor tells.
    own = images.detach().clone(), index.detach().clone()
    told = told_in_one_line(f"localizer {name!r}", "mend it, or the model that it asks")
    with told if is_registered(localizer) else nullcontext():
        return localizer(explained, *own, **shown)


def checked_maps(
    localizer: Callable,
    explained: Explainable,
    images: Tensor,
    index: Tensor,
    name: str,
    names: Sequence[str] = (),
    **shown: bool,
) -> Tensor:
    """Call a localizer as :func:`call_localizer` does, and check its maps (B, H, W) as
    :func:`protomask.localizers.base.check_maps` does."""
    return check_maps(call_localizer(localizer, explained, images, index, name, **shown), images, name, names)
