"""Networks on the Hugging Face Hub, by its own mixin; needs ``pip install huggingface_hub``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from protomask.errors import InputError, type_named
from protomask.given import refuse_run
from protomask.networks import load_network
from protomask.prototype_network import PrototypeNetwork

try:
    from huggingface_hub import ModelHubMixin, snapshot_download
except ImportError as error:
    raise InputError("huggingface_hub is not installed; add it with: pip install huggingface_hub") from error

_THEIRS = ("huggingface_hub", "httpx", "httpx2", "requests")
_FILES = ["model.json", "model.safetensors"]


class _OnHub(ModelHubMixin, library_name="protomask", pipeline_tag="image-classification", tags=["prototypes"]):
    """A network with the mixin's methods; the network itself needs no hub, and its constructor no inspection."""

    def __init__(self, wrapped: PrototypeNetwork):
        self.wrapped = wrapped

    def _save_pretrained(self, save_directory: Path) -> None:
        self.wrapped.save(save_directory)
        # The Hub counts downloads of this file.
        about = {"library": "protomask", "network": self.wrapped.registered_as, "classes": len(self.wrapped.classes)}
        (save_directory / "config.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls, *, model_id, revision, cache_dir, force_download, local_files_only, token, **others
    ) -> _OnHub:
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=_FILES,
        )
        return cls(load_network(Path(folder)))


def push_to_hub(network: PrototypeNetwork, name: str, **options) -> str:
    """Upload a network to the Hub.

    Args:
        name: ``owner/name`` of the repository, made where it is missing.
        options: of huggingface_hub's ``ModelHubMixin.push_to_hub``: ``private``, ``token``, ``commit_message``, ...

    Returns:
        The address of the commit.

    Raises:
        InputError: no network; a name that cannot be, or the Hub cannot be reached or refuses.
    """
    refuse_run(network)
    if not isinstance(network, PrototypeNetwork):
        raise InputError(f"network is {type_named(network)}; give a PrototypeNetwork")
    with _asking(f"{name}: the network was not uploaded", "give owner/name, and a token that may write there"):
        return _OnHub(network).push_to_hub(name, **options)


def from_pretrained(name: str | Path, **options) -> PrototypeNetwork:
    """Load a network from the Hub, or from a folder of the same files, in evaluation mode, on the CPU.

    Args:
        name: ``owner/name`` of the repository, or a folder.
        options: of huggingface_hub's ``ModelHubMixin.from_pretrained``: ``revision``, ``token``, ``cache_dir``, ...

    Raises:
        InputError: the files are none of a network; no such folder, and the Hub cannot be reached or does not have it.
    """
    if Path(name).is_dir():  # asked of the mixin, a config.json beside the network would have to be sound
        return load_network(Path(name))
    with _asking(f"{name}: no such folder, and no such network from the Hub", "give a folder, or owner/name"):
        return _OnHub.from_pretrained(str(name), **options).wrapped


@contextmanager
def _asking(what: str, mend: str) -> Iterator[None]:
    """Turn what the Hub, its package and the connection raise into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Errors of the connection are those of another package with each version, some no OSError.
        if not isinstance(error, OSError | ValueError) and type(error).__module__.partition(".")[0] not in _THEIRS:
            raise
        raise InputError(f"{what} ({type(error).__name__}: {shorten(str(error), 200)}); {mend}") from error
