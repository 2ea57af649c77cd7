"""ProtoPNets that others trained, as networks: official ones (cfchen-duke/ProtoPNet) and those of CaBRNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from protomask.backbones import build_backbone
from protomask.backbones.weights import load_tensors
from protomask.errors import InputError
from protopnet.checkpoint import Checkpoint, read_checkpoint
from protopnet.model import ProtoPNet

RESNETS = tuple(f"resnet{depth}" for depth in (18, 34, 50, 101, 152))
DENSENETS = tuple(f"densenet{depth}" for depth in (121, 161, 169, 201))
VGGS = tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))
WIDER = (
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)  # CaBRNet's users have them

# The share of prototypes whose largest last-layer weight must go to the class that their number says.
_AGREEMENT = 0.95


def import_network(
    path: Path,
    classes: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    owners: Sequence[int] | None = None,
    removed: Sequence[tuple[int, int]] | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    model_config: Path | None = None,
) -> tuple[ProtoPNet, str]:
    """Make a trained network of a file, for data with these classes.

    Args:
        path, model_config: see :func:`read_checkpoint`.
        classes: the data's.
        names: what the file's classes are called, in its order; without them its order is the data's.
        owners: the class of each prototype, in the file's numbers.
        removed: in place of ``owners``, number and class of each prototype that pruning took away (official
            ``prune_info.npy``).
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
            raise InputError(
                f"the given class names are not those of the data ({strange!r} is only in one of them, or one occurs "
                "twice)"
            )
        order = torch.tensor([list(names).index(name) for name in classes])
        checkpoint = replace(checkpoint, last_layer=checkpoint.last_layer[order])
        found = order.argsort()[found]
    return build_official(checkpoint, classes, backbone=backbone, image_size=image_size, owners=found), how


def build_official(
    checkpoint: Checkpoint,
    classes: Sequence[str],
    *,
    backbone: str | None = None,
    image_size: int | None = None,
    owners: Tensor | None = None,
) -> ProtoPNet:
    """Build the network of a checkpoint, with its weights.

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
        raise InputError(
            f"{checkpoint.path} has {number} classes, but the data have {len(classes)}; give the data it was trained on"
        )
    size = image_size or checkpoint.image_size or 224
    name = backbone or checkpoint.architecture.name or recognise(checkpoint.backbone, str(checkpoint.path))
    name = f"torchvision/{name}" if name in (*RESNETS, *DENSENETS, *VGGS, *WIDER) else name
    body = build_backbone(
        name, features=checkpoint.architecture.features(checkpoint.backbone), image_size=size, freeze_norm=True
    )
    load_tensors(body, checkpoint.backbone, str(checkpoint.path))
    owners = prototype_owners(checkpoint)[0] if owners is None else owners
    _, channels, patch, other = checkpoint.prototypes.shape
    if patch != other:
        raise InputError(f"{checkpoint.path}: prototypes of {patch} x {other} cells; only square ones can be imported")
    most = int(torch.bincount(owners).max())
    network = ProtoPNet(
        body,
        classes,
        image_size=size,
        prototypes_per_class=count // number if count % number == 0 else most,
        channels=channels,
        patch=patch,
        similarity="l2-log",
        prototype_classes=owners.tolist(),
        add_on=checkpoint.add_on_words,
    )
    try:
        network.add_on.load_state_dict(checkpoint.add_on)
    except RuntimeError as error:
        raise InputError(f"{checkpoint.path}: the add-on layers do not fit ({' '.join(str(error).split())})") from None
    with torch.no_grad():
        network.prototypes.copy_(checkpoint.prototypes)
        network.last_layer.weight.copy_(checkpoint.last_layer)
    return network.eval()


def prototype_owners(checkpoint: Checkpoint, given: Sequence[int] | None = None) -> tuple[Tensor, str]:
    """Give the class of each prototype, and how it was found.

    In this order: ``given``; what the file says (a whole model's ``prototype_class_identity``, CaBRNet's
    ``proto_class_map``); j // (P // C), the official order (known), unless the last layer contradicts, as after
    pruning; the class to which the last layer gives each prototype its largest, positive weight.

    Returns:
        (P,) long, and a phrase for people.

    Raises:
        InputError: ``given`` does not fit, or none of these can tell.
    """
    number, count = checkpoint.last_layer.shape
    if given is not None:
        if len(given) != count or min(given) < 0 or max(given) >= number:
            raise InputError(
                f"the given classes of prototypes do not fit {checkpoint.path}: it has {count} prototypes of {number} "
                f"classes, numbered from 0"
            )
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
    raise InputError(
        f"{checkpoint.path} does not tell the class of each of its {count} prototypes (it was pruned); give "
        "prototype_classes="
    )


def owners_before_pruning(checkpoint: Checkpoint, removed: Sequence[tuple[int, int]]) -> list[int]:
    """Give the class of each prototype that is left of the official order, j // (P // C).

    Raises:
        InputError: the removed ones are not of such an order.
    """
    number, count = checkpoint.last_layer.shape
    gone = dict(removed)
    total = count + len(gone)
    per_class = total // number
    if total % number or any(
        not 0 <= prototype < total or prototype // per_class != owner for prototype, owner in gone.items()
    ):
        raise InputError(
            f"the removed prototypes do not fit {checkpoint.path}: {len(gone)} of them and its {count} are no equal "
            f"number for each of {number} classes in order"
        )
    return [prototype // per_class for prototype in range(total) if prototype not in gone]


def recognise(state: Mapping[str, Tensor], source: str) -> str:
    """Give the torchvision model that has exactly these tensors, told by names and shapes.

    Raises:
        InputError: none of the official ones has.
    """
    import torchvision.models as library

    found = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    family = (
        (*RESNETS, *WIDER)
        if "layer1.0.conv1.weight" in found
        else DENSENETS
        if "features.conv0.weight" in found
        else VGGS
    )
    for name in family:
        with torch.device("meta"):
            model = library.get_model(name, weights=None)
        own = {
            key: tuple(tensor.shape)
            for key, tensor in model.state_dict().items()
            if not key.endswith("num_batches_tracked") and not key.startswith(("fc.", "classifier."))
        }
        if own == found:
            return name
    raise InputError(
        f"{source}: its backbone is none of {', '.join((*RESNETS, *DENSENETS, *VGGS))}; name it by backbone="
    )
