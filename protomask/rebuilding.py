"""Whether what is saved of a network gives that network back, told before it is written."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from protomask.backbones.dryrun import shapes_alone
from protomask.backbones.names import one_line
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.given import short
from protomask.networks import BY_ONESELF, get_network, why_not_rebuilt
from protomask.prototype_network import PrototypeNetwork

# What says how images are prepared and answers are read: no forward pass shows that it is another.
_DECLARED = frozenset(PrototypeNetwork.__annotations__) - {"last_layer"} | {"grid"}
_MISSING = object()


def hindrance(network: PrototypeNetwork, name: str) -> str | None:
    """Tell why what is saved of a network could not be read again; None where it can.

    It is rebuilt as :func:`protomask.load_network` does, with the shapes of its backbone's weights alone. Only where
    that has other layers or attributes it is built in full, and both answer an image.

    Args:
        name: of the entry point by which it would be rebuilt.

    Raises:
        InputError: it has no such name; another network would be read; the last layer holds what its evidence does not
            allow; its settings are not fit for JSON.
    """
    kind = type(network)
    if not name:
        raise InputError(
            f"{kind.__name__} has no registered_as; set it to the name of its entry point in protomask.networks"
        )
    _check_evidence(network)
    settings = _as_read(network)
    try:
        twin = _rebuilt(settings, name)
    except Exception as error:  # of a kind that is not installed, or in whatever the settings lack
        return why_not_rebuilt(settings, error) or f"{name!r} cannot rebuild it ({one_line(error)}); {BY_ONESELF}"
    if type(twin) is not kind:
        known, other = kind.__name__, type(twin).__name__
        if known == other:
            known, other = (f"{each.__module__}.{each.__qualname__}" for each in (kind, type(twin)))
        raise InputError(
            f"{known} is saved as {name!r}, which rebuilds {other}; set registered_as to an entry point of its own"
        )
    own, given = network.state_dict(), twin.state_dict()
    for key in [*own, *given]:
        if key not in own or key not in given or own[key].shape != given[key].shape:
            return f"{name!r} rebuilds it with other weights ({key}); {BY_ONESELF}"
    for key, tensor in own.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"{key} holds numbers that are not finite; train it anew"
    found = list(_differences(network, twin))
    if not found:
        return None
    declared = next((said for place, said in found if place in _DECLARED), None)
    if declared or not _answers_alike(network, settings, name):
        raise InputError(
            f"{kind.__name__} is saved as {name!r}, which rebuilds another network ({declared or found[0][1]}); let "
            "settings() say it, or set registered_as to an entry point that rebuilds it so"
        )
    return None


def _check_evidence(network: PrototypeNetwork) -> None:
    if network.evidence != "positive":
        return
    stand_in = copy.copy(network)  # shares all but the layer that it is asked to put back
    stand_in._modules = {**network._modules, "last_layer": copy.deepcopy(network.last_layer)}
    stand_in.keep_evidence()
    weights = (each.last_layer.weight.detach().nan_to_num() for each in (network, stand_in))
    if not torch.equal(*weights):
        raise InputError(
            f"{type(network).__name__} has positive evidence, but a last layer with weights that this does not allow "
            "(of other classes, or below 0); call network.keep_evidence() after each step"
        )


def _as_read(network: PrototypeNetwork) -> dict:
    """Give the settings as they are read from a file."""
    try:
        return json.loads(json.dumps(network.settings()))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"settings() of {type(network).__name__} cannot be written as JSON ({error}); give plain numbers, texts, "
            "lists and dictionaries"
        ) from error


def _rebuilt(settings: dict, name: str) -> PrototypeNetwork:
    rebuild = get_network(name).rebuild
    with torch.random.fork_rng(devices=[]):
        # Some models compute with numbers when they are built, which shapes alone do not allow.
        with suppress(Exception), shapes_alone():
            return rebuild(copy.deepcopy(settings))
        return rebuild(copy.deepcopy(settings))


def _answers_alike(network: PrototypeNetwork, settings: dict, name: str) -> bool:
    """Tell whether the network that is read answers images as this one: some differences matter in training alone."""
    with torch.random.fork_rng(devices=[]):
        twin = get_network(name).rebuild(settings)
    twin.load_state_dict(network.state_dict())
    twin.to(network.prototypes).eval()
    shape = (2, 3, network.image_size, network.image_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(network.prototypes)
    try:
        with torch.no_grad(), frozen(network):
            answers = [(*each(images), each.similarity_maps(images)) for each in (network, twin)]
        return all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(*answers))
    except Exception:  # in whatever either does with images that the other takes
        return False


def _differences(network: nn.Module, twin: nn.Module) -> Iterator[tuple[str, str]]:
    """Give where the other has another layer, or another value in an attribute, and what both have there."""
    own, given = dict(network.named_modules()), dict(twin.named_modules())
    for place in [*own, *given]:
        one, other = own.get(place), given.get(place)
        if one is None or other is None or type(one) is not type(other):
            yield place, f"{place} is {_kind(one)}, rebuilt as {_kind(other)}"
            continue
        for attribute, value in vars(one).items():
            if attribute.startswith("_") or attribute in ("training", "registered_as"):
                continue
            same = getattr(other, attribute, _MISSING)
            if _differ(value, same, one, attribute):
                path = f"{place}.{attribute}" if place else attribute
                what = "without it" if same is _MISSING else f"as {short(same)}"
                yield path, f"{path} is {short(value)}, rebuilt {what}"


def _kind(module: nn.Module | None) -> str:
    return "missing" if module is None else type(module).__name__


def _differ(value: object, other: object, module: nn.Module, attribute: str) -> bool:
    """Compare what can be compared: plain values, tensors that no state holds, methods that were put in place."""
    if isinstance(value, Tensor):
        if isinstance(other, Tensor) and other.is_meta:
            return False
        return not isinstance(other, Tensor) or not torch.equal(value.detach().cpu(), other.detach().cpu())
    if _is_plain(value):
        return _as_lists(value) != _as_lists(other)
    return callable(value) and hasattr(type(module), attribute)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _as_lists(value: object) -> object:
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value
