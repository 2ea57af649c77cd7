"""An explainer on disk: ``localizer.safetensors`` and ``localizer.json``, no pickle, both with checksums; the second
holds that of the first."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch

from protomask.errors import InputError
from protomask.explainable import Explainable
from protomask.fingerprints import fingerprint
from protomask.freezing import held_modules
from protomask.gradients import with_gradients
from protomask.json_files import read_json
from protomask.localizers.amortised.explainer import Explainer
from protomask.precision import float32_by_default
from protomask.run_schemas import LocalizerFile
from protomask.schema import check
from protomask.suggested import command
from protomask.tensor_files import load_tensors, save_described

WEIGHTS, ABOUT = "localizer.safetensors", "localizer.json"
MEND = "distill it again"


@dataclass(eq=False)
class Opened:
    """An explainer at hand, with what is known of it."""

    network: Explainer
    taps: tuple[str, ...]
    """layers of the explained model, the coarsest first"""
    contrast: float
    """power of the mask's values in a map"""
    model: str | None
    """:func:`protomask.fingerprints.fingerprint` of the explained torch module"""
    about: dict[str, Any] = field(default_factory=dict)
    """the rest of ``localizer.json``"""
    met: WeakSet = field(default_factory=WeakSet, repr=False)
    """modules that it was asked about before"""

    def __repr__(self) -> str:
        return f"explainer {fingerprint(self.network)} at contrast {self.contrast:g}"  # what kept maps are found by

    def __post_init__(self) -> None:
        self.network.to(memory_format=torch.channels_last)

    def on(self, device: torch.device) -> Explainer:
        """Give the network, moved to ``device``."""
        if self.network.strength.device != device:  # to() looks at every weight, for each map
            self.network.to(device)
        return self.network

    def save(self, folder: str | os.PathLike) -> None:
        """Write both files, together or not at all.

        Raises:
            InputError: they cannot be written.
        """
        folder = Path(folder)
        network = self.network
        about = {
            **self.about,
            "explainer": {
                "channels": list(network.channels),
                "condition": network.condition,
                "colours": network.colours,
            },
            "taps": list(self.taps),
            "contrast": self.contrast,
            "model": self.model,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {folder} ({error.strerror}); give a folder") from error
        save_described(folder / WEIGHTS, network.state_dict(), folder / ABOUT, about)

    def fits(self, explained: Explainable) -> bool:
        """Tell whether ``explained`` has the weights that this was distilled for; looked up once for each model."""
        roots = held_modules(explained)
        if not roots or self.model is None or any(root in self.met for root in roots):
            return True
        self.met.update(roots)
        # Explainers of older versions know the model by its saved state alone.
        return any(fingerprint(root, saved_alone=old) == self.model for old in (False, True) for root in roots)


@with_gradients
def open_explainer(folder: str | os.PathLike) -> Opened:
    """Read what :meth:`Opened.save` wrote, on the CPU.

    Raises:
        InputError: a file is missing, damaged, changed since it was written, or does not fit the other.
    """
    folder = Path(folder)
    for name in (ABOUT, WEIGHTS):
        if not os.path.lexists(folder / name):
            raise InputError(
                f"{folder} has no {name}: nothing was distilled there; make it with protomask.distill, or, "
                f"of a run, with: {command('distill', folder)}"
            )
    about = read_json(folder / ABOUT, MEND)
    try:
        check(about, LocalizerFile)
    except ValueError as error:
        raise InputError(f"{folder / ABOUT} is damaged ({error}); {MEND}") from error
    assert isinstance(about, dict)
    shape, weights = about.pop("explainer"), about.pop("weights", None)  # older versions kept no checksum
    if len(shape["channels"]) != len(about["taps"]):
        raise InputError(f"{folder / ABOUT} is damaged (as many taps as channels there must be); {MEND}")
    with float32_by_default():
        network = Explainer(shape["channels"], shape["condition"], shape["colours"])
    state = load_tensors(folder / WEIGHTS, MEND, written_with=weights)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{folder / WEIGHTS} is damaged ({name} holds numbers that are not finite); {MEND}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / WEIGHTS} does not fit {ABOUT} beside it ({reason}); {MEND}") from error
    taps, contrast, model = tuple(about.pop("taps")), about.pop("contrast"), about.pop("model")
    return Opened(network.eval().requires_grad_(False), taps, contrast, model, about)
