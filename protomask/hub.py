"""Networks on the Hugging Face Hub; needs ``pip install huggingface_hub``, but for what lies in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from protomask.errors import InputError, type_named
from protomask.given import refuse_run
from protomask.networks import load_network
from protomask.prototype_network import PrototypeNetwork

_THEIRS = ("huggingface_hub", "httpx", "httpx2", "requests")


def push_to_hub(network: PrototypeNetwork, name: str, **options) -> str:
    """Upload a network to the Hub.

    Args:
        name: ``owner/name`` of the repository, made where it is missing.
        options: of huggingface_hub's ``ModelHubMixin.push_to_hub``: ``private``, ``token``, ``commit_message``, ...

    Returns:
        The address of the commit.

    Raises:
        InputError: no network; huggingface_hub is not installed; a name that cannot be, or the Hub cannot be
            reached or refuses.
    """
    refuse_run(network)
    if not isinstance(network, PrototypeNetwork):
        raise InputError(f"network is {type_named(network)}; give a PrototypeNetwork")
    from protomask.hub_mixin import OnHub

    with _asking(f"{name}: the network was not uploaded", "give owner/name, and a token that may write there"):
        return OnHub(network).push_to_hub(name, **options)


def from_pretrained(name: str | Path, **options) -> PrototypeNetwork:
    """Load a network from the Hub, or from a folder of the same files, in evaluation mode, on the CPU.

    Args:
        name: ``owner/name`` of the repository, or a folder.
        options: of huggingface_hub's ``ModelHubMixin.from_pretrained``: ``revision``, ``token``, ``cache_dir``, ...

    Raises:
        InputError: the files are none of a network; no such folder, and huggingface_hub is not installed, or
            the Hub cannot be reached or does not have it.
    """
    if Path(name).is_dir():  # asked of the mixin, a config.json beside the network would have to be sound
        return load_network(Path(name))
    from protomask.hub_mixin import OnHub

    with _asking(f"{name}: no such folder, and no such network from the Hub", "give a folder, or owner/name"):
        return OnHub.from_pretrained(str(name), **options).wrapped


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
