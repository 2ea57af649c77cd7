"""The parts of a trained ProtoPNet in a file of cfchen-duke/ProtoPNet or of CaBRNet.

Naming (known, from both projects' code), in this order: backbone, add-on layers, prototypes (P, D, k, k), last layer
(C, P)::

    official   features.*            add_on_layers.*     prototype_vectors      last_layer.weight
    CaBRNet    extractor.convnet.*   extractor.add_on.*  classifier.prototypes  classifier.last_layer.weight

Nothing in a file is executed; see :mod:`protomask.importing.torch_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from protomask.backbones.weights import read_tensors
from protomask.errors import InputError
from protomask.importing.inert_pickle import Inert, Name
from protomask.importing.model_files import as_mapping, read_model, submodules
from protomask.importing.torch_files import TorchFile
from protomask.importing.torch_pickles import Stored
from protopnet.cabrnet import Architecture, read_architecture
from protopnet.prototypes import EPSILON

OFFICIAL = ("features.", "add_on_layers.", "prototype_vectors", "last_layer.weight")
CABRNET = ("extractor.convnet.", "extractor.add_on.", "classifier.prototypes", "classifier.last_layer.weight")


IDENTITY = "prototype_class_identity"
FIXED = ("ones", IDENTITY, "classifier.proto_class_map")
"""tensors that have no part in a forward pass, or always the same values"""
FIXED_BELOW = "classifier.similarity_layer."
BIASES = ("last_layer.bias", "classifier.last_layer.bias")


@dataclass(frozen=True)
class Checkpoint:
    """Hold the parts of a trained ProtoPNet, under common names."""

    path: Path
    backbone: dict[str, Tensor]
    """torchvision's names"""
    add_on: dict[str, Tensor]
    """``0.weight``, ``0.bias``, ``2.weight``, ..."""
    add_on_words: tuple[str, ...]
    """see :func:`protopnet.add_on.build_add_on`"""
    prototypes: Tensor
    """(P, D, k, k)"""
    last_layer: Tensor
    """(C, P)"""
    owners: Tensor | None = None
    """(P,) long, the class of each prototype, where the file says it"""
    architecture: Architecture = field(default_factory=Architecture)
    image_size: int | None = None


def read_checkpoint(path: Path, model_config: Path | None = None) -> Checkpoint:
    """Read an official file, a CaBRNet ``model_state.pth``, or either as ``.safetensors``.

    Args:
        path: the file.
        model_config: CaBRNet's ``model_arch.yml``; by default the one beside ``path``, if there is one.

    Raises:
        InputError: unreadable; no ProtoPNet, or one with further parts; one that computes its similarities otherwise.
    """
    path = Path(path)
    model = None if path.suffix == ".safetensors" else read_model(path)
    tensors = read_tensors(path) if model is None else model.tensors
    names = OFFICIAL if OFFICIAL[2] in tensors else CABRNET
    if names[2] not in tensors or names[3] not in tensors:
        missing = names[2] if names[2] not in tensors else names[3]
        raise InputError(
            f"{path}: no ProtoPNet in it (no {missing}); give a file of cfchen-duke/ProtoPNet or CaBRNet's "
            "model_state.pth"
        )
    _refuse_others(path, tensors, names)
    backbone, add_on = (_below(tensors, prefix) for prefix in names[:2])
    prototypes, last_layer = (tensors[name].float() for name in names[2:])
    if prototypes.ndim != 4 or not len(prototypes) or last_layer.ndim != 2 or last_layer.shape[1] != len(prototypes):
        raise InputError(
            f"{path}: prototypes {tuple(prototypes.shape)} and last layer {tuple(last_layer.shape)} do not fit each "
            "other"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(
                f"{path}: {name} has numbers that are infinite or none; the training has diverged, take another "
                "checkpoint"
            )
    identity, architecture, image_size, kinds = None, Architecture(), None, None
    if names is CABRNET:
        architecture = read_architecture(path, model_config)
        prototypes, last_layer, identity = _active(
            path, prototypes, last_layer, tensors.get("classifier.proto_class_map")
        )
        add_on = _numbered(path, add_on, architecture.layers)
        kinds = architecture.kinds
    elif model is not None and model.root is not None:
        identity, image_size, kinds = _attributes(model.file, model.root)
    if names is OFFICIAL and identity is None:
        identity = tensors.get(IDENTITY)  # of those who made it a buffer
    return Checkpoint(
        path,
        backbone,
        add_on,
        _words(path, add_on, kinds),
        prototypes,
        last_layer,
        None if identity is None else _owners(path, identity, len(prototypes), len(last_layer)),
        architecture,
        image_size,
    )


def _refuse_others(path: Path, tensors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """Refuse a network that has more than a ProtoPNet has: without these parts it would answer otherwise."""
    for name, tensor in tensors.items():
        if name in BIASES:
            if tensor.any():
                raise InputError(
                    f"{path}: {name} is not zero, and the last layer of a ProtoPNet has no bias; only networks without "
                    "one can be imported"
                )
        elif name == "ones":
            if not (tensor == 1).all():
                raise InputError(
                    f"{path}: ones has other values than 1, so that distances are weighted; only networks whose "
                    "distances are not can be imported"
                )
        elif not (
            name.startswith((*names[:2], FIXED_BELOW))
            or name in (*names[2:], *FIXED)
            or name.rpartition(".")[2] == "num_batches_tracked"
        ):
            raise InputError(
                f"{path}: {name[:200]!r} is no part of a ProtoPNet, so this is another network; only those of "
                "cfchen-duke/ProtoPNet and CaBRNet's ProtoPNet can be imported"
            )


def _in_words(value: object) -> str:
    """Write a value of the file for a message: tuples within tuples may unfold to more text than there is memory."""
    if isinstance(value, str):
        return repr(value[:60])
    return str(value)[:120] if isinstance(value, (Name, float)) else "something else"


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take the tensors under a prefix, without it, in float32."""
    return {
        name.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _attributes(file: TorchFile, root: Inert) -> tuple[Tensor | None, int | None, tuple[str, ...] | None]:
    """Of a whole model: prototype_class_identity, image size, and the kinds of its add-on layers.

    Raises:
        InputError: its similarity is not the official logarithm.
    """
    plain, path = root.attributes, file.path
    function = plain.get("prototype_activation_function", "log")
    if function != "log":
        raise InputError(
            f"{path}: similarities by {_in_words(function)}; only models with prototype_activation_function "
            "'log' can be imported"
        )
    epsilon = plain.get("epsilon", EPSILON)
    if epsilon != EPSILON:
        raise InputError(
            f"{path}: similarities with epsilon {_in_words(epsilon)}; only models with the official {EPSILON:g} "
            "can be imported"
        )
    identity = plain.get("prototype_class_identity")
    identity = file.tensor(identity) if isinstance(identity, Stored) else None
    size = plain.get("img_size")
    add_on = submodules(root).get("add_on_layers")
    layers = {} if add_on is None else as_mapping(add_on.attributes.get("_modules"))
    kinds = tuple(getattr(child.maker, "name", "?") if isinstance(child, Inert) else "?" for child in layers.values())
    return identity, size if isinstance(size, int) else None, kinds or None


def _words(path: Path, add_on: Mapping[str, Tensor], kinds: Sequence[str] | None) -> tuple[str, ...]:
    """Read the add-on layers in words; without ``kinds`` the official order: ReLU between convolutions, a sigmoid at
    the end."""
    shapes = {
        int(name.split(".")[0]): tensor.shape
        for name, tensor in add_on.items()
        if name.endswith(".weight") and name.split(".")[0].isdecimal()
    }
    if kinds is None:
        if sorted(shapes) != list(range(0, 2 * len(shapes), 2)):
            raise InputError(f"{path}: unknown add-on layers {', '.join(add_on)}; expected convolutions 0, 2, 4, ...")
        kinds = tuple(
            kind
            for place in range(len(shapes))
            for kind in ("Conv2d", "ReLU" if place < len(shapes) - 1 else "Sigmoid")
        )
    words = []
    for place, kind in enumerate(kinds):
        if kind == "Conv2d" and len(shapes.get(place, ())) == 4 and shapes[place][2:] == (1, 1):
            words.append(f"conv {shapes[place][0]}" + ("" if f"{place}.bias" in add_on else " unbiased"))
        elif kind in ("ReLU", "Sigmoid"):
            words.append(kind.lower())
        else:
            raise InputError(
                f"{path}: the add-on layer {place} is a {kind}; only 1x1 convolutions, ReLU and Sigmoid can be imported"
            )
    return tuple(words)


def _numbered(path: Path, add_on: Mapping[str, Tensor], layers: Sequence[str] | None) -> dict[str, Tensor]:
    """CaBRNet's named add-on layers by their places; without ``layers``, every other place is a convolution's."""
    if layers is None:
        layers = [name for layer in dict.fromkeys(name.split(".")[0] for name in add_on) for name in (layer, "")]
    for name in add_on:
        if name.partition(".")[0] not in layers:
            raise InputError(
                f"{path}: {CABRNET[1]}{name} is of no add-on layer of model_arch.yml ({', '.join(layers)}); give the "
                "model_arch.yml that it was trained with"
            )
    return {
        f"{layers.index(layer)}.{rest}": tensor
        for name, tensor in add_on.items()
        for layer, _, rest in [name.partition(".")]
    }


def _active(
    path: Path, prototypes: Tensor, last_layer: Tensor, identity: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Without the prototypes that CaBRNet's pruning disabled: of no class, and without weight."""
    if identity is None or identity.ndim != 2 or len(identity) != len(prototypes):
        return prototypes, last_layer, identity
    kept = (identity != 0).any(1)
    if last_layer[:, ~kept].any():
        raise InputError(f"{path}: a prototype of no class has weights in the last layer; take another checkpoint")
    return prototypes[kept], last_layer[:, kept], identity[kept]


def _owners(path: Path, identity: Tensor, prototypes: int, classes: int) -> Tensor:
    if identity.shape != (prototypes, classes) or not ((identity != 0).sum(1) == 1).all():
        raise InputError(
            f"{path}: its table of prototypes and classes {tuple(identity.shape)} does not give each of {prototypes} "
            f"prototypes one of {classes} classes"
        )
    return identity.argmax(1)
