"""One table: what each change does to answers, similarities and maps; and a verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.audit.changes import saved_as_jpeg, shift_of, shifted, with_unseen_noise
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError
from protomask.evaluation.pairs import Pairs, device_of
from protomask.freezing import frozen
from protomask.localizers import Localizer
from protomask.metrics import randomise_parameters, shared_first
from protomask.prototype_network import PrototypeNetwork
from protomask.statistics import Interval, bootstrap_mean, share_interval
from protomask.statistics.intervals import FEW

ANSWERS, MOVED, OVERLAP = 0.9, 0.1, 0.5
"""Limits: answers that stay, share of its size by which a similarity moves, overlap of the most salient tenths."""


@dataclass(frozen=True)
class Check:
    """One change, and what should become of the map."""

    label: str
    keeps: bool
    """whether the map should stay where it is, or must go elsewhere"""


CHECKS = {
    "jpeg": Check("saved as JPEG (quality 75)", True),
    "noise": Check("noise below half a grey level", True),
    "shift": Check("shifted by 2 % of its side", True),
    "prototype": Check("asked about a prototype of another class", False),
    "weights": Check("weights shuffled", False),
}


@dataclass(frozen=True)
class Row:
    """What one change did; shares in [0, 1], with 95 % intervals, None where it is not asked."""

    check: str
    answers: Interval | None
    """images whose predicted class stayed"""
    moved: Interval | None
    """by how much similarities moved, as a share of their size"""
    overlap: Interval
    """intersection over union of the maps' most salient tenths, before and after"""

    @property
    def outcome(self) -> str:
        """``"holds"``, ``"fails"``, or ``"undecided"``: where an interval lies on both sides of its limit."""
        keeps = CHECKS[self.check].keeps
        found = [_side(self.overlap, OVERLAP, above=keeps)]
        found += [_side(self.answers, ANSWERS, above=True)] if self.answers else []
        found += [_side(self.moved, MOVED, above=False)] if self.moved else []
        return "fails" if "fails" in found else "undecided" if "undecided" in found else "holds"


@dataclass(frozen=True)
class Audit:
    """The table of an audit, and its verdict."""

    localizer: str
    images: int
    rows: tuple[Row, ...]

    def outcome(self, check: str) -> str:
        return next(row.outcome for row in self.rows if row.check == check)

    @property
    def verdict(self) -> str:
        """Say what the pictures can be trusted for, in plain words."""
        names = {name: [row.check for row in self.rows if row.outcome == name] for name in ("fails", "undecided")}
        blind = [check for check in names["fails"] if not CHECKS[check].keeps]
        fragile = [check for check in names["fails"] if CHECKS[check].keeps]
        if "weights" in blind:
            first = (
                "Do not trust these pictures: they hardly change when the network's weights are shuffled, so they show "
            )
            first += "the image and not the network."
        elif "prototype" in blind:
            first = (
                "These pictures show where the network looks, but not which prototype does: another class's prototype "
            )
            first += "has nearly the same picture."
        elif fragile:
            first = (
                "These pictures are about the network and the prototype, but only for the very file they were made of: "
            )
            first += f"answer, similarity or picture do not survive when the image is {_listed(fragile)}."
        elif names["undecided"]:
            first = "Nothing speaks against these pictures, but the images are too few to be sure."
        else:
            first = (
                "These pictures can be trusted to belong to this network and this prototype, and to stay the same for "
            )
            first += "images that look the same."
        rest = f" Undecided: {_listed(names['undecided'])}." if names["undecided"] else ""
        return f"{first}{rest} Whether the score follows them is another question, which evaluate answers."

    def table(self) -> str:
        """Write the table as text."""
        lines = [
            f"{'change':<42} {'answers kept':>22} {'similarity moved':>22} {'maps overlap':>22}  should    outcome"
        ]
        for row in self.rows:
            check = CHECKS[row.check]
            cells = [written(each) for each in (row.answers, row.moved, row.overlap)]
            lines.append(
                f"{check.label:<42} {cells[0]:>22} {cells[1]:>22} {cells[2]:>22}  {'stay' if check.keeps else 'go':<8}"
                f"  {row.outcome}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict:
        rows = [
            {
                "check": row.check,
                "outcome": row.outcome,
                **{name: _plain(getattr(row, name)) for name in ("answers", "moved", "overlap")},
            }
            for row in self.rows
        ]
        limits = {"answers": ANSWERS, "moved": MOVED, "overlap": OVERLAP}
        checks = {name: asdict(check) for name, check in CHECKS.items()}
        return {
            "localizer": self.localizer,
            "images": self.images,
            "limits": limits,
            "checks": checks,
            "rows": rows,
            "verdict": self.verdict,
        }


def audit(
    network: PrototypeNetwork,
    data: AnnotatedImages,
    localizer: Localizer,
    pairs: Pairs,
    *,
    name: str = "",
    seed: int = 0,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Audit:
    """Change images, prototypes and weights, and measure what answers, similarities and maps do.

    Args:
        network: its mode and weights are left as they were.
        data: with the evaluation transform; ``pairs.positions`` point into it.
        localizer: whose maps are audited.
        pairs: images, each with one prototype (:func:`protomask.evaluation.choose_pairs`).
        name: of the localizer, for the table.
        seed: of the noise and of the prototypes that are asked about instead.
        batch_size: pairs localised together.
        device: where the network is; by default where its first parameter is.
        progress: show a bar.

    Raises:
        InputError: no pairs, or prototypes of one class alone.
    """
    if not len(pairs):
        raise InputError("audit: there are no images; give at least one")
    if len(network.prototype_classes.unique()) < 2:
        raise InputError("audit: all prototypes are of one class, so none can be swapped for another class's")
    device = device or device_of(network)
    other = randomise_parameters(network).eval().requires_grad_(False)
    found: dict[str, list[Tensor]] = {}
    with frozen(network), tqdm(total=len(pairs), desc="audit", unit="image", disable=not progress) as bar:
        for places in torch.arange(len(pairs)).split(batch_size):
            positions = pairs.positions[places].tolist()
            images = collate([data[position] for position in positions])["images"].to(device)
            index = pairs.prototypes[places].to(device)
            for key, values in _measured(network, other, localizer, images, index, positions, seed).items():
                found.setdefault(key, []).append(values.cpu())
            bar.update(len(places))
    columns = {key: torch.cat(values) for key, values in found.items()}
    rows = tuple(_row(check, columns, pairs.positions) for check in CHECKS)
    return Audit(name or repr(localizer), len(pairs.positions.unique()), rows)


def _measured(network, other, localizer: Localizer, images, index, positions, seed: int) -> dict[str, Tensor]:
    """Measure one batch: ``"check/measure"`` -> (B,)."""
    saliency = localizer(network, images, index)
    with torch.no_grad():
        before, similarity = network(images).logits, network.score(images, index)
    pixels, found = shift_of(images), {}
    changed: dict[str, Callable[[], Tensor]] = {
        "jpeg": lambda: saved_as_jpeg(images, network.mean, network.std),
        "noise": lambda: with_unseen_noise(images, network.std, [seed + 1000 * each for each in positions]),
        "shift": lambda: shifted(images, pixels),
    }
    for check, change in changed.items():
        copies = change()
        maps = localizer(network, copies, index)
        with torch.no_grad():
            after, again = network(copies).logits, network.score(copies, index)
        # Findings count as one answer: which of them are above 0.5.
        same = ((before > 0) == (after > 0)).all(1) if network.multi_label else before.argmax(1) == after.argmax(1)
        found[f"{check}/answers"] = same.float()
        size = similarity.abs()
        found[f"{check}/moved"] = torch.where(size > 0, (again - similarity).abs() / size, torch.nan)
        # The shifted map is laid over the old one; what left the image is left out of both.
        one, two = (
            (saliency[:, :-pixels, :-pixels], maps[:, pixels:, pixels:]) if check == "shift" else (saliency, maps)
        )
        found[f"{check}/overlap"] = shared_first(one.contiguous(), two.contiguous())
    swapped = localizer(network, images, _other_class(network, index, positions, seed))
    found["prototype/overlap"] = shared_first(saliency, swapped)
    found["weights/overlap"] = shared_first(saliency, localizer(other, images, index))
    return found


def _other_class(network: PrototypeNetwork, index: Tensor, positions: list[int], seed: int) -> Tensor:
    """Draw a prototype of another class for each pair."""
    owners, chosen = network.prototype_classes, []
    for each, position in zip(index.tolist(), positions):
        others = (owners != owners[each]).nonzero().flatten()
        generator = torch.Generator().manual_seed(seed + 1000 * position)
        chosen.append(int(others[int(torch.randint(len(others), (1,), generator=generator))]))
    return torch.tensor(chosen, device=index.device)


def _row(check: str, columns: dict[str, Tensor], images: Tensor) -> Row:
    answers, moved = columns.get(f"{check}/answers"), columns.get(f"{check}/moved")
    return Row(
        check,
        None if answers is None else share_interval(answers, 1.0, images),
        None if moved is None else _mean(moved, images),
        _mean(columns[f"{check}/overlap"], images),
    )


def _mean(values: Tensor, images: Tensor) -> Interval:
    """Find the mean and its interval; the values' own range where too few of them differ to draw one."""
    found, counted = bootstrap_mean(values, images), values[~values.isnan()]
    if math.isnan(found.low) and found.n and len(images.unique()) >= FEW:
        return found._replace(low=float(counted.min()), high=float(counted.max()))
    return found


def _side(interval: Interval, limit: float, *, above: bool) -> str:
    """Tell whether a mean is surely on the side of the limit where it should be."""
    if math.isnan(interval.low):  # too few images
        return "undecided"
    right = interval.low >= limit if above else interval.high <= limit
    wrong = interval.high < limit if above else interval.low > limit
    return "holds" if right else "fails" if wrong else "undecided"


def written(interval: Interval | None) -> str:
    """Write a mean and its interval; a dash where nothing was asked."""
    if interval is None:
        return "-"
    if math.isnan(interval.low):
        return f"{interval.mean:.2f}"
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _plain(interval: Interval | None) -> dict | None:
    if interval is None:
        return None
    numbers = {"mean": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
    return {name: None if math.isnan(value) else value for name, value in numbers.items()} | {"n": interval.n}


def _listed(checks: list[str]) -> str:
    return ", ".join(CHECKS[check].label for check in checks)
