"""Pictures of prototypes, and explanations of predictions by them, with any localizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from protomask.data import AnnotatedImages, collate
from protomask.data.transforms import denormalize
from protomask.errors import InputError
from protomask.explanations.photographs import photographs
from protomask.explanations.reasoning import SHOWN, point_shares
from protomask.explanations.records import Explanation, Match, PrototypePicture, PrototypeRecord
from protomask.freezing import frozen
from protomask.labels import probabilities, require_numbers
from protomask.localizers import Localizer
from protomask.localizers.base import ChoosesOutline, check_maps
from protomask.localizers.similarity import level_box, percentile_box
from protomask.prototype_network import Prediction, PrototypeNetwork


def as_pictures(images: Tensor, network: PrototypeNetwork) -> np.ndarray:
    """Turn normalised images (B, 3, H, W) into (B, H, W, 3) uint8."""
    return denormalize(images.cpu(), network.mean, network.std).permute(0, 2, 3, 1).contiguous().numpy()


def _localize(
    network: PrototypeNetwork, localizers: Mapping[str, Localizer], images: Tensor, index: Tensor, progress: bool
) -> dict[str, np.ndarray]:
    return {
        name: check_maps(localizer(network, images, index, progress=progress), images, name).cpu().numpy()
        for name, localizer in localizers.items()
    }


def picture_prototypes(
    network: PrototypeNetwork,
    plain: AnnotatedImages,
    localizers: Mapping[str, Localizer],
    *,
    device: torch.device = torch.device("cpu"),
    batch_size: int = 32,
    progress: bool = False,
    index: Sequence[int] | None = None,
) -> list[PrototypePicture]:
    """Localise every prototype in its source image.

    Args:
        network: projected.
        plain: the training images that it was projected to, with the evaluation transform.
        localizers: by name.
        index: of the prototypes that are wanted; all by default.

    Raises:
        InputError: the network was never projected, or on other data.
    """
    sources = network.source_positions.cpu().tolist()
    if min(sources) < 0:
        raise InputError("the network was not projected yet, so its prototypes have no source image; project it first")
    if max(sources) >= len(plain):
        raise InputError(
            "the network was projected on another data set: its sources lie outside this one; use the data it was "
            "trained on"
        )
    own = network.last_layer.weight.detach().cpu()[network.prototype_classes.cpu(), torch.arange(len(sources))].tolist()
    levels: dict[str, float] = {
        name: level
        for name, localizer in localizers.items()
        if isinstance(localizer, ChoosesOutline) and (level := localizer.outline_level(network)) is not None
    }
    pictures: list[PrototypePicture] = []
    wanted = range(len(sources)) if index is None else index
    for start in range(0, len(wanted), batch_size):
        prototypes = wanted[start : start + batch_size]
        images = collate([plain[sources[prototype]] for prototype in prototypes])["images"].to(device)
        chosen = torch.tensor(list(prototypes), device=device)
        with frozen(network), torch.no_grad():
            similarities = network.score(images, chosen).cpu().tolist()
        maps = _localize(network, localizers, images, chosen, progress)
        shown = photographs(plain, [sources[prototype] for prototype in prototypes])
        for place, (prototype, picture) in enumerate(zip(prototypes, shown)):
            location = tuple(network.source_locations[prototype].tolist())
            record = PrototypeRecord(
                prototype=prototype,
                class_name=network.classes[int(network.prototype_classes[prototype])],
                source=plain.names[sources[prototype]],
                location=location,
                similarity=similarities[place],
                patch_box=network.patch_box(location),
                weight=own[prototype],
                boxes={name: _box(found[place], levels.get(name)) for name, found in maps.items()},
                levels=levels,
            )
            pictures.append(PrototypePicture(record, picture, {name: found[place] for name, found in maps.items()}))
    return pictures


def _box(saliency: np.ndarray, level: float | None) -> tuple[int, int, int, int]:
    return percentile_box(saliency) if level is None else level_box(saliency, level)


def explain(
    network: PrototypeNetwork,
    images: Tensor,
    names: Sequence[str],
    pictures: Sequence[PrototypePicture],
    localizers: Mapping[str, Localizer],
    *,
    true_classes: Sequence[str | Sequence[str] | None] | None = None,
    shown_as: Sequence[np.ndarray] | None = None,
    top: int | None = None,
    counter: int = 1,
    progress: bool = False,
    prediction: Prediction | None = None,
) -> list[Explanation]:
    """Explain why the network classifies each image as it does.

    Args:
        network: on the device of ``images``.
        images: (B, 3, H, W), normalised.
        names: one per image.
        pictures: every prototype's, in order, from :func:`picture_prototypes`.
        localizers: by name; they locate each shown prototype in the image.
        true_classes: per image the name of its class, or the names of its findings (``AnnotatedImages.truth``); None
            where unknown.
        shown_as: per image the photograph (H, W, 3) uint8 that is shown for it; by default the network's input.
        top: how many prototypes are shown, strongest contribution first; by default, for each image, as many as carry
            90 % of its points, but at most 5.
        counter: how many are shown that speak for the runner-up, and named that cost the predicted class most.
        prediction: what the network says of ``images``, where that is known already.

    Returns:
        One explanation per image. With several findings per image, one for every finding that is predicted, the most
        probable first, or for the most probable one where none is.

    Raises:
        InputError: the network answers NaN or infinity for an image; names it.
    """
    if prediction is None:
        with frozen(network), torch.no_grad():
            prediction = network(images)
    logits, similarities = require_numbers(prediction.logits.float(), names), prediction.similarities.float()
    places, ranked = _questions(logits, network.multi_label)
    weights = network.last_layer.weight.detach()[ranked]  # (n, 1 or 2, P): of the subject and the runner-up
    similarities = similarities[places]
    points = similarities[:, None] * weights
    rivals_shown = 0 if network.multi_label else min(counter, points.shape[2])
    best = [_strongest(each, top) for each in points[:, 0]]
    rival = list(points[:, -1].topk(rivals_shown, dim=1).indices)
    worst = points[:, 0].topk(min(counter, points.shape[2]), dim=1, largest=False).indices
    shown = [torch.cat(both) for both in zip(best, rival)]
    counts = torch.tensor([len(each) for each in shown])
    starts = (counts.cumsum(0) - counts).tolist()
    maps = _localize(
        network, localizers, images[places].repeat_interleave(counts.to(places), 0), torch.cat(shown), progress
    )
    own = network.prototype_classes[None] == ranked[:, :1]
    drawn = as_pictures(images, network) if shown_as is None else shown_as
    explanations = []
    for row, place in enumerate(places.tolist()):

        def match(prototype: int, rank: int, column: int | None, row=row) -> Match:
            found = {} if column is None else {key: each[starts[row] + column] for key, each in maps.items()}
            return Match(
                pictures[prototype],
                similarities[row, prototype].item(),
                weights[row, rank, prototype].item(),
                points[row, rank, prototype].item(),
                found,
            )

        matches = [match(prototype, 0, column) for column, prototype in enumerate(best[row].tolist())]
        rivals = [match(prototype, -1, len(matches) + column) for column, prototype in enumerate(rival[row].tolist())]
        against = [each for each in (match(prototype, 0, None) for prototype in worst[row].tolist()) if each.points < 0]
        answer = _answer(network, logits[place], ranked[row].tolist(), true_classes[place] if true_classes else None)
        hidden = own[row].clone()
        hidden[best[row]] = False
        explanations.append(
            Explanation(
                name=names[place],
                image=drawn[place],
                matches=tuple(matches),
                other_points=answer["logit"] - sum(each.points for each in matches),
                other_own_points=points[row, 0, hidden].sum().item(),
                counter=tuple(rivals),
                counter_other_points=answer["runner_up_logit"] - sum(each.points for each in rivals),
                against=tuple(against),
                shown_share=_carried(points[row, 0], best[row]),
                evidence=network.evidence,
                **answer,
            )
        )
    return explanations


def _strongest(points: Tensor, top: int | None) -> Tensor:
    """Choose the prototypes that are shown by their points (P,): ``top``, or as many as carry enough of them."""
    if top is None:
        _, enough = point_shares(points[None].cpu())
        top = min(int(enough), SHOWN) if len(enough) else 1
    return points.topk(min(top, len(points))).indices


def _carried(points: Tensor, shown: Tensor) -> float | None:
    """Compute the share of the absolute points (P,) that the prototypes ``shown`` carry; None without any points."""
    sizes = points.double().abs()
    return (sizes[shown].sum() / sizes.sum()).item() if sizes.any() else None


def _questions(logits: Tensor, multi_label: bool) -> tuple[Tensor, Tensor]:
    """Choose which n questions are explained: images (n,), and classes (n, 2), predicted one and runner-up.

    With several findings per image (n, 1): each predicted finding, most probable first, at least one per image.
    """
    if not multi_label:
        return torch.arange(len(logits), device=logits.device), logits.topk(min(2, logits.shape[1]), dim=1).indices
    ordered, order = logits.sort(dim=1, descending=True, stable=True)
    asked = ordered > 0
    asked[:, 0] = True
    places, ranks = asked.nonzero(as_tuple=True)
    return places, order[places, ranks][:, None]


def _answer(network: PrototypeNetwork, logits: Tensor, ranked: list[int], truth: str | Sequence[str] | None) -> dict:
    """Fill the fields of an :class:`Explanation` about what was decided, and what the alternative was."""
    subject, second = ranked[0], ranked[-1]
    name, logit = network.classes[subject], logits[subject].item()
    chances = probabilities(logits[None], network.multi_label)[0]
    common = {"logit": logit, "probability": chances[subject].item()}
    if not network.multi_label:
        return {
            **common,
            "predicted": name,
            "runner_up": network.classes[second],
            "runner_up_logit": logits[second].item(),
            "true_class": truth,
        }
    answers = (f"no {name}", name)
    return {
        **common,
        "predicted": answers[logit > 0],
        "runner_up": answers[logit <= 0],
        "runner_up_logit": 0.0,
        "true_class": None if truth is None else answers[name in truth],
        "finding": name,
        "bias": network.last_layer.bias[subject].item(),
    }
