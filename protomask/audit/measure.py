"""What each change of images, prototypes and weights does to answers, similarities and maps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from protomask.audit.changes import saved_as_jpeg, shift_of, shifted, with_tag
from protomask.audit.results import CHECKS, Audit, Row
from protomask.data import AnnotatedImages, collate
from protomask.errors import InputError, NothingToKeepWarning, type_named
from protomask.evaluation.pairs import Pairs, check_pairs_fit, device_of
from protomask.freezing import frozen
from protomask.given import as_count, as_flag, refuse_run
from protomask.labels import positives, require_numbers
from protomask.localizers import Localizer, as_localizer
from protomask.localizers.base import require_finite
from protomask.localizers.calling import checked_maps
from protomask.metrics import randomise_parameters, shared_first, with_unseen_noise
from protomask.metrics.localization import box_regions
from protomask.prototype_network import PrototypeNetwork
from protomask.statistics import Interval, bootstrap_mean, share_interval
from protomask.statistics.intervals import FEW


def audit(
    network: PrototypeNetwork,
    data: AnnotatedImages,
    localizer: Localizer | str,
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
        localizer: whose maps are audited; one of ours by its name, too.
        pairs: images, each with one prototype (:func:`protomask.evaluation.choose_pairs`).
        name: of the localizer, for the table and for errors.
        seed: of the noise and of the prototypes that are asked about instead.
        batch_size: pairs localised together.
        device: where the network is; by default where its first parameter is.
        progress: show a bar.

    Raises:
        InputError: no pairs, or pairs of other data or another network; prototypes of one class alone; a map, an answer
            or a similarity that is not finite.
    """
    refuse_run(network)
    if not isinstance(network, PrototypeNetwork):
        raise InputError(f"network is {type_named(network)}; an audit asks about prototypes, give a PrototypeNetwork")
    name = name or (localizer if isinstance(localizer, str) else repr(localizer))
    localizer = as_localizer(localizer)
    seed, batch_size = as_count(seed, "seed", 0), as_count(batch_size, "batch_size")
    progress = as_flag(progress, "progress")
    if not len(pairs):
        raise InputError("audit: there are no images; give at least one")
    check_pairs_fit(pairs, network, data)
    if len(network.prototype_classes.unique()) < 2:
        raise InputError("audit: all prototypes are of one class, so none can be swapped for another class's")
    device = device or device_of(network)
    other = randomise_parameters(network).eval().requires_grad_(False)
    found: dict[str, list[Tensor]] = {}
    with frozen(network), tqdm(total=len(pairs), desc="audit", unit="image", disable=not progress) as bar:
        for places in torch.arange(len(pairs)).split(batch_size):
            positions = pairs.positions[places].tolist()
            samples = collate([data[position] for position in positions])
            images, index = samples["images"].to(device), pairs.prototypes[places].to(device)
            if not images.is_floating_point():
                raise InputError("audit: the images are not normalised; give the data the evaluation transform first")
            asked = _Asked(localizer, name, positions, [data.names[position] for position in positions])
            objects = _objects(samples, len(data.classes))
            for key, values in _measured(network, other, asked, images, objects, index, positions, seed).items():
                found.setdefault(key, []).append(values.cpu())
            bar.update(len(places))
    columns = {key: torch.cat(values) for key, values in found.items()}
    # Without answers nothing was asked: no image had room for a tag.
    rows = tuple(
        _row(check, columns, pairs.positions)
        for check in CHECKS
        if f"{check}/answers" not in columns or not columns[f"{check}/answers"].isnan().all()
    )
    return Audit(name, len(pairs.positions.unique()), rows)


class _Asked(NamedTuple):
    """What is asked of the images of a batch, and checked as ``evaluate`` does."""

    localizer: Localizer
    name: str
    positions: Sequence[int]
    names: Sequence[str]
    """of the images"""

    def maps(self, network: PrototypeNetwork, images: Tensor, index: Tensor) -> Tensor:
        """Make the maps, (B, H, W); InputError as :func:`check_maps`."""
        return checked_maps(self.localizer, network, images, index, self.name, self.names)

    @torch.no_grad()
    def answers(self, network: PrototypeNetwork, images: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits (B, C) and similarities (B,); InputError where one is no number."""
        logits = require_numbers(network(images).logits, self.names)
        return logits, require_finite(network.score(images, index), network, self.positions)


def _objects(samples: Mapping, classes: int) -> Tensor:
    """Tell where objects may be, (B, H, W) bool, by masks, else by boxes; everywhere, where the data have neither.

    Where boxes belong to single findings, everywhere, too, in an image that has one of the ``classes`` without a box.
    """
    if "mask" in samples:
        return samples["mask"][:, 0] > 0
    height, width = samples["images"].shape[-2:]
    without = torch.tensor([not len(boxes) for boxes in samples["boxes"]])
    if "box_labels" in samples:
        present = positives(samples["labels"], classes)
        boxed = torch.stack([numbers.bincount(minlength=classes) > 0 for numbers in samples["box_labels"]])
        without |= (present & ~boxed).any(1)
    return box_regions(samples["boxes"], height, width) | without[:, None, None]


def _measured(network, other, asked: _Asked, images, objects, index, positions, seed: int) -> dict[str, Tensor]:
    """Measure one batch: ``"check/measure"`` -> (B,)."""
    saliency, (before, similarity) = asked.maps(network, images, index), asked.answers(network, images, index)
    pixels, found = shift_of(images), {}
    seeds = [seed + 1000 * each for each in positions]
    tagged, room = with_tag(images, objects, network.mean, network.std, seeds)
    changed: dict[str, Callable[[], Tensor]] = {
        "jpeg": lambda: saved_as_jpeg(images, network.mean, network.std),
        "noise": lambda: with_unseen_noise(images, network.std, seeds),
        "shift": lambda: shifted(images, pixels),
        "tag": lambda: tagged,
    }
    for check, change in changed.items():
        copies = change()
        maps, (after, again) = asked.maps(network, copies, index), asked.answers(network, copies, index)
        # Findings count as one answer: which of them are above 0.5.
        same = ((before > 0) == (after > 0)).all(1) if network.multi_label else before.argmax(1) == after.argmax(1)
        found[f"{check}/answers"] = same.float()
        size = similarity.abs()
        found[f"{check}/moved"] = torch.where(size > 0, (again - similarity).abs() / size, torch.nan)
        # The shifted map is laid over the old one; what left the image is left out of both.
        one, two = (
            (saliency[:, :-pixels, :-pixels], maps[:, pixels:, pixels:]) if check == "shift" else (saliency, maps)
        )
        found[f"{check}/overlap"] = shared_first(one, two)
    for measure in ("answers", "moved", "overlap"):  # images without room for a tag say nothing about it
        found[f"tag/{measure}"] = found[f"tag/{measure}"].masked_fill(~room.to(images.device), torch.nan)
    with warnings.catch_warnings():  # another class's prototype, and shuffled weights, may well find nothing here
        warnings.simplefilter("ignore", NothingToKeepWarning)
        swapped = asked.maps(network, images, _other_class(network, index, positions, seed))
        found["prototype/overlap"] = shared_first(saliency, swapped)
        found["weights/overlap"] = shared_first(saliency, asked.maps(other, images, index))
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
        None if moved is None else _mean(moved, images, math.inf),
        _mean(columns[f"{check}/overlap"], images, 1.0),
    )


def _mean(values: Tensor, images: Tensor, most: float) -> Interval:
    """Find the mean of values from 0 to ``most``, and its interval; their range where too few differ to draw one."""
    found, counted = bootstrap_mean(values, images), values[~values.isnan()]
    if math.isnan(found.low):
        if (found.units or 0) < FEW:
            return found
        return found._replace(low=float(counted.min()), high=float(counted.max()))
    return found.within(0.0, most)
