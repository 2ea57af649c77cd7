"""Training on the feature maps of a frozen backbone, which are computed once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import torch

from protomask import distributed
from protomask.capabilities import HasBackbone
from protomask.data import AnnotatedImages
from protomask.fingerprints import fingerprint
from protomask.run.opened import Run
from protomask.training.checkpoint import load_checkpoint
from protomask.training.feature_maps import forget_files, passing_features, store_features
from protomask.training.stages import TrainingSet

VIEWS = 4
"""times that each training image is seen, augmented anew each time; every step draws one of them"""


@contextmanager
def on_stored_features(run: Run, checkpoint: Path) -> Iterator[tuple[TrainingSet, AnnotatedImages]]:
    """Give training set and test images as feature maps; the run's backbone passes them on meanwhile.

    They are kept beside the checkpoint, and go once the work within is done. A training that is resumed goes on with
    the backbone of its checkpoint, whatever the file of weights has become.

    Args:
        run: whose network's backbone has its weights.
        checkpoint: of the training, where there is one already.

    Raises:
        InputError: see :func:`protomask.training.feature_maps.store_features`.
    """
    network, setup = run.network, run.setup
    assert isinstance(network, HasBackbone)  # the options were checked
    saved = load_checkpoint(checkpoint)
    if saved is not None and isinstance(saved.get("network"), dict):
        start = "backbone."
        own = {key[len(start) :]: value for key, value in saved["network"].items() if key.startswith(start)}
        network.backbone.load_state_dict(own, strict=False)  # the trainer says what does not fit
    folder = checkpoint.parent / f"features-{_key(network, run)}"
    distributed.only_first(lambda: _remove_others(folder))
    once = setup.train.subset(torch.arange(len(setup.plain)))
    train = store_features(network, once, setup, folder, "training", VIEWS)
    stored = replace(
        setup,
        train=train.subset(torch.arange(len(setup.train)) % max(len(train), 1)),
        plain=store_features(network, setup.plain, setup, folder, "plain"),
        validation=store_features(network, setup.validation, setup, folder, "validation"),
        workers=0,  # reading costs less than handing over
    )
    test = store_features(network, run.test, setup, folder, "test")
    with passing_features(network):
        yield stored, test
    distributed.barrier()
    forget_files()
    distributed.only_first(lambda: shutil.rmtree(folder, ignore_errors=True))


def _key(network: HasBackbone, run: Run) -> str:
    """Digest what the feature maps depend on."""
    options, splits = run.options, run.splits
    parts = (splits.train, splits.validation, splits.test)
    said = [
        fingerprint(network.backbone),
        options.image_size,
        options.precision,
        options.seed,
        options.on_object,
        VIEWS,
        "exact",  # earlier versions rounded all maps to half precision, and had other rows in a file
    ]
    return blake2b(repr([*said, *(part.fingerprint() for part in parts)]).encode(), digest_size=6).hexdigest()


def _remove_others(folder: Path) -> None:
    """Remove feature maps that other weights or data left."""
    for other in folder.parent.glob("features-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
