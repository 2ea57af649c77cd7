"""Backbones from torchvision."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from protomask.backbones.backbone import Backbone
from protomask.backbones.fetching import check_torchvision_weights
from protomask.backbones.names import one_line, unknown
from protomask.errors import InputError

# In models that do not gather their layers in `features`: the children with which the classifier begins, and those that
# are no layers of the trunk.
ENDS = ("avgpool", "dropout", "fc", "classifier", "head", "heads")
SIDES = ("aux1", "aux2", "AuxLogits", "permute")
SIZE = 224
# Their weights are for images in [-1, 1]; torchvision's own forward converts to that, the layers do not.
HALVES = ("googlenet", "inception_v3")


class TorchvisionBackbone(Backbone):
    """Runs the layers of a torchvision classifier one after the other, up to one of them.

    The layers ("steps") are the children of its `features`, or else of itself up to the pooling. Containers are opened
    once, so that the steps of a ResNet are its blocks (`layer3.1`), and those of a MobileNetV2 `features.0` ...
    `features.18`. They are the names of the feature maps.
    """

    def __init__(self, body: nn.Module, name: str, arguments: dict[str, Any], image_size: int | None) -> None:
        super().__init__(body, name, arguments, image_size)
        import torchvision.models

        self.steps = _steps(body)
        self._nhwc = isinstance(body, torchvision.models.SwinTransformer)
        self._rectified = isinstance(body, torchvision.models.DenseNet)  # its forward applies a ReLU to the last map
        short = name.removeprefix("torchvision/")
        wanted = preparation(short)
        self.mean, self.std = ((0.5,) * 3, (0.5,) * 3) if short in HALVES else (wanted.mean, wanted.std)

    @classmethod
    def build(
        cls, name: str, arguments: dict[str, Any], pretrained: bool, features: int | str | None, image_size: int | None
    ) -> TorchvisionBackbone:
        """See :func:`protomask.backbones.build_backbone`."""
        full = f"torchvision/{name}"
        if name.startswith("vit_"):
            raise InputError(f"backbone {full} has no convolutional feature map; take timm's, as vit_base_patch16_224")
        backbone = cls(create(name, arguments, pretrained).eval(), full, arguments, image_size)
        backbone.choose(features, image_size or SIZE)
        return backbone

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        for step in self.steps:
            images = self._after(step, self.body.get_submodule(step)(images))
            maps[step] = self._map(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        for step in self.steps:
            images = self._after(step, self.body.get_submodule(step)(images))
            if step == self.stage:
                break
        return self._map(images)

    def _after(self, step: str, features: Tensor) -> Tensor:
        return F.relu(features) if self._rectified and step == self.steps[-1] else features

    def _map(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 1, 2) if self._nhwc else features


class Preparation(NamedTuple):
    """What torchvision's newest weights of a model want of their images."""

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def preparation(name: str) -> Preparation:
    """Look up what torchvision does to an image before its own weights see it; nothing is fetched."""
    import torchvision.models as library

    wanted = library.get_model_weights(name).DEFAULT.transforms()
    return Preparation(int(wanted.crop_size[0]), tuple(wanted.mean), tuple(wanted.std))


def create(name: str, arguments: dict[str, Any], pretrained: bool, kind: str = "backbone") -> nn.Module:
    """Create torchvision's model with its classifier; `kind` is what errors call it.

    Raises:
        InputError: for an unknown name, arguments it does not know, and weights that cannot be fetched.
    """
    import torchvision.models as library

    known = library.list_models(module=library)
    if name not in known:
        raise unknown(kind, f"torchvision/{name}", [f"torchvision/{other}" for other in known])
    if pretrained:
        check_torchvision_weights(name)
    if name in HALVES:  # their default warns that it will change
        arguments = {"init_weights": not pretrained, **arguments}
    try:
        return library.get_model(name, weights="DEFAULT" if pretrained else None, **arguments)
    except Exception as error:  # of the download, or of the model's own checks
        if pretrained and not isinstance(error, TypeError):
            raise InputError(
                f"pretrained weights of torchvision/{name} could not be fetched ({one_line(error)}); give a file by "
                "weights="
            ) from error
        raise InputError(f"{kind} torchvision/{name}: {one_line(error)}; give other arguments") from error


def _steps(model: nn.Module) -> tuple[str, ...]:
    names = [name for name, _ in model.named_children() if name not in SIDES]
    names = names[: next((index for index, name in enumerate(names) if name in ENDS), len(names))]
    steps = []
    for name in names:
        child = model.get_submodule(name)
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            steps += [f"{name}.{inner}" for inner, _ in child.named_children()]
        else:
            steps.append(name)
    return tuple(steps)
