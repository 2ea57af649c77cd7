"""Whether pretrained weights can be had at all, asked before a library's client tries for a minute."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from protomask.errors import InputError

PATIENCE = 3.0
"""seconds that a server has to take a connection"""
_FILES = ("model.safetensors", "pytorch_model.bin")


def check_timm_weights(name: str) -> None:
    """Check that the pretrained weights of timm's model are here, or that their server answers.

    Raises:
        InputError: neither; names the file, where it comes from, and where it belongs.
    """
    import timm
    from huggingface_hub import constants, try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or config.file or not config.hf_hub_id:
        return
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _FILES
    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files):
        return
    if constants.HF_HUB_OFFLINE or not answers(constants.ENDPOINT):
        where = f"{files[0]} of {config.hf_hub_id}"
        raise _missing(name, where, Path(constants.HF_HUB_CACHE), "as the hub's client lays it out")


def check_torchvision_weights(name: str) -> None:
    """Check the same of torchvision's model.

    Raises:
        InputError: as :func:`check_timm_weights`.
    """
    import torch
    import torchvision.models as library

    found = library.get_model_weights(name)
    address = getattr(getattr(found, "DEFAULT", None), "url", None)
    if address is None:
        return
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(address).path).name
    if not file.is_file() and not answers(address):
        raise _missing(f"torchvision/{name}", file.name, file.parent, "under this name")


def answers(address: str, patience: float = PATIENCE) -> bool:
    """Tell whether the server of a web address, or the proxy that leads to it, takes a connection."""
    parts = urlsplit(address)
    proxy = getproxies().get(parts.scheme)
    if proxy:
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=patience):
            return True
    except (OSError, ValueError):
        return False


def _missing(name: str, file: str, folder: Path, how: str) -> InputError:
    home = os.path.expanduser("~")
    shown = str(folder).replace(home, "~", 1) if str(folder).startswith(home) else str(folder)
    return InputError(
        f"pretrained weights of {name} are not on this machine and their server does not answer; fetch {file} where "
        f"there is a network and give it by weights=, or put it into {shown} {how}"
    )
