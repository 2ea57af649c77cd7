"""The page about a run: predictions by its prototypes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from protomask.capabilities import HasSimilarityMaps
from protomask.data.depth import without_range
from protomask.errors import InputError
from protomask.explanations.files import read_pictures
from protomask.explanations.photographs import photograph
from protomask.explanations.predictions import as_pictures, explain
from protomask.explanations.records import Explanation, Match
from protomask.freezing import frozen
from protomask.inputs import as_batch
from protomask.labels import probabilities, require_numbers
from protomask.localizers import Similarity
from protomask.localizers.several import Localizers
from protomask.own_pictures import SIGNED
from protomask.prototype_network import Prediction, PrototypeNetwork
from protomask.report.views import are_pooled
from protomask.report.wording import readable_all
from protomask.run.explanation import NO_RANGE
from protomask.run.opened import Run, open_run
from protomask.run.review import Review, add_judgements, review_of
from protomask.run_folder import RunFolder
from protomask.serve.pictures import is_grey, ratio_of, read_upload, shown, size_of, stacked
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
from protomask.serve.unchanged import Unchanged
from protomask.suggested import command

COUNTER, MOST_FINDINGS = 1, 4
SIMILARITY = "similarity"


@dataclass(frozen=True)
class OnePass(Similarity):
    """Make the similarity maps of one picture in one pass, as somebody is waiting; the same but for rounding."""

    def maps(self, explained: HasSimilarityMaps, images: Tensor, index: Tensor) -> Tensor:
        assert isinstance(explained, PrototypeNetwork)
        return explained.similarity_maps(images[:1])[0, index]


class RunSubject:
    """Explain pictures by the prototypes of a run.

    Args:
        run: with pictures of its prototypes.
        localizer: what learns the masks; the run's own by default. Of several the first.

    Raises:
        InputError: no pictures of the prototypes, or none by this localizer.
    """

    kind = "prototypes"

    def __init__(self, run: Run, localizer: Localizers | None = None) -> None:
        self.run, self.network, self._chosen = run, run.network, localizer
        self.folder = run.folder.resolve()
        """where marks go: a link that is turned to another run later does not lead them there"""
        self.files = RunFolder(self.folder)
        self.prototypes = read_pictures(self.files, run.network)  # whose images are read when they are shown
        self._records = [picture.record for picture in self.prototypes]
        self._unchanged = Unchanged(self.files, self._records, run.network)
        localizers = run.localizers(localizer)
        self.localizer, localize = next(iter(localizers.items()))
        self._learner = MaskLearner(self.network, localize, self.localizer)
        missing = [name for name in (self.localizer, SIMILARITY) if name not in self.prototypes[0].maps]
        if missing:
            raise InputError(
                f"the prototypes of {run.folder} have no maps of {', '.join(missing)} to show beside a picture's; "
                f"make them with: {command('project', run.folder, '--localizer', self.localizer)}"
            )
        self._side = run.options.image_size or 224
        self._named = readable_all(self.network.classes)
        self.classes = [self._named(name) for name in self.network.classes]

    def of(self, folder: Path) -> RunSubject:
        """Open another run likewise."""
        options = self.run.options
        run = open_run(folder, device=options.device, root=options.root, progress=False)
        return RunSubject(run, self._chosen)

    def about(self) -> dict:
        return {
            "kind": self.kind,
            "title": self.folder.name,
            "classes": self.classes,
            "several": self.network.multi_label,
            "prototypes": self.network.prototype_count,
            "learns": self.localizer != SIMILARITY,
            **outlines(self.localizer, self.kind, SIMILARITY, are_pooled(self.prototypes)),
        }

    def review(self) -> Review:
        """Read what people said of the prototypes.

        Raises:
            InputError: the run's ``review.json`` is damaged, or of other prototypes; the run's folder has gone, or
                holds another run by now.
        """
        self._unchanged.check()
        return review_of(self.folder, self._records)

    def judge(self, given: list) -> Review:
        """Add to what people said of the prototypes, see :func:`protomask.run.review.add_judgements`.

        Raises:
            InputError: as there; the run's folder holds another run by now.
        """
        self._unchanged.check()  # before the lock leaves a file there
        return add_judgements(self.folder, given, self._records, self._unchanged.check)

    def warm_up(self) -> None:
        """Explain noise once: the first person does not wait longer, and the number of steps is known."""
        images = blank_images(self._side, 3, self.run.device)
        explain(self.network, images, ["noise"], self.prototypes, {SIMILARITY: OnePass()}, top=1, counter=0)
        self._learner.try_once(images)

    def read(self, name: str, content: bytes) -> Asked:
        with without_range(NO_RANGE):
            upload = read_upload(name, content, self._side, self.run.options.levels())
        return Asked(upload.shrunk(), as_batch(upload.pixels, self.run.transform).to(self.run.device))

    def answer(self, asked: Asked) -> dict:
        prediction = self._predict(asked.images)
        found = explain(
            self.network,
            asked.images,
            [asked.upload.name],
            self.prototypes,
            {SIMILARITY: OnePass()},
            shown_as=[photograph(asked.upload.pixels)],
            counter=COUNTER,
            prediction=prediction,
        )
        asked.found, asked.index = found[:MOST_FINDINGS], []
        asked.others = [
            {"name": self._named(each.subject), "probability": each.probability} for each in found[MOST_FINDINGS:]
        ]
        chances = self._chances(prediction)
        return {
            "name": asked.upload.name,
            "width": asked.upload.size[0],
            "height": asked.upload.size[1],
            "photo": shown(asked.upload.pixels),
            "grey": is_grey(asked.upload.pixels),
            "classes": most_probable(chances, self.classes.__getitem__),
            "several": self.network.multi_label,
            "questions": [self._question(explanation, chances, asked) for explanation in asked.found],
            "others": asked.others,
        }

    def _question(self, explanation: Explanation, chances: Tensor, asked: Asked) -> dict:
        def lines(matches: tuple[Match, ...]) -> list[dict]:
            return [self._line(match, asked) for match in matches]

        names = self.network.classes
        rival = None if explanation.finding else chances[names.index(explanation.runner_up)].item()
        return {
            "finding": explanation.finding and self._named(explanation.finding),
            "found": explanation.found,
            "predicted": self._named(explanation.subject),
            "probability": explanation.probability,
            "points": explanation.logit,
            "other_points": explanation.other_points,
            "runner_up": None if explanation.finding else self._named(explanation.runner_up),
            "runner_up_probability": rival,
            "runner_up_points": None if explanation.finding else explanation.runner_up_logit,
            "matches": lines(explanation.matches),
            "counter": lines(explanation.counter),
        }

    def _line(self, match: Match, asked: Asked) -> dict:
        record = match.prototype.record
        asked.index.append(record.prototype)
        slot, nothing = len(asked.index) - 1, match.nothing_to_keep
        if nothing:
            asked.empty.add(slot)
        return {
            "slot": slot,
            "prototype": record.prototype,
            "class": self._named(record.class_name),
            "source": record.source,
            "similarity": match.similarity,
            "weight": match.weight,
            "points": match.points,
            "quick": drawn(match.maps[SIMILARITY], asked.upload.size, record.levels.get(SIMILARITY), nothing),
            "mask": None,
        }

    def learn(self, asked: Asked, tell: Masks, pause: Callable[[], None]) -> None:
        self._learner.learn(asked, tell, pause)

    def look_again(self, asked: Asked, images: Tensor) -> dict:
        before, after = self._predict(asked.images), self._predict(images)
        return {
            "photo": shown(as_pictures(images, self.network)[0]),
            "classes": compare_chances(
                self._chances(before), self._chances(after), self.classes, several=self.network.multi_label
            ),
            "similarity": {str(slot): after.similarities[0, number].item() for slot, number in enumerate(asked.index)},
        }

    def panel(self, asked: Asked) -> bytes:
        from dataclasses import replace

        from protomask.report import this_looks_like_that

        slots = iter(range(len(asked.index)))
        name = self.localizer if asked.maps else SIMILARITY

        def with_masks(matches: tuple[Match, ...]) -> tuple[Match, ...]:
            found = []
            for match, slot in zip(matches, slots):
                learned = {name: asked.maps[slot]} if slot in asked.maps else {}
                found.append(replace(match, maps={**match.maps, **learned}))
            return tuple(found)

        drawn_ones = []
        with self._unchanged.throughout():
            for each in asked.found:
                file = io.BytesIO()
                shown_one = replace(each, matches=with_masks(each.matches), counter=with_masks(each.counter))
                this_looks_like_that(shown_one, name).savefig(file, format="png", dpi=120, metadata=SIGNED)
                drawn_ones.append(file.getvalue())
        return stacked(drawn_ones, others_in_words(asked.others))

    def prototype(self, number: int) -> dict:
        """Give one prototype's picture and words.

        Raises:
            InputError: there is none of this number, or the run's folder holds another run by now.
        """
        if not 0 <= number < len(self.prototypes):
            raise InputError(f"there is no prototype {number}; they are numbered 0 to {len(self.prototypes) - 1}")
        picture = self.prototypes[number]
        record, found, nothing = picture.record, picture.inspection, picture.nothing_to_keep
        with self._unchanged.throughout():
            image, maps = picture.image, picture.maps  # read from the disk each time that they are asked for
        return {
            "prototype": number,
            "class": self._named(record.class_name),
            "source": record.source,
            "weight": record.weight,
            "photo": shown(image),
            "ratio": ratio_of(image),
            "mask": drawn(maps[self.localizer], size_of(image), record.levels.get(self.localizer), nothing),
            "quick": drawn(maps[SIMILARITY], size_of(image), record.levels.get(SIMILARITY), nothing),
            "flags": list(found.flags) if found else [],
            "purity": None if found is None else found.purity,
            "outside": None if found is None else found.outside.get(self.localizer),
        }

    def overview(self) -> list[dict]:
        """Name every prototype, without pictures."""
        return [
            {
                "prototype": picture.record.prototype,
                "class": self._named(picture.record.class_name),
                "flags": list(picture.inspection.flags) if picture.inspection else [],
            }
            for picture in self.prototypes
        ]

    def _predict(self, images: Tensor) -> Prediction:
        with torch.no_grad(), frozen(self.network):
            return self.network(images)

    def _chances(self, prediction: Prediction) -> Tensor:
        """(C,)"""
        logits = require_numbers(prediction.logits.float(), ["this picture"])
        return probabilities(logits, self.network.multi_label)[0].cpu()
