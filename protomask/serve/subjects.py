"""What the page can be about: a protocol that runs and plain classifiers fulfil, and what both need."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from protomask.errors import NOTHING_TO_KEEP, NothingToKeepWarning
from protomask.explainable import Explainable
from protomask.labels import most_likely
from protomask.localizers import Localizer
from protomask.localizers.calling import checked_maps
from protomask.localizers.engine.watching import Glimpse, watching
from protomask.report.encoding import map_uri, svg_path, whereabouts
from protomask.report.evidence import find_evidence
from protomask.report.overlays import LEVEL
from protomask.report.wording import certainty, localizer_label, shows, spoken
from protomask.serve.pictures import Upload

Masks = Callable[[float, dict[int, dict]], None]
"""called with the share of the work that is done, and with masks by slot"""
Show = Callable[[int, np.ndarray], dict]
"""called with a slot and its mask, gives what the page draws"""
SECONDS = 0.3
"""between two masks that are shown while they grow"""


@dataclass(eq=False)
class Asked:
    """Hold one picture that the page asked about, and all that was found."""

    upload: Upload
    images: Tensor
    """(1, C, H, W), as the model wants it"""
    index: list[int] = field(default_factory=list)
    """per slot the prototype or class whose mask is shown there"""
    found: list[Any] = field(default_factory=list)
    """the explanations, for the panel"""
    others: list[dict] = field(default_factory=list)
    """name and probability of what was found, too, and has no explanation"""
    maps: dict[int, np.ndarray] = field(default_factory=dict)
    """slot to the learned mask"""
    quick: dict[int, np.ndarray] = field(default_factory=dict)
    """slot to the map that was shown first, of a plain classifier"""
    empty: set[int] = field(default_factory=set)
    """slots whose score is no higher than an empty image's: nothing is outlined there"""


class Subject(Protocol):
    """Answer what the page asks; everything is called in the worker's thread."""

    def about(self) -> dict:
        """Say what is served: title, classes, kind, how masks are made."""
        ...

    def read(self, name: str, content: bytes) -> Asked:
        """Read an upload; InputError where it is no picture."""
        ...

    def answer(self, asked: Asked) -> dict:
        """Predict and explain, as far as it takes no learning; fills ``asked.index``."""
        ...

    def learn(self, asked: Asked, tell: Masks, pause: Callable[[], None]) -> None:
        """Learn the masks; ``pause`` is called after each step and may raise."""
        ...

    def look_again(self, asked: Asked, images: Tensor) -> dict:
        """Score changed images beside the ones that were asked about."""
        ...

    def panel(self, asked: Asked) -> bytes:
        """Draw what was found, PNG."""
        ...


def outlines(localizer: str, kind: str, quick: str, pooled: bool = False) -> dict[str, Any]:
    """Say whose the outlines and the glow are and what they show, for :meth:`Subject.about`.

    Args:
        quick: what makes the maps that are shown first, and as a glow.
        kind, pooled: as for :func:`shows`.
    """
    return {
        "localizer": localizer_label(localizer),
        "shows": shows(localizer, kind, pooled),
        "glow": {"name": spoken(quick), "shows": shows(quick, kind, pooled)},
    }


def drawn(
    saliency: np.ndarray, size: tuple[int, int], level: float | None = None, nothing_to_keep: bool = False
) -> dict:
    """Give a map as the page draws it: colours, outline, words.

    Args:
        size: (width, height) of the picture.
        level: as for :func:`protomask.report.evidence.find_evidence`, and so is ``nothing_to_keep``.
    """
    width, height = size
    found = find_evidence(saliency, LEVEL if level is None else level, (height, width), nothing_to_keep)
    absence = NOTHING_TO_KEEP if nothing_to_keep else "nothing small stands out"
    return {
        "map": map_uri(saliency),
        "outline": svg_path(found),
        "size": [width, height],
        "where": whereabouts(found) if found.compact else absence,
    }


class MaskLearner:
    """Learn the masks of a picture, and tell how far that is by how many steps it took the last time.

    Args:
        explained: the network or classifier.
        localize: what learns the masks.
        name: of the localizer, for errors.
    """

    def __init__(self, explained: Explainable, localize: Localizer, name: str) -> None:
        self.explained, self.localize, self.name = explained, localize, name
        self.total: int | None = None
        self.made = 0

    def try_once(self, images: Tensor) -> None:
        """Learn a mask of ``images`` (1, C, H, W) and forget it: the number of steps is known then."""
        self._learn(images, [0], lambda *_: {}, lambda *_: None, lambda: None)

    def learn(self, asked: Asked, tell: Masks, pause: Callable[[], None]) -> None:
        """Learn the masks of all slots into ``asked.maps``; tell of them while they grow, and at the end."""

        def show(slot: int, saliency: np.ndarray) -> dict:
            return drawn(saliency, asked.upload.size, nothing_to_keep=slot in asked.empty)

        maps = self._learn(asked.images, asked.index, show, tell, pause)
        asked.maps = dict(enumerate(maps.float().cpu().numpy()))
        tell(1.0, {slot: show(slot, found) for slot, found in asked.maps.items()})

    def _learn(self, images: Tensor, index: list[int], show: Show, tell: Masks, pause: Callable[[], None]) -> Tensor:
        with warnings.catch_warnings(), self._watched(show, tell, pause):
            # The words beside the mask say that there is nothing to keep.
            warnings.simplefilter("ignore", NothingToKeepWarning)
            where = torch.tensor(index, device=images.device)
            each = images.expand(len(index), -1, -1, -1)
            return checked_maps(self.localize, self.explained, each, where, self.name)

    @contextmanager
    def _watched(self, show: Show, tell: Masks, pause: Callable[[], None]) -> Iterator[None]:
        """Tell of each step made meanwhile, and now and then of the masks so far."""
        self.made, last = 0, time.monotonic()

        def watch(glimpse: Glimpse) -> None:
            nonlocal last
            self.made += 1
            pause()
            if time.monotonic() - last < SECONDS:
                return
            share = min(0.99, self.made / self.total) if self.total else 0.0
            masks = {
                place: show(place, mask.float().cpu().numpy())
                for place, mask in zip(glimpse.position.tolist(), glimpse.masks())
            }
            tell(share, masks)
            last = time.monotonic()

        with watching(watch):
            yield
        self.total = self.made


def most_probable(chances: Tensor, names: Callable[[int], str], count: int = 5) -> list[dict]:
    """List the most probable of ``chances`` (C,), best first."""
    numbers = most_likely(chances, count).tolist()
    return [{"name": names(number), "probability": chances[number].item()} for number in numbers]


def others_in_words(others: Sequence[dict]) -> str:
    """Say what else was found, ``Asked.others``; empty where nothing was."""
    named = ", ".join(f"{each['name']} ({certainty(each['probability'], 0)})" for each in others)
    return named and f"Also found, without a picture here: {named}"


def compare_chances(before: Tensor, after: Tensor, names: Sequence[str], several: bool = False) -> list[dict]:
    """List the classes that are the most probable ones before or after, with both probabilities, (C,) each.

    Args:
        several: each class is a question of its own; all that are found before or after are listed.
    """
    numbers = dict.fromkeys([*most_likely(before, 3).tolist(), *most_likely(after, 1).tolist()])
    if several:
        found = torch.maximum(before, after).sort(descending=True, stable=True)
        numbers.update(dict.fromkeys(found.indices[found.values > 0.5].tolist()))
    return [
        {"name": names[number], "before": before[number].item(), "after": after[number].item()} for number in numbers
    ]


def blank_images(side: int, channels: int, device: torch.device) -> Tensor:
    """Make a picture of noise, to try everything once before anybody waits."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, side, side, generator=generator, dtype=torch.float32).sub(0.5).to(device)
