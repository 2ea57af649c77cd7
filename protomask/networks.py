"""Prototype networks by name (entry points ``protomask.networks``), and their files without pickles.

An entry point names a module with four functions:

- ``defaults(options)``: values for the options that are None, as a dictionary,
- ``build(options, classes, multi_label=False)``: a new network from complete :class:`protomask.options.Options`; with
  ``multi_label`` an image has any number of findings (``classes``) instead of one class,
- ``rebuild(settings)``: the network of ``PrototypeNetwork.settings()``, with random weights,
- ``stages(network, options)``: its recipe, a list of :class:`protomask.training.Epochs` and ``Action``,

and, where other projects' files can become such a network, ``import_official(path, classes, ...)``, as
:func:`protopnet.official.import_network`, and ``check_official(network, data, setup, path)``, which refuses what
only its answers betray, as :func:`protopnet.linear_similarity.refuse_linear_similarity`.
"""

from __future__ import annotations

import importlib
import os
import warnings
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from protomask.backbones.names import one_line
from protomask.backbones.own import is_of_build_backbone
from protomask.errors import InputError, did_you_mean, type_named
from protomask.given import as_path
from protomask.gradients import with_gradients
from protomask.meanwhile import meanwhile
from protomask.precision import float32_by_default
from protomask.prototype_network import PrototypeNetwork
from protomask.registered import find_registered, load_registered, told_in_one_line
from protomask.run_folder import checked_json
from protomask.tensor_files import load_tensors, save_described

GROUP = "protomask.networks"
BY_ONESELF = "build the network yourself and load model.safetensors"
UNCHECKED: ContextVar[bool] = ContextVar("whether PrototypeNetwork.save leaves out its check", default=False)
_FUNCTIONS = ("defaults", "build", "rebuild", "stages")

# The networks that come with protomask: known by name also in a clone that is not installed, which has no entry points.
_OWN = {"protopnet": "protopnet.recipe", "xprotonet": "xprotonet.recipe"}


def network_names() -> list[str]:
    """List the names that :func:`get_network` knows, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)} | _OWN.keys())


def get_network(name: str) -> ModuleType:
    """Import the module of a kind of network.

    Raises:
        InputError: no installed package offers it, or several do; or what one offers cannot be loaded or is no such
            module.
    """
    point = find_registered(entry_points(group=GROUP), name, "network", _OWN.get(name))
    if name in _OWN:
        return importlib.import_module(_OWN[name])
    if point is not None:
        module = load_registered(point, "network")
        missing = [each for each in _FUNCTIONS if not callable(getattr(module, each, None))]
        if missing:
            raise InputError(
                f"network {name!r} ({point.value}) has no function {' and no '.join(missing)}; its entry point "
                f"names a module with {', '.join(_FUNCTIONS[:-1])} and {_FUNCTIONS[-1]}"
            )
        return module
    known = network_names()
    raise InputError(f"network {name!r} is unknown; choose one of {', '.join(known)}{did_you_mean(name, known)}")


@with_gradients
def ask_network(name: str, function: str, kind: type, *given: Any) -> Any:
    """Call a function of a kind of network.

    Args:
        function: its name, ``"defaults"`` for example.
        kind: what it must give.
        given: what it is called with.

    Raises:
        InputError: as :func:`get_network`; or another package's function fails, or gives something else.
    """
    ask = getattr(get_network(name), function)
    if name in _OWN:
        with float32_by_default():
            return ask(*given)
    what = f"{function}() of network {name!r}"
    with told_in_one_line(what), float32_by_default():
        found = ask(*given)
    if not isinstance(found, kind):
        raise InputError(f"{what} gives {type_named(found)}, not a {kind.__name__}; mend the package that registers it")
    return found


def write_network(network: PrototypeNetwork, kind: str, folder: str | Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` together or not at all, with checksums; nothing is checked.

    Raises:
        InputError: ``folder``, made where it is missing, cannot be written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder} ({error.strerror}); give a folder") from error
    weights, description = Path(folder) / "model.safetensors", Path(folder) / "model.json"
    save_described(weights, network.state_dict(), description, {"network": kind, "settings": network.settings()})


def save_network(network: PrototypeNetwork, kind: str, folder: str | Path) -> None:
    """Write a network, and what else a ``save`` of its own writes; nothing is checked, so no training is lost for it.

    An error in a ``save`` of its own is a warning: the network itself is written by then.

    Raises:
        InputError: ``folder``, made where it is missing, cannot be written to.
    """
    write_network(network, kind, folder)
    # One that calls this function has written all.
    if UNCHECKED.get() or getattr(network.save, "__func__", None) is PrototypeNetwork.save:
        return
    try:
        save_unchecked(network, kind, folder)
    except Exception as error:
        why = f"save() of {type(network).__name__} failed ({type(error).__name__}: {one_line(error)})"
        warnings.warn(f"{folder}: {why}; the network is there, but perhaps not all that it writes", stacklevel=2)


def save_unchecked(network: PrototypeNetwork, kind: str, folder: str | Path) -> None:
    """Call the network's ``save``, which does not ask meanwhile whether the network can be read back."""
    with meanwhile(UNCHECKED, True):
        # A save of one's own may take a folder alone.
        network.save(folder, **({} if kind == network.registered_as else {"registered_as": kind}))


def why_not_rebuilt(settings: object, error: Exception) -> str:
    """Say why ``rebuild`` ended in an error, where that has a reason of its own; nothing where the settings are odd."""
    backbone = settings.get("backbone") if isinstance(settings, dict) else None
    if isinstance(backbone, dict) and not is_of_build_backbone(backbone):
        return f"the backbone is not one of build_backbone ({one_line(error)}); {BY_ONESELF}"
    return str(error) if isinstance(error, InputError) else ""


@with_gradients
def load_network(folder: str | Path) -> PrototypeNetwork:
    """Read the network that ``network.save(folder)`` or a finished training wrote, in evaluation mode, on the CPU.

    Raises:
        InputError: a file is missing, damaged, changed since it was written, or does not fit the other.
    """
    folder = as_path(folder, "the network's folder")
    for name in ("model.json", "model.safetensors"):
        if not os.path.lexists(folder / name):
            raise InputError(
                f"{folder} has no {name}: neither did a training finish there nor was a network saved there; resume "
                "the training, or give another folder"
            )
    mend = "restore it, or make the run again"
    description, weights = folder / "model.json", folder / "model.safetensors"
    content = checked_json(description, mend)
    try:
        with float32_by_default():
            network = get_network(content["network"]).rebuild(content["settings"])
        if not isinstance(network, PrototypeNetwork):
            raise InputError(
                f"rebuild() of network {content['network']!r} gives {type_named(network)}, not a PrototypeNetwork; "
                "mend the package that registers it"
            )
    except Exception as error:  # settings of any other shape, in whatever the network does with them
        if reason := why_not_rebuilt(content["settings"], error):
            raise InputError(f"{description}: {reason}") from error
        raise InputError(f"{description} does not describe a network ({one_line(error)}); {mend}") from error
    state = load_tensors(weights, mend, older=True, written_with=content.get("weights"))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{weights} is damaged ({name} holds numbers that are not finite); {mend}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{weights} does not fit model.json beside it: {one_line(error)}; {mend}, or {BY_ONESELF}"
        ) from error
    network.registered_as = content["network"]
    return network.eval()
