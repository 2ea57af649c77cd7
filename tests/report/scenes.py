"""Small synthetic runs: bright squares on dark images, with maps that mark exactly the squares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from protomask.evaluation.pairs import Pairs
from protomask.evaluation.results import Evaluation
from protomask.explanations.records import Explanation, Inspection, Match, Neighbour, PrototypePicture, PrototypeRecord
from protomask.report.answers import Answers

SIDE = 64


def square(x0: int, y0: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A dark image with a bright square at (x0, y0), and the map that is 1 on it, 0 elsewhere."""
    saliency = np.zeros((SIDE, SIDE), np.float32)
    saliency[y0 : y0 + size, x0 : x0 + size] = 1
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    image[saliency > 0] = (230, 200, 60)
    return image, saliency


def blob(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2)).astype(np.float32)


def picture(
    prototype: int = 0, class_name: str = "001.Striped_bird", source: str | None = None, similarity: float = 0.97
) -> PrototypePicture:
    x0, y0 = 8 + 5 * (prototype % 6), 12 + 4 * (prototype % 5)
    image, saliency = square(x0, y0)
    record = PrototypeRecord(
        prototype=prototype,
        class_name=class_name,
        source=f"{class_name}/image_{prototype}.jpg" if source is None else source,
        location=(y0 // 16, x0 // 16),
        similarity=similarity,
        patch_box=(x0 // 16 * 16, y0 // 16 * 16, x0 // 16 * 16 + 16, y0 // 16 * 16 + 16),
        weight=1.0 + 0.01 * prototype,
        boxes={"mdm": (x0, y0, x0 + 16, y0 + 16), "similarity": (x0 - 4, y0 - 4, x0 + 20, y0 + 20)},
    )
    return PrototypePicture(record, image, {"mdm": saliency, "similarity": blob(x0 + 20, y0 + 8, 9)})


def inspected(shown: list[PrototypePicture]) -> tuple[list[PrototypePicture], dict[int, np.ndarray], np.ndarray]:
    """The same with inspections, their nearest test images and similarity maps there: prototype j is nearest to images
    j and j + 1, found at (row j % 4, column 1) of a 4x4 map; 2 is background, 4 a duplicate of 3."""
    found = []
    for place, each in enumerate(shown):
        nearest = tuple(
            Neighbour(
                f"test/{position}.jpg", position, f"00{position % 2 + 1}.Bird", position == place, 0.9 - 0.1 * rank
            )
            for rank, position in enumerate((place, place + 1))
        )
        flags = {2: ("background",), 4: ("duplicate",)}.get(place, ())
        outside = {"mdm": 0.9 if place == 2 else 0.1, "similarity": 0.5}
        inspection = Inspection(
            place, 3 * place, 20, 1 - place / 10, 10, nearest, outside, 3 if place == 4 else None, flags
        )
        found.append(replace(each, inspection=inspection))
    maps = np.zeros((len(shown), 2, 4, 4), np.float32)
    for place in range(len(shown)):
        maps[place, :, place % 4, 1] = 1
    images = {position: square(position, position)[0] for position in range(len(shown) + 1)}
    return found, images, maps


def pictures(classes=("001.Striped_bird", "002.Spotted_bird"), each: int = 3) -> list[PrototypePicture]:
    names = [name for name in classes for _ in range(each)]
    return [picture(number, name, similarity=0.9 + 0.01 * number) for number, name in enumerate(names)]


def explanation(
    shown: list[PrototypePicture],
    *,
    name="test/a.jpg",
    predicted="001.Striped_bird",
    true_class="001.Striped_bird",
    counter: list[PrototypePicture] = (),
) -> Explanation:
    image, saliency = square(30, 20)
    matches, rivals = [], []
    for found, chosen in ((matches, shown), (rivals, counter)):
        for place, prototype in enumerate(chosen):
            similarity, weight = 0.9 - 0.111 * place - 0.2 * (found is rivals), prototype.record.weight
            maps = {"mdm": saliency, "similarity": blob(40, 30, 10)}
            found.append(Match(prototype, similarity, weight, similarity * weight, maps))
    others = -0.4321
    logit = sum(match.points for match in matches) + others
    return Explanation(
        name=name,
        image=image,
        true_class=true_class,
        predicted=predicted,
        probability=0.83,
        logit=logit,
        matches=tuple(matches),
        other_points=others,
        runner_up="002.Spotted_bird",
        runner_up_logit=logit - 0.5,
        other_own_points=0.3,
        counter=tuple(rivals),
        counter_other_points=logit - 0.5 - sum(match.points for match in rivals),
        against=(Match(shown[-1], 0.5, -0.4, -0.2, {}),),
        shown_share=0.875,
    )


def evaluation(
    shift: float = 0.2, *, localizers=("mdm", "similarity", "center", "random"), metrics=("insertion", "deletion")
):
    """Every localizer is worse than the one before it by ``shift``, with a little noise."""
    count = 24
    draw = torch.Generator().manual_seed(0)
    values, curves = {}, {}
    for place, name in enumerate(localizers):
        worse = shift * place + 0.02 * torch.randn(count, generator=draw)
        values[name] = {
            metric: 0.1 + worse if metric in ("deletion", "average_drop") else 0.9 - worse for metric in metrics
        }
        ramp = torch.linspace(0, 1, 9)
        curves[name] = {"insertion": ramp.expand(count, 9) - worse[:, None] * ramp * (1 - ramp)}
    pairs = Pairs(torch.arange(count), torch.zeros(count, dtype=torch.long))
    seconds = {name: 0.5 / (1 + place) for place, name in enumerate(localizers)}
    return Evaluation.summarise(pairs, ["x"] * count, values, seconds, curves)


def answers() -> Answers:
    """Three images of two birds: the middle one is wrong, and is the least certain."""
    logits = torch.tensor([[5.0, 1.0], [1.0, 2.0], [0.0, 3.0]])
    names = ["test/right.jpg", "test/wrong.jpg", "test/other.jpg"]
    return Answers(["001.Striped_bird", "002.Spotted_bird"], names, logits, torch.tensor([0, 0, 1]))


CONFIG = {
    "options": {"network": "protopnet", "data": "parts", "seed": 7, "similarity": "cosine", "root": None},
    "versions": {"python": "3.12", "torch": "2.9"},
    "data": {"fingerprint": "c0ffee42", "classes": 2, "train": 100, "test": 200},
}
METRICS = {
    "test_accuracy": {"before_projection": 0.96, "after_projection": 0.94, "final": 0.95},
    "black_box_accuracy": 0.97,
    "seconds": {"joint": 61.0, "projection": 2.0},
}
LOG = [
    {"stage": "joint", "epoch": 1, "loss": 1.5, "train_accuracy": 0.4, "validation_accuracy": 0.35, "seconds": 9.0},
    {"stage": "joint", "epoch": 2, "loss": 0.7, "train_accuracy": 0.8, "validation_accuracy": 0.7, "seconds": 9.0},
    {"stage": "test before projection", "test_accuracy": 0.96, "seconds": 1.0},
    {"stage": "projection", "mean_distance": 0.1, "seconds": 2.0},
    {"stage": "last layer", "seconds": 0.5},
]
