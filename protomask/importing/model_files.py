"""A model in a file of ``torch.save``: its tensors by name, and the model itself where the file is a whole one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from protomask.importing.inert_pickle import Inert
from protomask.importing.torch_files import TorchFile
from protomask.importing.torch_pickles import Stored

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""keys under which training scripts keep the state dict, or the model"""


@dataclass(frozen=True)
class ModelFile:
    """Hold what a file says of a model."""

    file: TorchFile
    tensors: dict[str, Tensor]
    """by their names in the state dict, without the prefix of ``DataParallel``"""
    root: Inert | None
    """the model, where the file is a whole one"""


def read_model(path: Path) -> ModelFile:
    """Read a state dict or a whole model, wrapped or not; nothing in the file is executed.

    Raises:
        InputError: unreadable.
    """
    file = TorchFile(path)
    content = file.content
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), (dict, Inert)):
            content = content[wrapper]
    root = content if isinstance(content, Inert) else None
    stored = _stored_below(root) if root is not None else _stored_in(content)
    if stored and all(name.startswith("module.") for name in stored):  # saved from within DataParallel
        stored = {name.removeprefix("module."): value for name, value in stored.items()}
        root = None if root is None else submodules(root).get("module")
    return ModelFile(file, {name: file.tensor(value) for name, value in stored.items()}, root)


def submodules(module: Inert) -> dict[str, Inert]:
    """Give the modules that a module of the file holds, by name."""
    held = as_mapping(module.attributes.get("_modules"))
    return {name: child for name, child in held.items() if isinstance(name, str) and isinstance(child, Inert)}


def as_mapping(value: Any) -> dict:
    """Give a dictionary of the file; an empty one where something else stands in its place."""
    return value if isinstance(value, dict) else {}


def _stored_in(content: Any) -> dict[str, Stored]:
    items = as_mapping(content).items()
    return {name: value for name, value in items if isinstance(name, str) and isinstance(value, Stored)}


def _stored_below(root: Inert) -> dict[str, Stored]:
    """Give what ``state_dict()`` of a module would have been."""
    found: dict[str, Stored] = {}
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        for kind in ("_parameters", "_buffers"):
            for name, value in as_mapping(module.attributes.get(kind)).items():
                if isinstance(value, Stored):
                    found[f"{prefix}{name}"] = value
        for name, child in submodules(module).items():
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))
    return found
