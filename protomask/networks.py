"""Prototype networks by name (entry points ``protomask.networks``), and their files without pickles.

An entry point names a module with four functions:

- ``defaults(options)``: values for the options that are None, as a dictionary,
- ``build(options, classes, multi_label=False)``: a new network from complete :class:`protomask.options.Options`; with
  ``multi_label`` an image has any number of findings (``classes``) instead of one class,
- ``rebuild(settings)``: the network of ``PrototypeNetwork.settings()``, with random weights,
- ``stages(network, options)``: its recipe, a list of :class:`protomask.training.Epochs` and ``Action``,

and, where other projects' files can become such a network, ``import_official(path, classes, ...)``, as
:func:`protopnet.official.import_network`.
"""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from protomask.errors import InputError
from protomask.prototype_network import PrototypeNetwork

GROUP = "protomask.networks"


# The networks that come with protomask: known by name also in a clone that is not installed, which has no entry points.
_OWN = {"protopnet": "protopnet.recipe", "xprotonet": "xprotonet.recipe"}


def network_names() -> list[str]:
    """The names that :func:`get_network` knows, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)} | _OWN.keys())


def get_network(name: str) -> ModuleType:
    """The module of a kind of network.

    Raises:
        InputError: no installed package offers it.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    if name in _OWN:
        return importlib.import_module(_OWN[name])
    raise InputError(f"network {name!r} is unknown; choose one of {', '.join(network_names())}")


def save_network(network: PrototypeNetwork, kind: str, folder: Path) -> None:
    """Writes ``model.safetensors`` and ``model.json``, each whole or not at all."""
    from safetensors.torch import save

    from protomask.training.checkpoint import write_atomically

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(folder / "model.safetensors", lambda path: path.write_bytes(save(state)))
    description = json.dumps({"network": kind, "settings": network.settings()}, indent=1)
    write_atomically(folder / "model.json", lambda path: path.write_text(description, encoding="utf-8"))


def load_network(folder: Path) -> PrototypeNetwork:
    """The network that :func:`save_network` wrote, in evaluation mode, on the CPU.

    Raises:
        InputError: a file is missing, damaged, or does not fit the other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} has no {name}: no training has finished there; finish it with: protomask train --output {folder} --resume"
            )
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        network = get_network(description["network"]).rebuild(description["settings"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / 'model.json'} does not describe a network ({error})") from error
    try:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / 'model.safetensors'} does not fit model.json beside it: {reason}") from error
    return network.eval()
