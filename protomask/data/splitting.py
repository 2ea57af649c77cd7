"""Splits: taking a share out of a data set class by class, and what every data set must fulfil."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar

import torch
from torch import Tensor

from protomask.data.alike import CASE, like, written
from protomask.data.images import Splits
from protomask.data.stratifying import hold_out_findings
from protomask.errors import InputError
from protomask.labels import is_multi_label, positives
from protomask.meanwhile import meanwhile

_COMBINATIONS: ContextVar[bool] = ContextVar("findings are drawn by their combinations", default=False)


def hold_out(labels: Sequence[int] | Tensor, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Divide positions into kept and held-out ones, stratified by class; the same for the same labels and seed.

    Of each class with n images round(n * share) are held out, at least one where n > 1 and share > 0, never all;
    several findings per image as :func:`protomask.data.stratifying.hold_out_findings` says.

    Args:
        labels: (len,) classes, or (len, C) findings.
        share: in [0, 1).

    Returns:
        Two sorted, disjoint long tensors that cover 0..len-1.
    """
    classes = torch.as_tensor(labels)
    if is_multi_label(classes):
        if not _COMBINATIONS.get():
            return hold_out_findings(classes, share, seed)
        classes = classes.unique(dim=0, return_inverse=True)[1]
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(classes), dtype=torch.bool)
    for label in classes.unique():
        members = (classes == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        count = min(max(round(len(members) * share), 1), len(members) - 1) if share > 0 else 0
        held[members[order[:count]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def findings_by_combination() -> AbstractContextManager[None]:
    """Hold findings out as older versions did, for runs of theirs: every combination of findings counts as a class."""
    return meanwhile(_COMBINATIONS, True)


def hold_out_groups(
    labels: Sequence[int] | Tensor, groups: Sequence[int] | Tensor, share: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Hold out a share like :func:`hold_out`, with groups (a patient's, near-duplicates) as a whole.

    Groups are taken in random order while each class has room for all their images, so a class with enough small groups
    gets its exact share, any other a little less; but at least one group of a class that has one to spare. With several
    findings per image each finding counts as a class, and so does having none.

    Args:
        labels: (len,) classes, or (len, C) findings.
        groups: (len,) numbers; equal ones belong together.
        share: in [0, 1).

    Returns:
        Two sorted, disjoint long tensors that cover 0..len-1.
    """
    labels = torch.as_tensor(labels)
    names, members = torch.as_tensor(groups, dtype=torch.long).unique(return_inverse=True)
    own = positives(labels, labels.shape[1] if is_multi_label(labels) else int(labels.max()) + 1 if len(labels) else 1)
    if is_multi_label(labels):
        own = torch.cat([own, ~own.any(1, keepdim=True)], dim=1)
    # counts[g, c]: images of class c in group g
    counts = torch.zeros(len(names), own.shape[1], dtype=torch.long).index_add_(0, members, own.long())
    total = counts.sum(0)
    wanted = ((total * share).round().long().clamp_min(1).minimum(total - 1) if share > 0 else total * 0).clamp_min(0)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    held, room = torch.zeros(len(names), dtype=torch.bool), wanted.clone()
    for group in order.tolist():
        if (counts[group] <= room).all():
            held[group] = True
            room -= counts[group]
    for label in ((room == wanted) & (wanted > 0)).nonzero().flatten().tolist():
        # No group of this class fitted its share: the smallest one, if that leaves something of every class.
        own = order[(counts[order, label] > 0) & ~held[order]]
        left = total - counts[held].sum(0)
        spare = own[((counts[own] < left) | (counts[own] == 0)).all(1)]
        if counts[held, label].sum() == 0 and len(spare):
            held[spare[counts[spare].sum(1).argmin()]] = True
    return (~held[members]).nonzero().flatten(), held[members].nonzero().flatten()


def ranks(numbers: Sequence[int]) -> Tensor:
    """Replace whole numbers of any size by 0, 1, ... in their order; equal ones alike: (len,) long."""
    place = {number: rank for rank, number in enumerate(sorted(set(numbers)))}
    return torch.tensor([place[number] for number in numbers], dtype=torch.long)


def hold_out_copies(
    labels: Sequence[int] | Tensor, groups: Tensor, share: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Hold out a share like :func:`hold_out`, and draw anew the classes in which that tears copies apart.

    These are drawn like :func:`hold_out_groups`, together with the classes that they share copies with; in any other
    class the same images are held out as without copies.

    Args:
        labels: (len,) classes.
        groups: (len,) numbers; images of equal ones are copies.
        share: in [0, 1).

    Returns:
        Two sorted, disjoint long tensors that cover 0..len-1.
    """
    classes = torch.as_tensor(labels)
    held = torch.zeros(len(classes), dtype=torch.bool)
    held[hold_out(classes, share, seed)[1]] = True
    members = groups.unique(return_inverse=True)[1]
    sizes = members.bincount()
    own = torch.zeros_like(sizes).index_add_(0, members, held.long())
    torn = ((own > 0) & (own < sizes))[members]
    for linked in _linked(classes, members, sizes):
        # Class by class: a table of all groups and all classes would be large.
        at = torch.isin(classes, torch.tensor(linked)).nonzero().flatten()
        if torn[at].any():
            numbers = classes[at].unique(return_inverse=True)[1]
            held[at] = False
            held[at[hold_out_groups(numbers, members[at], share, seed)[1]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _linked(classes: Tensor, members: Tensor, sizes: Tensor) -> list[list[int]]:
    """List the classes that hold copies, those together that hold copies of each other's images."""
    above: dict[int, int] = {}  # class -> another that it is linked to; to itself at the end

    def first(label: int) -> int:
        while above[label] != label:
            label = above[label]
        return label

    seen: dict[int, int] = {}
    copied = sizes[members] > 1
    for group, label in zip(members[copied].tolist(), classes[copied].tolist()):
        above.setdefault(label, label)
        above[first(label)] = first(seen.setdefault(group, label))
    found: dict[int, list[int]] = {}
    for label in sorted(above):
        found.setdefault(first(label), []).append(label)
    return list(found.values())


def check_share(option: str, share: float) -> None:
    """Raise InputError unless 0 <= share < 1."""
    if not 0 <= share < 1:
        raise InputError(f"{option} {share}: must be a share of the training images, at least 0 and less than 1")


def check_splits(splits: Splits, source: str) -> None:
    """Raise InputError, naming ``source``, for fewer than two classes or a class that has no training image."""
    classes = splits.train.classes
    if len(classes) < (1 if splits.train.multi_label else 2):
        raise InputError(f"{source}: {_count(len(classes), 'class')}; a classifier needs two or more")
    counts = positives(splits.train.labels, len(classes)).sum(0)
    if (counts == 0).any():
        empty = [name for name, count in zip(classes, counts.tolist()) if count == 0]
        others = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        _refuse_other_writing(splits, counts, source)
        raise InputError(f"{source}: class {empty[0]!r}{others} has no training image; add some or remove the class")
    if len(splits.test) == 0:
        raise InputError(f"{source}: no test images; the split must name some")
    if not positives(splits.test.labels, len(classes)).any():
        raise InputError(f"{source}: no test image has any of the classes, so nothing can be measured; add some")


def _refuse_other_writing(splits: Splits, counts: Tensor, source: str) -> None:
    """Raise InputError where a class without training images has some under a name that looks the same."""
    classes = splits.train.classes
    trained = [name for name, count in zip(classes, counts.tolist()) if count]
    for part in ("test", "validation"):
        there = positives(getattr(splits, part).labels, len(classes)).any(0)
        for place in (there & (counts == 0)).nonzero().flatten().tolist():
            found = like(classes[place], trained)
            if found is not None:
                other, how = found
                told = "differs from {} only in case" if how == CASE else "and {} are one name written in two ways"
                ways = f" ({written(classes[place], other)})" if how != CASE else ""
                raise InputError(
                    f"{source}: {part}/{classes[place]} {told.format(f'train/{other}')}{ways}; rename one (class "
                    f"{classes[place]!r} has no training image)"
                )


def _count(number: int, noun: str) -> str:
    return f"only {number} {noun}" if number else f"no {noun}"
