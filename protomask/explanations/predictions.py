"""Explanations of predictions by prototypes, with any localizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from protomask.data.transforms import denormalize
from protomask.explanations.maps import share_maps
from protomask.explanations.reasoning import SHOWN, point_shares
from protomask.explanations.records import Explanation, Match, PrototypePicture
from protomask.freezing import frozen
from protomask.labels import most_likely, probabilities, require_numbers
from protomask.localizers import Localizer
from protomask.prototype_network import Prediction, PrototypeNetwork

TOGETHER = 32
"""maps that are made together at most"""


def as_pictures(images: Tensor, network: PrototypeNetwork) -> np.ndarray:
    """Turn normalised images (B, 3, H, W) into (B, H, W, 3) uint8."""
    return denormalize(images.cpu(), network.mean, network.std).permute(0, 2, 3, 1).contiguous().numpy()


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
        pictures: every prototype's, in order, from :func:`protomask.picture_prototypes`.
        localizers: by name; they locate each shown prototype in the image.
        true_classes: per image the name of its class, or the names of its findings (``AnnotatedImages.truth``); None
            where unknown.
        shown_as: per image the photograph (H, W, 3) uint8 that is shown for it; by default the network's input.
        top: how many prototypes are shown, strongest contribution first; by default, for each image, of those that
            speak for its class as many as carry 90 % of their points, but at most 5.
        counter: how many are shown that speak for the runner-up, and named that cost the predicted class most.
        prediction: what the network says of ``images``, where that is known already.

    Several processes share the maps, and each has all explanations.

    Returns:
        One explanation per image. With several findings per image, one for every finding that is predicted, the most
        probable first, then for every one that is missed, where ``true_classes`` tell; for the most probable one where
        there are none of either.

    Raises:
        InputError: the network answers NaN or infinity for an image; names it.
    """
    if prediction is None:
        with frozen(network), torch.no_grad():
            prediction = network(images)
    logits, similarities = require_numbers(prediction.logits.float(), names), prediction.similarities.float()
    truth = list(true_classes) if true_classes else [None] * len(logits)
    places, ranked = _questions(logits, _findings(network, truth).to(logits.device) if network.multi_label else None)
    weights = network.last_layer.weight.detach()[ranked]  # (n, 1 or 2, P): of the subject and the runner-up
    similarities = similarities[places]
    points = similarities[:, None] * weights
    # Where all evidence is positive, a prototype without weight is none: it belongs to another class.
    counts_for = weights != 0 if network.evidence == "positive" else torch.ones_like(weights, dtype=torch.bool)
    own = network.prototype_classes[None] == ranked[:, :1]
    best = [
        _strongest(points[row, 0], counts_for[row, 0], top)
        if (weights[row, 0] != 0).any()
        else _most_similar(similarities[row], own[row])
        for row in range(len(places))
    ]
    rivals_shown = 0 if network.multi_label else counter
    rival = [_first(each, among, rivals_shown) for each, among in zip(points[:, -1], counts_for[:, -1])]
    worst = points[:, 0].topk(min(counter, points.shape[2]), dim=1, largest=False).indices
    shown = [torch.cat(both) for both in zip(best, rival)]
    counts = torch.tensor([len(each) for each in shown])
    starts = (counts.cumsum(0) - counts).tolist()
    of = places.repeat_interleave(counts.to(places), 0)
    maps = share_maps(network, localizers, images, of, torch.cat(shown), progress, TOGETHER, names)
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
        answer = _answer(network, logits[place], ranked[row].tolist(), truth[place])
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
                classes=tuple(network.classes),
                **answer,
            )
        )
    return explanations


def _strongest(points: Tensor, among: Tensor, top: int | None) -> Tensor:
    """Choose the prototypes that are shown by their points (P,), of those ``among`` (P,) that count: ``top``, or of
    those that speak for the class as many as carry enough of what they say, and one where none does.
    """
    if top is None:
        _, enough = point_shares((points.clamp(min=0) * among)[None].cpu())
        top = min(int(enough), SHOWN) if len(enough) else 1
    return _first(points, among, top)


def _most_similar(similarities: Tensor, own: Tensor) -> Tensor:
    """Choose the one that is shown where no prototype counts: of the class's ``own`` (P,) if it has any."""
    return _first(similarities, own if own.any() else ~own, 1)


def _first(points: Tensor, among: Tensor, most: int) -> Tensor:
    """Choose at most so many of those ``among`` (P,) bool, most points first."""
    return points.masked_fill(~among, -torch.inf).topk(min(most, int(among.sum()))).indices


def _carried(points: Tensor, shown: Tensor) -> float | None:
    """Compute the share of the absolute points (P,) that the prototypes ``shown`` carry; None without any points."""
    sizes = points.double().abs()
    return (sizes[shown].sum() / sizes.sum()).item() if sizes.any() else None


def _findings(network: PrototypeNetwork, truth: Sequence[str | Sequence[str] | None]) -> Tensor:
    """Tell which findings each image is known to have, (B, C) bool."""
    return torch.tensor([[name in _names(each) for name in network.classes] for each in truth])


def _names(truth: str | Sequence[str] | None) -> Sequence[str]:
    """Name an image's findings, also where a single one is given as a text."""
    return (truth,) if isinstance(truth, str) else truth or ()


def _questions(logits: Tensor, has: Tensor | None) -> tuple[Tensor, Tensor]:
    """Choose which n questions are explained: images (n,), and classes (n, 2), predicted one and runner-up.

    With several findings per image, of which each is known to have some (``has``, (B, C) bool), (n, 1): each predicted
    finding, then each missed one, most probable first, at least one per image.
    """
    if has is None:
        return torch.arange(len(logits), device=logits.device), most_likely(logits, 2)
    ordered, order = logits.sort(dim=1, descending=True, stable=True)
    asked = (ordered > 0) | has.gather(1, order)
    asked[:, 0] |= ~asked.any(1)
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
        "true_class": None if truth is None else answers[name in _names(truth)],
        "finding": name,
        "bias": network.last_layer.bias[subject].item(),
    }
