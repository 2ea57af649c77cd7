"""ProtoPNets under the official names, made on the spot, and a plain forward pass in the official order of
operations."""

import sys
import types
import warnings
from collections import OrderedDict

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from protopnet.add_on import bottleneck_add_on, build_add_on, usual_add_on


class Plain(nn.Module):
    """features -> add-on -> prototypes -> last layer; ``state_dict()`` has the official names."""

    def __init__(
        self, arch="resnet18", classes=3, per_class=2, channels=8, patch=1, add_on="regular", image_size=64, seed=0
    ):
        super().__init__()
        torch.manual_seed(seed)
        with torch.device("meta"):  # nothing of its large classifier is made
            whole = torchvision.models.get_model(arch, weights=None)
        if arch.startswith("res"):
            whole.fc = nn.Identity()
            self.features, depth = whole, 512 if arch in ("resnet18", "resnet34") else 2048
        else:
            inner = OrderedDict(whole.features.named_children())
            if arch.startswith("dense"):
                inner["final_relu"] = nn.ReLU()
            self.features = nn.Sequential(OrderedDict(features=nn.Sequential(inner)))
            depth = whole.classifier.in_features if arch.startswith("dense") else 512
        self.features.to_empty(device="cpu")
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                module.bias is None or nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):  # statistics as after some training, so that they matter
                module.reset_parameters()
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
        words = usual_add_on("l2-log", channels) if add_on == "regular" else bottleneck_add_on(depth, channels)
        self.add_on_layers = build_add_on(words, depth, channels)
        count = classes * per_class
        self.img_size, self.epsilon, self.prototype_activation_function = image_size, 1e-4, "log"
        self.prototype_shape, self.num_prototypes, self.num_classes = (count, channels, patch, patch), count, classes
        self.prototype_class_identity = F.one_hot(torch.arange(count) // per_class, classes).float()
        self.prototype_vectors = nn.Parameter(torch.rand(self.prototype_shape))
        self.ones = nn.Parameter(torch.ones(self.prototype_shape), requires_grad=False)
        self.last_layer = nn.Linear(count, classes, bias=False)
        identity = self.prototype_class_identity.T
        self.last_layer.weight.data.copy_(
            identity * (1 + 0.2 * torch.rand(classes, count)) - 0.5 * (1 - identity) * torch.rand(classes, count)
        )
        self.eval()

    def prune(self, kept):
        self.prototype_vectors = nn.Parameter(self.prototype_vectors.data[kept])
        self.ones = nn.Parameter(self.ones.data[kept], requires_grad=False)
        self.last_layer.weight.data = self.last_layer.weight.data[:, kept]
        self.prototype_class_identity = self.prototype_class_identity[kept]
        self.num_prototypes = len(kept)
        return self

    @torch.no_grad()
    def conv_features(self, images):
        trunk = self.features
        if isinstance(trunk, torchvision.models.ResNet):
            features = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
            features = trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(features))))
        else:
            features = trunk(images)
        return self.add_on_layers(features)

    @torch.no_grad()
    def distance_maps(self, features):
        """relu(conv(z^2, ones) + (-2 conv(z, p) + sum p^2)), as the official code."""
        squares = F.conv2d(features**2, self.ones)
        norms = (self.prototype_vectors**2).sum((1, 2, 3)).view(-1, 1, 1)
        return F.relu(squares + (-2 * F.conv2d(features, self.prototype_vectors) + norms))

    @torch.no_grad()
    def forward(self, images):
        maps = self.distance_maps(self.conv_features(images))
        distances = -F.max_pool2d(-maps, kernel_size=maps.shape[2:]).view(len(images), -1)
        similarities = torch.log((distances + 1) / (distances + 1e-4))
        return self.last_layer(similarities), similarities, distances

    @torch.no_grad()
    def push(self, images, labels):
        """The new vectors, and (image, row, column) of each: own class, all positions, first minimum."""
        features = self.conv_features(images)
        maps = self.distance_maps(features)
        side = self.prototype_vectors.shape[2]
        vectors, places = [], []
        for prototype in range(self.num_prototypes):
            owner = int(self.prototype_class_identity[prototype].argmax())
            best = None
            for image in (labels == owner).nonzero().flatten().tolist():
                for row in range(maps.shape[2]):
                    for column in range(maps.shape[3]):
                        value = maps[image, prototype, row, column].item()
                        if best is None or value < best[0]:
                            best = value, image, row, column
            _, image, row, column = best
            places.append((image, row, column))
            vectors.append(features[image, :, row : row + side, column : column + side])
        return torch.stack(vectors), places


def save_whole(model, path, legacy=False):
    """``torch.save(model)`` as its authors do: classes of modules called ``model`` and ``features``, which a reader has
    not."""
    authors = {}
    for module in [model, *model.modules()]:
        kind = type(module)
        if kind.__module__.startswith(("tests.", "torchvision.")):
            home = "model" if isinstance(module, Plain) else "resnet_features"
            authors.setdefault(kind, type("PPNet" if home == "model" else kind.__name__, (kind,), {"__module__": home}))
    homes = {name: types.ModuleType(name) for name in ("model", "resnet_features")}
    before = {name: sys.modules.get(name) for name in homes}
    try:
        for module in list(model.modules()):
            if type(module) in authors:
                module.__class__ = authors[type(module)]
        for kind in authors.values():
            setattr(homes[kind.__module__], kind.__name__, kind)
        sys.modules.update(homes)
        with warnings.catch_warnings():  # old files hold the classes' source, which these have not
            warnings.simplefilter("ignore")
            torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def cabrnet_state(model):
    """The state dict of the same network under CaBRNet's names (known, from its code)."""
    state = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("features.", "extractor.convnet.", 1) if name.startswith("features.") else name
        for ours, theirs in (
            ("add_on_layers.0", "extractor.add_on.conv1"),
            ("add_on_layers.2", "extractor.add_on.conv2"),
            ("prototype_vectors", "classifier.prototypes"),
            ("last_layer", "classifier.last_layer"),
            ("ones", "classifier.similarity_layer._summation_kernel"),
        ):
            name = name.replace(ours, theirs) if name.startswith(ours) else name
        state[name] = tensor
    return {**state, "classifier.proto_class_map": model.prototype_class_identity}
