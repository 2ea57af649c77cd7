"""ProtoPNets that others trained: files of cfchen-duke/ProtoPNet (state dicts and whole models) and of CaBRNet.

Naming (known, from both projects' code), in this order: backbone, add-on layers, prototypes (P, D, k, k), last layer (C, P)::

    official   features.*            add_on_layers.*     prototype_vectors      last_layer.weight
    CaBRNet    extractor.convnet.*   extractor.add_on.*  classifier.prototypes  classifier.last_layer.weight

Nothing in a file is executed; see :mod:`protopnet.torch_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protomask.backbones import build_backbone
from protomask.backbones.weights import WRAPPERS, load_tensors, read_tensors
from protomask.errors import InputError
from protopnet.cabrnet import Architecture, read_architecture
from protopnet.inert_pickle import Inert
from protopnet.model import ProtoPNet
from protopnet.prototypes import EPSILON
from protopnet.torch_files import Stored, TorchFile

RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
DENSENETS = tuple(f"densenet{depth}" for depth in (121, 161, 169, 201))
VGGS = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
WIDER = ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2")  # CaBRNet's users have them

# The share of prototypes whose largest last-layer weight must go to the class that their number says.
_AGREEMENT = 0.95


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a trained ProtoPNet, under common names."""

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
    """Reads an official file, a CaBRNet ``model_state.pth``, or either as ``.safetensors``.

    Args:
        path: the file.
        model_config: CaBRNet's ``model_arch.yml``; by default the one beside ``path``, if there is one.

    Raises:
        InputError: unreadable; no ProtoPNet; one that computes its similarities otherwise.
    """
    path = Path(path)
    tensors, root, file = _tensors(path)
    prefixes = (("features.", "add_on_layers.", "prototype_vectors", "last_layer.weight"),
                ("extractor.convnet.", "extractor.add_on.", "classifier.prototypes", "classifier.last_layer.weight"))
    official, cabrnet = prefixes
    names = official if official[2] in tensors else cabrnet
    if names[2] not in tensors or names[3] not in tensors:
        missing = names[2] if names[2] not in tensors else names[3]
        raise InputError(f"{path}: no ProtoPNet in it (no {missing}); give a file of cfchen-duke/ProtoPNet or CaBRNet's model_state.pth")
    backbone, add_on = (_below(tensors, prefix) for prefix in names[:2])
    prototypes, last_layer = (tensors[name].float() for name in names[2:])
    if prototypes.ndim != 4 or not len(prototypes) or last_layer.ndim != 2 or last_layer.shape[1] != len(prototypes):
        raise InputError(f"{path}: prototypes {tuple(prototypes.shape)} and last layer {tuple(last_layer.shape)} do not fit each other")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: {name} has numbers that are infinite or none; the training has diverged, take another checkpoint")
    identity, architecture, image_size, kinds = None, Architecture(), None, None
    if names is cabrnet:
        identity = tensors.get("classifier.proto_class_map")
        architecture = read_architecture(path, model_config)
        prototypes, last_layer, identity = _active(path, prototypes, last_layer, identity)
        order = architecture.layers or tuple(dict.fromkeys(name.split(".")[0] for name in add_on))
        if architecture.layers is None:  # convolutions only: a layer of its own between each two
            order = tuple(name for layer in order for name in (layer, ""))
        add_on = {f"{order.index(layer)}.{rest}": tensor for name, tensor in add_on.items()
                  for layer, _, rest in [name.partition(".")] if layer in order}
        kinds = architecture.kinds
    elif root is not None:
        identity, image_size, kinds = _attributes(file, root)
    return Checkpoint(path, backbone, add_on, _words(path, add_on, kinds), prototypes, last_layer,
                      None if identity is None else _owners(path, identity, len(prototypes), len(last_layer)), architecture, image_size)


def build_official(checkpoint: Checkpoint, classes: Sequence[str], *, backbone: str | None = None, image_size: int | None = None,
                   owners: Tensor | None = None) -> ProtoPNet:
    """The network of a checkpoint, with its weights.

    Args:
        checkpoint: from :func:`read_checkpoint`.
        classes: names, in the order of the file's classes.
        backbone: its name; by default told from the tensors. An official name means torchvision's model.
        image_size: side in pixels; by default the file's own, else 224.
        owners: (P,) class of each prototype, from :func:`prototype_owners`.

    Raises:
        InputError: another number of classes, a backbone that does not fit.
    """
    count, number = len(checkpoint.prototypes), len(checkpoint.last_layer)
    if len(classes) != number:
        raise InputError(f"{checkpoint.path} has {number} classes, but the data have {len(classes)}; give the data it was trained on")
    size = image_size or checkpoint.image_size or 224
    name = backbone or checkpoint.architecture.name or recognise(checkpoint.backbone, str(checkpoint.path))
    name = f"torchvision/{name}" if name in (*RESNETS, *DENSENETS, *VGGS, *WIDER) else name
    body = build_backbone(name, features=checkpoint.architecture.features(checkpoint.backbone), image_size=size, freeze_norm=True)
    load_tensors(body, checkpoint.backbone, str(checkpoint.path))
    owners = prototype_owners(checkpoint)[0] if owners is None else owners
    _, channels, patch, other = checkpoint.prototypes.shape
    if patch != other:
        raise InputError(f"{checkpoint.path}: prototypes of {patch} x {other} cells; only square ones can be imported")
    most = int(torch.bincount(owners).max())
    network = ProtoPNet(body, classes, image_size=size, prototypes_per_class=count // number if count % number == 0 else most,
                        channels=channels, patch=patch, similarity="l2-log", prototype_classes=owners.tolist(),
                        add_on=checkpoint.add_on_words)
    try:
        network.add_on.load_state_dict(checkpoint.add_on)
    except RuntimeError as error:
        raise InputError(f"{checkpoint.path}: the add-on layers do not fit ({' '.join(str(error).split())})") from None
    with torch.no_grad():
        network.prototypes.copy_(checkpoint.prototypes)
        network.last_layer.weight.copy_(checkpoint.last_layer)
    return network.eval()


def prototype_owners(checkpoint: Checkpoint, given: Sequence[int] | None = None) -> tuple[Tensor, str]:
    """The class of each prototype, and how it was found.

    In this order: ``given``; what the file says (a whole model's ``prototype_class_identity``, CaBRNet's ``proto_class_map``);
    j // (P // C), the official order (known), unless the last layer contradicts, as after pruning; the class to which the last
    layer gives each prototype its largest, positive weight.

    Returns:
        (P,) long, and a phrase for people.

    Raises:
        InputError: ``given`` does not fit, or none of these can tell.
    """
    number, count = checkpoint.last_layer.shape
    if given is not None:
        if len(given) != count or min(given) < 0 or max(given) >= number:
            raise InputError(f"the given classes of prototypes do not fit {checkpoint.path}: it has {count} prototypes of {number} classes, "
                             f"numbered from 0")
        return torch.tensor(list(given), dtype=torch.long), "as given"
    if checkpoint.owners is not None:
        return checkpoint.owners, "from the file"
    weight, strongest = checkpoint.last_layer.max(0)
    if count % number == 0:
        usual = torch.arange(count) // (count // number)
        if (usual == strongest).double().mean() >= _AGREEMENT:
            return usual, f"{count // number} for each class, in order"
    if (weight > 0).all():
        return strongest, "from the last layer's positive weights"
    raise InputError(f"{checkpoint.path} does not tell the class of each of its {count} prototypes (it was pruned); give --prototype-classes")


def owners_before_pruning(checkpoint: Checkpoint, removed: Sequence[tuple[int, int]]) -> list[int]:
    """The class of each prototype that is left of the official order, j // (P // C).

    Raises:
        InputError: the removed ones are not of such an order.
    """
    number, count = checkpoint.last_layer.shape
    gone = {prototype: owner for prototype, owner in removed}
    total = count + len(gone)
    per_class = total // number
    if total % number or any(not 0 <= prototype < total or prototype // per_class != owner for prototype, owner in gone.items()):
        raise InputError(f"the removed prototypes do not fit {checkpoint.path}: {len(gone)} of them and its {count} are no equal number for "
                         f"each of {number} classes in order")
    return [prototype // per_class for prototype in range(total) if prototype not in gone]


def recognise(state: Mapping[str, Tensor], source: str) -> str:
    """The torchvision model that has exactly these tensors, told by names and shapes.

    Raises:
        InputError: none of the official ones has.
    """
    import torchvision.models as library

    found = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    family = (*RESNETS, *WIDER) if "layer1.0.conv1.weight" in found else DENSENETS if "features.conv0.weight" in found else VGGS
    for name in family:
        with torch.device("meta"):
            model = library.get_model(name, weights=None)
        own = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()
               if not key.endswith("num_batches_tracked") and not key.startswith(("fc.", "classifier."))}
        if own == found:
            return name
    raise InputError(f"{source}: its backbone is none of {', '.join((*RESNETS, *DENSENETS, *VGGS))}; name it with --backbone")


def _tensors(path: Path) -> tuple[dict[str, Tensor], Inert | None, TorchFile | None]:
    """Tensors by their names in the state dict, and the root module where the file is a whole model."""
    if path.suffix == ".safetensors":
        return read_tensors(path), None, None
    file = TorchFile(path)
    content, root = file.content, None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), (dict, Inert)):
            content = content[wrapper]
    if isinstance(content, Inert):
        root, stored = content, _module_tensors(content)
    else:
        stored = {name: value for name, value in content.items() if isinstance(value, Stored)} if isinstance(content, dict) else {}
    if stored and all(str(name).startswith("module.") for name in stored):  # saved from within DataParallel
        stored = {name.removeprefix("module."): value for name, value in stored.items()}
        if root is not None:
            root = _mapping(root.attributes.get("_modules")).get("module")
    return {str(name): file.tensor(value) for name, value in stored.items()}, root, file


def _module_tensors(root: Inert) -> dict[str, Stored]:
    """What ``state_dict()`` of a module would have been."""
    found: dict[str, Stored] = {}
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        for kind in ("_parameters", "_buffers"):
            for name, value in _mapping(module.attributes.get(kind)).items():
                if isinstance(value, Stored):
                    found[f"{prefix}{name}"] = value
        for name, child in _mapping(module.attributes.get("_modules")).items():
            if isinstance(child, Inert) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))
    return found


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it, in float32."""
    return {name.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items() if name.startswith(prefix)}


def _attributes(file: TorchFile, root: Inert) -> tuple[Tensor | None, int | None, tuple[str, ...] | None]:
    """Of a whole model: prototype_class_identity, image size, and the kinds of its add-on layers.

    Raises:
        InputError: its similarity is not the official logarithm.
    """
    plain, path = root.attributes, file.path
    function = plain.get("prototype_activation_function", "log")
    if function != "log":
        raise InputError(f"{path}: similarities by {function!r}; only models with prototype_activation_function 'log' can be imported")
    epsilon = plain.get("epsilon", EPSILON)
    if epsilon != EPSILON:
        raise InputError(f"{path}: similarities with epsilon {epsilon}; only models with the official {EPSILON:g} can be imported")
    identity = plain.get("prototype_class_identity")
    identity = file.tensor(identity) if isinstance(identity, Stored) else None
    size = plain.get("img_size")
    add_on = _mapping(plain.get("_modules")).get("add_on_layers")
    layers = _mapping(add_on.attributes.get("_modules")) if isinstance(add_on, Inert) else {}
    kinds = tuple(getattr(child.maker, "name", "?") if isinstance(child, Inert) else "?" for child in layers.values())
    return identity, size if isinstance(size, int) else None, kinds or None


def _words(path: Path, add_on: Mapping[str, Tensor], kinds: Sequence[str] | None) -> tuple[str, ...]:
    """The add-on layers in words; without ``kinds`` the official order: ReLU between convolutions, a sigmoid at the end."""
    shapes = {int(name.split(".")[0]): tensor.shape for name, tensor in add_on.items()
              if name.endswith(".weight") and name.split(".")[0].isdecimal()}
    if kinds is None:
        if sorted(shapes) != list(range(0, 2 * len(shapes), 2)):
            raise InputError(f"{path}: unknown add-on layers {', '.join(add_on)}; expected convolutions 0, 2, 4, ...")
        kinds = tuple(kind for place in range(len(shapes)) for kind in ("Conv2d", "ReLU" if place < len(shapes) - 1 else "Sigmoid"))
    words = []
    for place, kind in enumerate(kinds):
        if kind == "Conv2d" and len(shapes.get(place, ())) == 4 and shapes[place][2:] == (1, 1):
            words.append(f"conv {shapes[place][0]}" + ("" if f"{place}.bias" in add_on else " unbiased"))
        elif kind in ("ReLU", "Sigmoid"):
            words.append(kind.lower())
        else:
            raise InputError(f"{path}: the add-on layer {place} is a {kind}; only 1x1 convolutions, ReLU and Sigmoid can be imported")
    return tuple(words)


def _active(path: Path, prototypes: Tensor, last_layer: Tensor, identity: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Without the prototypes that CaBRNet's pruning disabled: of no class, and without weight."""
    if identity is None or identity.ndim != 2 or len(identity) != len(prototypes):
        return prototypes, last_layer, identity
    kept = (identity != 0).any(1)
    if last_layer[:, ~kept].any():
        raise InputError(f"{path}: a prototype of no class has weights in the last layer; take another checkpoint")
    return prototypes[kept], last_layer[:, kept], identity[kept]


def _owners(path: Path, identity: Tensor, prototypes: int, classes: int) -> Tensor:
    if identity.shape != (prototypes, classes) or not ((identity != 0).sum(1) == 1).all():
        raise InputError(f"{path}: its table of prototypes and classes {tuple(identity.shape)} does not give each of {prototypes} prototypes "
                         f"one of {classes} classes")
    return identity.argmax(1)


def import_network(path: Path, classes: Sequence[str], *, names: Sequence[str] | None = None, owners: Sequence[int] | None = None,
                   removed: Sequence[tuple[int, int]] | None = None, backbone: str | None = None, image_size: int | None = None,
                   model_config: Path | None = None) -> tuple[ProtoPNet, str]:
    """A trained network out of a file, for data with these classes.

    Args:
        path, model_config: see :func:`read_checkpoint`.
        classes: the data's.
        names: what the file's classes are called, in its order; without them its order is the data's.
        owners: the class of each prototype, in the file's numbers.
        removed: in place of ``owners``, number and class of each prototype that pruning took away (official ``prune_info.npy``).
        backbone, image_size: see :func:`build_official`.

    Returns:
        The network in evaluation mode, and how the classes of its prototypes were found.

    Raises:
        InputError: see :func:`read_checkpoint` and :func:`build_official`; names that are not the data's.
    """
    checkpoint = read_checkpoint(path, model_config)
    if removed is not None:
        owners = owners_before_pruning(checkpoint, removed)
    found, how = prototype_owners(checkpoint, owners)
    if names is not None:
        if len(names) != len(checkpoint.last_layer):
            raise InputError(f"{len(names)} class names are given, but {path} has {len(checkpoint.last_layer)} classes")
        if sorted(names) != sorted(classes):
            strange = next(iter(sorted(set(names) ^ set(classes))), None)
            raise InputError(f"the given class names are not those of the data ({strange!r} is only in one of them, or one occurs twice)")
        order = torch.tensor([list(names).index(name) for name in classes])
        checkpoint = replace(checkpoint, last_layer=checkpoint.last_layer[order])
        found = order.argsort()[found]
    return build_official(checkpoint, classes, backbone=backbone, image_size=image_size, owners=found), how
