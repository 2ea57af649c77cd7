"""What the scores of a model depend on, in a few digits: its weights, its settings and its code."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

from torch import nn

from protomask import explainable
from protomask.capabilities import HasJudge
from protomask.code_digests import OWN, code_digest, digest_of, is_foreign, top_of
from protomask.explainable import Classifier, Explainable
from protomask.fingerprints import fingerprint
from protomask.freezing import held_modules
from protomask.held_contents import contents_of_scores
from protomask.prototype_network import PrototypeNetwork

CALLED = ("capabilities", "labels", "places", "precision", "prototype_network")
"""modules that take part in scores though nothing explained need be of a class of theirs, beside ``explainable``"""


def fingerprint_of_scores(explained: object) -> str | None:
    """Digest what is explained by its weights and by all that its scores depend on beside them.

    That is its settings, what its layers hold that their repr does not show, and the code of kinds that are neither of
    this package nor of a library. What a pass writes into a layer, its mode, device and hooks do not count. This
    package's own code does not either, so that what took long to learn from the scores outlives an upgrade; what was
    computed of them is told by :func:`code_of_scores`, too.

    Returns:
        None without weights, and where something is held of which nobody knows what it depends on.
    """
    weights = fingerprint(explained)
    if weights is None:
        return None
    saved = _settings(explained)
    said = repr(explained) if saved is None else saved
    foreign = is_foreign(type(explained))
    told = " at 0x" not in said
    # The settings of a network of ours make all of its layers but those that are somebody's own.
    made = saved is not None and isinstance(explained, PrototypeNetwork) and not foreign
    held = contents_of_scores(explained, opened=foreign or not told, foreign_alone=made)
    parts = _parts(explained)
    if held is None or parts is None:
        return None
    return f"{weights}-{digest_of([said if told else type(explained).__qualname__, *held, *parts])}"


def code_of_scores(explained: object) -> str:
    """Digest the code of this package that the scores of ``explained`` come from.

    That is the code of the kinds of ours that it and its layers are of or inherit from, with the package or room that
    each lies in, and of what these call. What files said when it was first asked for stays so in a process, which goes
    on with the code that it has loaded.
    """
    layers = [layer for root in held_modules(explained) for layer in root.modules()]
    kinds = {kind for each in {type(explained), *map(type, layers)} for kind in each.__mro__ if top_of(kind) in OWN}
    rooms = {".".join(kind.__module__.split(".")[: 2 if top_of(kind) == "protomask" else 1]) for kind in kinds}
    return digest_of([_code_called(), *map(_code_of_room, sorted(rooms))])


@cache
def _code_of_room(name: str) -> str:
    return code_digest(sys.modules[name])


@cache
def _code_called() -> str:
    return code_digest(explainable, [Path(__file__).with_name(f"{name}.py") for name in CALLED])


def _parts(explained: object) -> list[str] | None:
    """Digest, too, the two networks that scores are of where one judges the other: each may be of somebody's own class,
    which the settings of both together do not tell."""
    found: list[str] = []
    if isinstance(explained, HasJudge):
        for each in (explained.without_judge(), getattr(explained, "judge", None)):
            if isinstance(each, Explainable | nn.Module) and each is not explained:
                own = fingerprint_of_scores(each)
                if own is None:
                    return None
                found.append(own)
    return found


def _settings(explained: object) -> str | None:
    if not isinstance(explained, Classifier | PrototypeNetwork):
        return None
    try:
        return json.dumps(explained.settings(), sort_keys=True, default=repr)  # tuples as the lists of a saved one
    except NotImplementedError:  # of a network that cannot be saved
        return None
