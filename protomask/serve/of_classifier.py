"""The page about a plain classifier: where it finds its most probable class, and the runner-up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from protomask.backbones.classifier import build_classifier
from protomask.data.depth import without_range
from protomask.data.transforms import denormalize
from protomask.errors import InputError
from protomask.explainable import Classifier
from protomask.freezing import frozen
from protomask.labels import most_likely
from protomask.localization.folder import read_labels
from protomask.localization.preprocessing import Preprocessing
from protomask.localization.result import NO_EVIDENCE
from protomask.localizers import get_localizer
from protomask.localizers.gradcam import class_maps
from protomask.localizers.layers import Layer, find_layer
from protomask.serve.pictures import is_grey, read_upload, shown, stacked
from protomask.serve.subjects import (
    Asked,
    MaskLearner,
    Masks,
    blank_images,
    compare_chances,
    drawn,
    most_probable,
    others_in_words,
    outlines,
)


class ClassifierSubject:
    """Explain pictures by the masks of a classifier's classes.

    Args:
        classifier: in evaluation mode, on its device.
        preprocessing: how it wants its images.
        names: of all classes.
        title: what the page calls it.
        localizer: name of what learns the masks.
    """

    kind = "classes"
    quick = "gradcam"
    """what makes the maps of the first answer"""

    def __init__(
        self,
        classifier: Classifier,
        preprocessing: Preprocessing,
        names: list[str],
        title: str,
        localizer: str = "mdm",
    ) -> None:
        self.classifier, self.preprocessing, self.classes, self.title = classifier, preprocessing, names, title
        self.localizer, self._learner = localizer, MaskLearner(classifier, get_localizer(localizer), localizer)
        self._transform = preprocessing.transform()
        parameter = next(classifier.model.parameters(), torch.empty(0, dtype=torch.float32))
        self._device = parameter.device
        self._layer: Layer | None = None
        """whose map Grad-CAM weights, for the first answer; known after :meth:`warm_up`"""
        self._of_empty: Tensor | None = None
        """probabilities (C,) of an empty image"""

    def about(self) -> dict:
        return {
            "kind": self.kind,
            "title": self.title,
            "classes": self.classes,
            "several": self.classifier.multi_label,
            "prototypes": 0,
            "learns": True,
            **outlines(self.localizer, self.kind, self.quick),
        }

    def warm_up(self) -> None:
        """Explain noise once; finds out whether a quick map can be made of this model at all."""
        side, channels = self.preprocessing.image_size, len(self.preprocessing.mean)
        images = blank_images(side, channels, self._device)
        try:
            first = torch.zeros(1, dtype=torch.long, device=self._device)
            # Looked for once: that takes a forward pass.
            self._layer = find_layer(self.classifier, images, first, None, "Grad-CAM")
            self._look(images)
        except InputError:  # no feature map within
            self._layer = None
        self._learner.try_once(images)

    def read(self, name: str, content: bytes) -> Asked:
        with without_range(", or have it explained by protomask localize, which takes --intensity-range LOW,HIGH"):
            upload = read_upload(name, content, self.preprocessing.image_size)
        return Asked(upload.shrunk(), self.preprocessing([upload.pixels]).to(self._device))

    def answer(self, asked: Asked) -> dict:
        chances, asked.index, quick = self._look(asked.images)
        asked.quick = {} if quick is None else dict(enumerate(quick.float().cpu().numpy()))
        if self._of_empty is None:
            with torch.no_grad(), frozen(self.classifier):  # NaN is no higher than any
                self._of_empty = self.classifier.probabilities(torch.zeros_like(asked.images))[0].float().cpu()
        of_empty = self._of_empty
        asked.empty = {slot for slot, each in enumerate(asked.index) if chances[each] <= of_empty[each]}
        several = self.classifier.multi_label
        lines = [
            {
                "slot": slot,
                "class": self.classes[number],
                "probability": chances[number].item(),
                "quick": drawn(asked.quick[slot], asked.upload.size, nothing_to_keep=slot in asked.empty)
                if slot in asked.quick
                else None,
                "mask": None,
            }
            for slot, number in enumerate(asked.index)
        ]
        asked.found = [(asked.index[0], lines[0]["probability"])]
        asked.others = self._found(chances)[1:] if several else []
        rival = lines[-1]
        return {
            "name": asked.upload.name,
            "width": asked.upload.size[0],
            "height": asked.upload.size[1],
            "photo": shown(asked.upload.pixels),
            "grey": is_grey(asked.upload.pixels),
            "classes": most_probable(chances, self.classes.__getitem__),
            "several": several,
            "questions": [
                {
                    "finding": lines[0]["class"] if several else None,
                    "found": not several or chances[asked.index[0]].item() > 0.5,
                    "predicted": lines[0]["class"],
                    "probability": lines[0]["probability"],
                    "runner_up": rival["class"],
                    "runner_up_probability": rival["probability"],
                    "matches": lines[:1],
                    "counter": lines[1:],
                }
            ],
            "others": asked.others[len(lines) - 1 :],
        }

    def learn(self, asked: Asked, tell: Masks, pause: Callable[[], None]) -> None:
        self._learner.learn(asked, tell, pause)

    def look_again(self, asked: Asked, images: Tensor) -> dict:
        before, after = self._chances(asked.images), self._chances(images)
        pixels = (
            denormalize(images.cpu(), self.preprocessing.mean, self.preprocessing.std) if images.shape[1] == 3 else None
        )
        return {
            "photo": None if pixels is None else shown(pixels[0].permute(1, 2, 0).numpy()),
            "classes": compare_chances(before, after, self.classes, several=self.classifier.multi_label),
            "similarity": {},
        }

    def panel(self, asked: Asked) -> bytes:
        from protomask.report.class_overlay import overlay_png
        from protomask.report.wording import certainty

        number, probability = asked.found[0]
        found, name = (asked.maps.get(0), self.localizer) if 0 in asked.maps else (asked.quick.get(0), self.quick)
        if found is None:
            raise InputError("there is no outline yet; save the picture when it is drawn")
        caption = f"{self.classes[number]} {certainty(probability, 0)}"
        if 0 not in asked.maps:
            caption += ", quick map by Grad-CAM"
        if 0 in asked.empty:
            caption += NO_EVIDENCE
        overlay = overlay_png(asked.upload.pixels, found, name, caption=caption, outlined=0 not in asked.empty)
        return stacked([overlay], others_in_words(asked.others))

    def _found(self, chances: Tensor) -> list[dict]:
        """List the classes that are found, where each is a question of its own, most probable first."""
        return most_probable(chances, self.classes.__getitem__, int((chances > 0.5).sum()))

    def _look(self, images: Tensor) -> tuple[Tensor, list[int], Tensor | None]:
        """Look once, in one forward pass, since somebody is waiting.

        Returns:
            The probabilities (C,), the most probable class and the runner-up, and the Grad-CAM map of each; None of a
            model without a feature map.
        """
        with torch.enable_grad(), frozen(self.classifier), self._recorded():
            logits = self.classifier.logits(images.detach().clone().requires_grad_(self._layer is not None))
            chances = self._checked(self.classifier.as_probabilities(logits.detach()))
            self.classifier.warn_of_probabilities(logits.detach())
            index = most_likely(chances, 2).tolist()
            if self._layer is None:
                return chances, index, None
            return chances, index, class_maps(self._layer, logits, index, images)

    def _recorded(self) -> AbstractContextManager[None]:
        return nullcontext() if self._layer is None else self._layer.record()

    def _chances(self, images: Tensor) -> Tensor:
        with torch.no_grad(), frozen(self.classifier):
            return self._checked(self.classifier.probabilities(images))

    def _checked(self, probabilities: Tensor) -> Tensor:
        chances = probabilities[0].float().cpu()
        if not chances.isfinite().all():
            raise InputError(f"{self.title} gives probabilities that are no numbers; check its weights")
        return chances


def open_classifier(
    name: str,
    *,
    weights: str | Path | None = None,
    pretrained: bool = False,
    labels: str | None = None,
    image_size: int | None = None,
    localizer: str = "mdm",
    multi_label: bool = False,
    device: torch.device = torch.device("cpu"),
) -> ClassifierSubject:
    """Open a classifier of timm or torchvision for the page.

    Args:
        name, weights, pretrained, image_size: see :func:`protomask.backbones.classifier.build_classifier`.
        labels: file of the classes' names, one per line.
        localizer: learns the masks.
        multi_label: each class is a question of its own.
        device: where it runs.

    Raises:
        InputError: as ``build_classifier``; labels of another number than the model's classes; a model with one output
            that is not ``multi_label``.
    """
    names = read_labels(None if labels is None else str(labels))
    built = build_classifier(name, pretrained=pretrained, weights=weights, image_size=image_size, seed=0)
    if names is not None and len(names) != built.classes:
        raise InputError(f"labels names {len(names)} classes, but the model has {built.classes}; give one for each")
    if built.classes == 1 and not multi_label:
        raise InputError(
            f"{name} has one output, whose share of all outputs is always 100 %; for a yes-or-no model give "
            "--multi-label (multi_label=True)"
        )
    classifier = Classifier(built.model.to(device), multi_label=multi_label, mean=built.mean, std=built.std)
    preprocessing = Preprocessing(built.image_size, built.mean, built.std)
    return ClassifierSubject(
        classifier,
        preprocessing,
        names or [f"class {number}" for number in range(built.classes)],
        name.split(":")[0],
        localizer,
    )
