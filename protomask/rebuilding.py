"""Whether what is saved of a network gives that network back, told before it is written."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as transforms

from protomask.backbones.dryrun import shapes_alone
from protomask.backbones.names import one_line
from protomask.errors import InputError
from protomask.freezing import frozen
from protomask.given import short
from protomask.networks import BY_ONESELF, get_network, why_not_rebuilt
from protomask.prototype_network import PrototypeNetwork

# What differs here is told though the answers are alike: the class ("") and how answers are read.
_DECLARED = frozenset(PrototypeNetwork.__annotations__) - {"last_layer"} | {"grid", ""}
_MISSING = object()


def hindrance(network: PrototypeNetwork, name: str) -> str | None:
    """Tell why what is saved of a network could not be read again; None where it can.

    It is rebuilt as :func:`protomask.load_network` does, with the shapes of its backbone's weights alone. Only where
    that has another class, other layers or attributes it is built in full, and both answer an image. What differs
    though the answers are alike, and answers that cannot be compared, are told in a warning.

    The state of torch's random numbers is put back after building: what other threads draw meanwhile comes again.

    Args:
        name: of the entry point by which it would be rebuilt.

    Raises:
        InputError: it has no such name; a network that answers otherwise would be read; the last layer holds what its
            evidence does not allow; its settings are not fit for JSON.
    """
    kind = type(network).__name__
    if not name:
        raise InputError(f"{kind} has no registered_as; set it to the name of its entry point in protomask.networks")
    _check_evidence(network)
    settings = _as_read(network)
    try:
        twin = _rebuilt(settings, name)
    except Exception as error:  # of a kind that is not installed, or in whatever the settings lack
        return why_not_rebuilt(settings, error) or f"{name!r} cannot rebuild it ({one_line(error)}); {BY_ONESELF}"
    own, given = network.state_dict(), twin.state_dict()
    for key in [*own, *given]:
        if key not in own or key not in given or own[key].shape != given[key].shape:
            return f"{name!r} rebuilds it with other weights ({key}); {BY_ONESELF}"
    for key, tensor in own.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"{key} holds numbers that are not finite; train it anew"
    try:
        found = list(_differences(network, twin))
        alike = not found or _answers_alike(network, settings, name)
    except Exception as error:  # in whatever either does with images, or for want of memory: that is no difference
        reason = f"{kind} was not compared with what {name!r} rebuilds ({one_line(error)})"
        warnings.warn(f"{reason}; see that load_network answers as it does", stacklevel=3)
        return None
    told = [said for place, said in found if place in _DECLARED]
    if not alike:
        raise InputError(
            f"{kind} is saved as {name!r}, which rebuilds another network ({[*told, found[0][1]][0]}); let settings() "
            "say it, or set registered_as to an entry point that rebuilds it so"
        )
    if told:
        warnings.warn(f"load_network will give {kind} back with the same answers, but {told[0]}", stacklevel=3)
    return None


def _check_evidence(network: PrototypeNetwork) -> None:
    if network.evidence != "positive":
        return
    stand_in = copy.copy(network)  # shares all but the layer that it is asked to put back
    try:
        stand_in._modules = {**network._modules, "last_layer": copy.deepcopy(network.last_layer)}
        stand_in.keep_evidence()
    except Exception:  # of a parametrised layer, which cannot be copied or put back so
        return
    own, allowed = (each.last_layer.weight.detach().nan_to_num() for each in (network, stand_in))
    if not torch.allclose(own, allowed, rtol=1e-5, atol=1e-7):
        raise InputError(
            f"{type(network).__name__} has positive evidence, but a last layer with weights that this does not allow "
            "(of other classes, or below 0); call network.keep_evidence() now, and after each step"
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
        twin.to(network.prototypes).eval()
        twin.load_state_dict(network.state_dict(), assign=True)  # in the precision of each
        size = (2, 3, network.image_size, network.image_size)
        images = torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(
            network.prototypes
        )
        with torch.no_grad(), frozen(network):
            own, again, given = (_answers(each, images) for each in (network, network, twin))
    if not all(map(_close, own, again)):
        raise ValueError("it answers the same image otherwise each time")
    return list(network.classes) == list(twin.classes) and all(map(_close, own, given))


def _answers(network: PrototypeNetwork, pixels: Tensor) -> list[Tensor]:
    """Answer pixels in [0, 1], prepared as the network says."""
    images = F.interpolate(pixels, 2 * (network.image_size,))
    images = transforms.normalize(images, list(network.mean), list(network.std))
    answer = network(images)
    return [answer.logits, answer.similarities, network.similarity_maps(images)]


def _close(one: Tensor, other: Tensor) -> bool:
    same_shape = one.shape == other.shape
    return same_shape and torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-4, equal_nan=True)


def _differences(network: nn.Module, twin: nn.Module) -> Iterator[tuple[str, str]]:
    """Give where the other has another layer, or another value in an attribute, and what both have there."""
    own, given = dict(network.named_modules()), dict(twin.named_modules())
    for place in own | given:
        one, other = own.get(place), given.get(place)
        if one is None or other is None or type(one) is not type(other):
            yield place, f"{place or 'it'} is {_kind(one)}, rebuilt as {_kind(other)}"
            continue
        for attribute, value in vars(one).items():
            same = getattr(other, attribute, _MISSING)
            if attribute.startswith("_") or attribute in ("training", "registered_as"):
                continue
            if not place and same is _MISSING:  # a note of one's own: its class does without
                continue
            if _differ(value, same, one, attribute):
                path = f"{place}.{attribute}" if place else attribute
                what = "without it" if same is _MISSING else f"as {short(same)}"
                yield path, f"{path} is {short(value)}, rebuilt {what}"


def _kind(module: nn.Module | None) -> str:
    return "missing" if module is None else f"{type(module).__module__}.{type(module).__qualname__}"


def _differ(value: object, other: object, module: nn.Module, attribute: str) -> bool:
    """Compare what can be compared: plain values, tensors that no state holds, methods that were put in place."""
    if isinstance(value, Tensor):
        if isinstance(other, Tensor) and other.is_meta:
            return False
        return not isinstance(other, Tensor) or not torch.equal(value.detach().cpu(), other.detach().cpu())
    if _is_plain(value):
        return not _is_plain(other) or _as_lists(value) != _as_lists(other)
    return callable(value) and hasattr(type(module), attribute)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _as_lists(value: object) -> object:
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value
