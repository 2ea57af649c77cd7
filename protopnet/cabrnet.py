"""CaBRNet's ``model_arch.yml``: what its ``model_state.pth`` does not say (known, from CaBRNet's code)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protomask.errors import InputError
from protomask.files import read_text
from protopnet.prototypes import EPSILON

_SIMILARITIES = ("LegacyProtoPNetSimilarity", "ProtoPNetSimilarity")


@dataclass(frozen=True)
class Architecture:
    """Hold what CaBRNet's ``model_arch.yml`` says; nothing but None where there is no such file."""

    name: str | None = None
    """torchvision's name of the backbone"""
    source: str | None = None
    """the module or node whose output is the feature map"""
    layers: tuple[str, ...] | None = None
    """names of the add-on layers, in order"""
    kinds: tuple[str, ...] | None = None
    """and their classes in torch.nn"""

    def features(self, state: Iterable[str]) -> str | None:
        """Name the feature map as :func:`protomask.backbones.build_backbone` does; None for the last.

        Raises:
            InputError: one that a backbone here does not give.
        """
        source, name = self.source, self.name or ""
        if (
            source is None
            or (name.startswith("densenet") and source == "relu")
            or (source, name[:3]) == ("features", "vgg")
        ):
            return None
        if re.fullmatch(r"features\.\d+", source) and name.startswith("vgg"):
            return source
        blocks = [int(match[1]) for key in state if (match := re.match(rf"{re.escape(source)}\.(\d+)\.", key))]
        if re.fullmatch(r"layer\d", source) and blocks:
            return f"{source}.{max(blocks)}"
        raise InputError(
            f"the feature map {source!r} of {name} in CaBRNet's model_arch.yml is not supported; supported are layer1 "
            "to layer4 of ResNets, features and features.N of VGGs, relu of DenseNets"
        )


def read_architecture(state: Path, config: Path | None = None) -> Architecture:
    """Read ``config``, or the ``model_arch.yml`` beside the file ``state``; empty where there is none.

    Raises:
        InputError: unreadable, no ProtoPNet, or one with another similarity or changed strides.
    """
    path = Path(config) if config else state.parent / "model_arch.yml"
    if not os.path.lexists(path):
        if config:
            raise InputError(f"{path}: no such file; give CaBRNet's model_arch.yml")
        return Architecture()
    import yaml

    try:
        content = yaml.safe_load(read_text(path, mend="give CaBRNet's model_arch.yml"))
    except InputError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    extractor = _part(content, "extractor", path)
    backbone = _part(extractor, "backbone", path)
    kind = _part(content, "top_arch", path, optional=True).get("name", "ProtoPNet")
    if kind != "ProtoPNet":
        raise InputError(f"{path}: a {kind}; only CaBRNet's ProtoPNet can be imported")
    similarity = _part(content, "similarity", path, optional=True)
    epsilon = _part(similarity, "params", path, optional=True).get("stability_factor", EPSILON)
    if similarity.get("name", _SIMILARITIES[0]) not in _SIMILARITIES or epsilon != EPSILON:
        raise InputError(
            f"{path}: similarity {similarity.get('name')} with stability factor {epsilon}; only "
            f"{' and '.join(_SIMILARITIES)} with {EPSILON:g} can be imported"
        )
    if backbone.get("postprocess"):
        raise InputError(f"{path}: the backbone's postprocess (changed strides) is not supported")
    pipelines = {name: part for name, part in extractor.items() if name not in ("backbone", "add_on")}
    if len(pipelines) > 1:
        raise InputError(
            f"{path}: {len(pipelines)} feature maps ({', '.join(map(str, pipelines))}); only models with one can be "
            "imported"
        )
    pipeline = _part(pipelines, next(iter(pipelines)), path) if pipelines else {"add_on": extractor.get("add_on")}
    source = pipeline.get("source_layer", backbone.get("layer"))
    add_on = _part(pipeline, "add_on", path, optional=True)
    layers = {name: _part(add_on, name, path).get("type") for name in add_on if name != "init_mode"}
    name = backbone.get("arch")
    if not isinstance(name, str) or not isinstance(source, (str, type(None))):
        raise InputError(f"{path}: extractor.backbone must name arch and layer as text")
    return Architecture(name.lower(), source, tuple(map(str, layers)), tuple(map(str, layers.values())))


def _part(content: Any, name: Any, path: Path, optional: bool = False) -> dict:
    part = content.get(name) if isinstance(content, dict) else None
    if part is None and optional:
        return {}
    if not isinstance(part, dict):
        raise InputError(f"{path}: no {name} with values of its own; it must be CaBRNet's model_arch.yml")
    return part
