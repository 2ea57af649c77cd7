"""Train the explainer of a model, keep it, and say how good it is on images that it did not learn from."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from protomask import distributed
from protomask.data import AnnotatedImages, collate
from protomask.devices import choose_device
from protomask.distillation.objective import Objective, begin_ranges
from protomask.distillation.questions import Questions, ask
from protomask.distillation.settings import Distillation
from protomask.distillation.stamps import stamp_of_source
from protomask.distillation.teacher import PIECE, teacher_maps
from protomask.distillation.training import STATE, Trainer
from protomask.errors import InputError, NothingToKeepWarning
from protomask.evaluation.pairs import device_of
from protomask.explainable import Classifier, Explainable
from protomask.files import text_digest
from protomask.fingerprints import fingerprint
from protomask.freezing import frozen, held_modules
from protomask.given import as_count, as_flag, as_path, refuse_run, short
from protomask.gradients import with_gradients
from protomask.localization.photographs import as_data_set
from protomask.localization.preprocessing import as_classifier, unwrap_classifier
from protomask.localizers import get_localizer
from protomask.localizers.amortised.explainer import Explainer
from protomask.localizers.amortised.files import ABOUT, Opened, open_explainer
from protomask.localizers.amortised.taps import find_taps, look_at
from protomask.localizers.distilled import Distilled, draw, measure_faithfulness
from protomask.localizers.engine.speed.folding import accelerate
from protomask.localizers.mdm import MDM
from protomask.places import as_places
from protomask.precision import float32_by_default
from protomask.prototype_network import PrototypeNetwork
from protomask.run_folder import alone_in

WORK = "distillation"
"""folder of checkpoints and of the teacher's maps; it may be deleted once the explainer is there"""
MOST_HELD_OUT = 32
TRIED = 8
"""images in which the layers are looked for that reach the score"""
CONTRASTS = (0.25, 0.35, 0.5, 0.6, 0.7, 0.85, 1.0, 1.4)
PRICE = 0.5
"""of showing everything, in shares of the score's range"""
MOST_SHOWN = 1.5
"""times as much as the teacher's maps show"""


@with_gradients
def distill(
    model: nn.Module | Classifier,
    data: object,
    *,
    output: str | os.PathLike | None = None,
    settings: Distillation | None = None,
    only: Sequence[int] | None = None,
    preprocessing: object = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    multi_label: bool = False,
    device: str | torch.device | None = None,
    workers: int = 0,
    progress: bool = False,
    **changes,
) -> Distilled:
    """Train a small network that draws in one pass the mask which MDM would learn; ours.

    It looks at the features that the model has anyway and at the image, is asked for a class or a prototype, and is
    trained through the model, which stays as it is, by MDM's own objective. It begins with some of MDM's maps, which
    also tell it how much of an image to show. See docs/distill.md.

    >>> distilled = protomask.distill(model, "photographs/", output="explainer", steps=600)     # doctest: +SKIP
    >>> protomask.look(model, "bird.jpg", localizer=distilled)                                  # doctest: +SKIP

    Args:
        model: any classifier, a :class:`protomask.Classifier`, or a prototype network. Left exactly as it was.
        data: training images: photographs (:func:`protomask.inputs.read_pictures`), a torch Dataset of (image, label),
            or one of our data sets. For a prototype network one of our data sets with its classes.
        output: folder that ``localizer.safetensors`` and ``localizer.json`` are written to. A call that was stopped
            goes on there; the teacher's maps are kept in its ``distillation/``.
        settings: how; and each field of :class:`Distillation` by its own name: ``steps=600``.
        only: classes or prototypes that may be asked for; all by default.
        preprocessing, mean, std, image_size, multi_label, device: as for :func:`protomask.look`.
        workers: loading processes.
        progress: show bars.

    Raises:
        InputError: too few images, a teacher that is no MDM, an ``only`` that the model does not have or no image
            allows, bad data or settings; another process or thread is at work in ``output``.
    """
    chosen = with_changes(settings or Distillation(), changes)
    progress = as_flag(progress, "progress")
    explained, images, where = _subject(model, data, preprocessing, mean, std, image_size, multi_label, device)
    folder = None if output is None else as_path(output, "output")
    with nullcontext() if folder is None else alone_in(folder):
        return distill_explained(
            explained, images, chosen, where, folder=folder, only=only, workers=workers, progress=progress
        )


@with_gradients
@torch.random.fork_rng(devices=[])  # loaders draw from the global generator
def distill_explained(
    explained: Explainable,
    data: AnnotatedImages,
    settings: Distillation,
    device: torch.device,
    *,
    folder: Path | None = None,
    only: Sequence[int] | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Distilled:
    """Train on images that are normalised as the model expects; see :func:`distill`.

    Args:
        explained: a prototype network or a classifier, on ``device``.
        folder: see ``output`` there.
    """
    begun, teacher = time.perf_counter(), _teacher(settings.teacher)
    workers = as_count(workers, "workers", 0)
    if len(data) < 4:
        raise InputError(f"there are {len(data)} images to learn from; give at least 4, better some hundreds")
    batch = max(1, min(settings.batch_size, len(data)))
    _check_shares(batch)
    allowed = None if only is None else _allowed(only)
    source = stamp_of_source(explained, data)
    stamp = _stamp(source, settings, allowed)
    ready = distributed.from_first(folder is not None and _is_ready(folder, stamp))
    if folder is not None and ready:
        return Distilled(explainer=open_explainer(folder))
    questions = ask(explained, data, allowed, device, batch)
    learned, held_out = _divide(questions, settings.seed)
    _check_shares(min(batch, len(learned)))
    some = learned[: max(1, min(settings.maps, len(learned)))]
    of = questions.draw(some.tolist(), 0.0, _generator(settings.seed))
    taps = _find_taps(explained, data, some[:TRIED], of[:TRIED].to(device), batch)
    first = _images(data, some[:1], device)
    quick = accelerate(explained, first, of[:1].to(device))
    preset = teacher.for_model(explained)
    work = None if folder is None else folder / WORK
    count = min(settings.maps, len(some))
    maps = torch.zeros(0, 1, 1, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToKeepWarning)  # such pairs count nothing
        if count:
            identity = f"{source} {teacher!r} {tuple(first.shape)}"
            maps = teacher_maps(
                _together(teacher),
                explained,
                data,
                some[:count],
                of[:count],
                device,
                folder=work,
                stamp=identity,
                progress=progress,
            )
    seconds = {"teacher": time.perf_counter() - begun}
    seen = look_at(explained, taps, first, of[:1].to(device))
    with torch.random.fork_rng(devices=[]), float32_by_default():
        torch.default_generator.manual_seed(settings.seed)  # and no accelerator's
        explainer = Explainer([each.shape[1] for each in seen.features], seen.condition.shape[1], first.shape[1])
    explainer.to(device)
    objective = Objective(quick, preset, _usual_range(quick, preset, data, some[:MOST_HELD_OUT], of, device))
    places = {int(position): place for place, position in enumerate(learned.tolist())}
    trainer = Trainer(
        explainer,
        taps,
        explained,
        objective,
        data.subset(learned),
        Questions([questions.own[each] for each in learned], [questions.others[each] for each in learned]),
        settings,
        maps,
        (torch.tensor([places[int(each)] for each in some[:count].tolist()], dtype=torch.long), of[:count]),
        device,
        work,
        stamp,
        workers,
        progress,
    )
    log = trainer.run()
    explainer.eval().requires_grad_(False)
    opened = Opened(explainer, taps, 1.0, fingerprint(held_modules(explained)[0]))
    opened.contrast = _choose_contrast(opened, explained, data, some[:MOST_HELD_OUT], of, maps, device)
    seconds["all"] = time.perf_counter() - begun + trainer.before
    opened.about = {
        "teacher": repr(teacher),
        "training": {
            "settings": repr(settings),
            "stamp": stamp,
            "images": len(learned),
            "only": None if allowed is None else sorted(set(allowed.tolist())),
            "image_size": list(first.shape[-2:]),
            "seconds": seconds,
            "log": log,
        },
        "held_out": _held_out(opened, explained, data, held_out, questions, device),
    }
    distilled = Distilled(explainer=opened)
    if folder is not None:
        distributed.only_first(lambda: _finish(distilled, folder))
    return distilled


def _check_shares(batch: int) -> None:
    """Raise InputError where a process would have no image of a batch."""
    if batch < distributed.size():
        raise InputError(
            f"a batch of {batch} images cannot be shared by {distributed.size()} processes; give larger batches or "
            "more images, or lower --nproc-per-node"
        )


def _is_ready(folder: Path, stamp: str) -> bool:
    """Whether the folder holds what this very call would make."""
    if not (folder / ABOUT).exists():
        return False
    try:
        return open_explainer(folder).about.get("training", {}).get("stamp") == stamp
    except InputError:  # damaged: made again
        return False


def _finish(distilled: Distilled, folder: Path) -> None:
    distilled.save(folder)
    for path in sorted((folder / WORK).glob("state*.pt")) if (folder / WORK / STATE).exists() else ():
        path.unlink()


def with_changes(settings: Distillation, changes: dict) -> Distillation:
    """Change settings by name.

    Raises:
        InputError: no settings, an unknown name, or a value that is impossible.
    """
    if isinstance(settings, type) or not is_dataclass(settings):
        raise InputError(f"settings is {short(settings)}; give Distillation(...), or its fields by name: steps=600")
    try:
        return replace(settings, **changes)
    except TypeError as error:
        known = ", ".join(Distillation.__dataclass_fields__)
        raise InputError(f"distill knows no such setting ({error}); it has {known}") from None
    except InputError as error:
        raise InputError(str(error).removeprefix("Distillation: ")) from None


def _subject(model, data, preprocessing, mean, std, image_size, multi_label, device):
    """Give the model as something to explain, the images as it wants them, and the device."""
    if isinstance(model, PrototypeNetwork):
        if not isinstance(data, AnnotatedImages):
            raise InputError(
                "a prototype network is distilled with one of our data sets (protomask.load_data, "
                "protomask.from_datasets); of a run: run.distill()"
            )
        from protomask.data.transforms import evaluation_transform

        images = data.with_transform(evaluation_transform(model.image_size, model.mean, model.std))
        return model, images, device_of(model) if device is None else choose_device(str(device))
    refuse_run(model, "model")
    if not isinstance(model, nn.Module | Classifier):
        raise InputError(f"{type(model).__name__} is no torch module; give a classifier or a prototype network")
    plain, prepare, multi_label = unwrap_classifier(
        model, preprocessing, mean=mean, std=std, image_size=image_size, multi_label=multi_label
    )
    explained = as_classifier(model, "log-probability", prepare, multi_label)
    return explained, as_data_set(data, prepare), device_of(plain) if device is None else choose_device(str(device))


def _teacher(words: str) -> MDM:
    teacher = get_localizer(words)
    if not isinstance(teacher, MDM):
        raise InputError(f"the teacher {words!r} is no MDM; give mdm, with settings where wanted (mdm:damping=1)")
    return teacher


def _together(teacher: MDM) -> MDM:
    """Let the teacher's maps of a piece be learned together: sooner, and they need not be the same to the last bit."""
    if teacher.runtime.batch_size is not None:
        return teacher
    return replace(teacher, runtime=replace(teacher.runtime, batch_size=PIECE))


def _allowed(only: Sequence[int]) -> Tensor:
    numbers = as_places(only, "only").cpu()
    if not len(numbers):
        raise InputError("only lists nothing; give at least one class or prototype, or leave it out")
    return numbers


def _find_taps(
    explained: Explainable, data: AnnotatedImages, places: Tensor, index: Tensor, batch: int
) -> tuple[str, ...]:
    """Find the layers to look at by the first ``batch`` images that tell: of some, nothing reaches the score."""
    refused: InputError | None = None
    for some, of in zip(places.split(batch), index.split(batch)):
        try:
            return tuple(find_taps(explained, _images(data, some, index.device), of))
        except InputError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _divide(questions: Questions, seed: int) -> tuple[Tensor, Tensor]:
    """Positions to learn from and held-out ones, of images that something can be asked about, in the seed's order."""
    usable = torch.tensor([place for place, own in enumerate(questions.own) if len(own)], dtype=torch.long)
    if len(usable) < 4:
        raise InputError(
            f"only {len(usable)} images have a class or prototype that may be asked for; allow more, or add images"
        )
    order = usable[torch.randperm(len(usable), generator=_generator(seed))]
    count = max(1, min(MOST_HELD_OUT, len(order) // 10))
    return order[count:], order[:count]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(data: AnnotatedImages, positions: Tensor, device: torch.device) -> Tensor:
    return collate([data[place] for place in positions.tolist()])["images"].to(device)


def _stamp(source: str, settings: Distillation, allowed: Tensor | None) -> str:
    return text_digest(f"{source} {settings!r} {None if allowed is None else allowed.tolist()}")


def _usual_range(
    quick: Explainable, teacher: MDM, data: AnnotatedImages, positions: Tensor, of: Tensor, device: torch.device
) -> float:
    """Median range of the scores of some pairs."""
    ranges = []
    with frozen(quick):
        for rows in torch.arange(len(positions)).split(8):
            images = _images(data, positions[rows], device)
            state = begin_ranges(quick, images, of[rows].to(device), teacher.background or "zero")
            ranges.append(state.buffers["range"].cpu())
    return max(float(torch.cat(ranges).median()), 1e-6)


def _choose_contrast(
    opened: Opened,
    explained: Explainable,
    data: AnnotatedImages,
    positions: Tensor,
    of: Tensor,
    maps: Tensor,
    device: torch.device,
) -> float:
    """Find the contrast of maps that keep most of the score, less the price of what they show, on training images.

    Those that show much more than the teacher's ``maps`` do not count: a score that grows with each shade would have
    the maps of an explainer that knows little pale all over.
    """
    images, index = _images(data, positions, device), of[: len(positions)].to(device)
    most = MOST_SHOWN * float(maps.mean()) if len(maps) else 1.0
    worth: dict[float, float] = {}
    for contrast in reversed(CONTRASTS):
        opened.contrast = contrast
        shown = draw(opened, explained, images, index)
        if worth and shown.mean() > most:
            break
        kept = measure_faithfulness(explained, images, index, shown).kept.clamp(max=1)
        worth[contrast] = float(kept.mean() - PRICE * shown.mean())
    return max(worth, key=worth.__getitem__)


def _held_out(
    opened: Opened,
    explained: Explainable,
    data: AnnotatedImages,
    positions: Tensor,
    questions: Questions,
    device: torch.device,
) -> dict[str, float]:
    """Measure what the maps keep and leave on images that were not learned from."""
    images = _images(data, positions, device)
    index = questions.draw(positions.tolist(), 0.0, _generator(0)).to(device)
    found = measure_faithfulness(explained, images, index, draw(opened, explained, images, index))
    return {
        "images": float(len(images)),
        "kept": float(found.kept.mean()),
        "rest": float(found.rest.mean()),
        "low": float(found.low.float().mean()),
    }
