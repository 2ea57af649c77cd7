"""The plan that the default recipes share: learn, project, let the features settle around the prototypes, project."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from protomask.errors import InputError
from protomask.options import Options
from protomask.projection import project
from protomask.training.stages import Action, Epochs, Objective, warm_up_cosine

FROZEN_EPOCHS = 24
"""of a frozen backbone, each about a second"""


def joint_and_settle(
    epochs: int,
    objective: Objective,
    rates: Mapping[str, float],
    decay: Mapping[str, float],
    between: Action | None = None,
    times: int = 1,
) -> list[Epochs | Action]:
    """Plan ``epochs`` epochs in two halves, each ended by a projection to distinct patches (ours).

    First all of ``rates`` learn; then prototypes rest on what they were projected to, and the others learn around them
    at half their rates, so that the last projection hardly moves anything; where features run away from them all the
    same, they are held near (:mod:`protomask.training.anchoring`). A single epoch has no second half.

    Args:
        epochs: at least 1.
        objective: of both halves.
        rates, decay: see :class:`~protomask.training.stages.Epochs`.
        between: what is done at the end of each of the equal parts of the first half.
        times: number of those parts, where there are so many epochs.
    """
    settling = epochs // 2
    plan: list[Epochs | Action] = []
    for part in share_out(epochs - settling, times):
        plan.append(Epochs("joint", part, objective, rates, decay, schedule=warm_up_cosine()))
        plan += [] if between is None else [between]
    distinct = partial(project, distinct=True)
    if settling:
        resting = {name: 0.5 * rate for name, rate in rates.items() if name != "prototypes"}
        plan += [
            Action("projection", distinct),
            Epochs("settle", settling, objective, resting, decay, schedule=warm_up_cosine(), anchored=True),
        ]
    return [*plan, Action("projection", distinct)]


def share_out(count: int, parts: int) -> list[int]:
    """Share ``count`` epochs out to at most ``parts`` stages as evenly as can be, the longer ones last.

    >>> share_out(7, 3), share_out(1, 4)
    ([2, 2, 3], [1])
    """
    parts = min(parts, count)
    return [(count * (place + 1)) // parts - (count * place) // parts for place in range(parts)]


def require_frozen(options: Options) -> None:
    """Check the options of a recipe whose backbone rests.

    Raises:
        InputError: the backbone would have random weights; a learning rate is given, which is the backbone's.
    """
    if not options.weights and not options.pretrained:
        raise InputError(
            "recipe is frozen, so the backbone keeps the weights it starts with: give them by weights=, or "
            "the library's own by pretrained="
        )
    if options.lr is not None:
        raise InputError("lr is the rate of the backbone, which does not learn with recipe=frozen; leave it out")
