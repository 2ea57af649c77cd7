"""A network with the methods of the Hub's own mixin; needs ``pip install huggingface_hub``."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from protomask.errors import InputError
from protomask.networks import load_network, save_unchecked
from protomask.prototype_network import PrototypeNetwork

try:
    from huggingface_hub import ModelHubMixin, snapshot_download
except ImportError as error:
    raise InputError("huggingface_hub is not installed; add it with: pip install huggingface_hub") from error

PUSHING = frozenset(inspect.signature(ModelHubMixin.push_to_hub).parameters) - {"self", "repo_id"}
"""the options of an upload, which are those of the version that is installed"""
LOADING = frozenset(
    name
    for name, parameter in inspect.signature(ModelHubMixin.from_pretrained).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)
"""those of a download"""
_FILES = ["model.json", "model.safetensors"]


class OnHub(ModelHubMixin, library_name="protomask", pipeline_tag="image-classification", tags=["prototypes"]):
    """A network with the mixin's methods; the network itself needs no hub, and its constructor no inspection."""

    def __init__(self, wrapped: PrototypeNetwork):
        self.wrapped = wrapped

    def _save_pretrained(self, save_directory: Path) -> None:
        save_unchecked(self.wrapped, self.wrapped.registered_as, save_directory)
        # The Hub counts downloads of this file.
        about = {"library": "protomask", "network": self.wrapped.registered_as, "classes": len(self.wrapped.classes)}
        (save_directory / "config.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id, **options) -> OnHub:
        known = {name: value for name, value in options.items() if name in LOADING}
        return cls(load_network(Path(snapshot_download(model_id, **known, allow_patterns=_FILES))))
