"""Networks on the Hugging Face Hub; needs ``pip install huggingface_hub``, but for what lies in a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from protomask.errors import InputError, did_you_mean, type_named
from protomask.given import as_flag, refuse_run, short
from protomask.gradients import with_gradients
from protomask.networks import load_network
from protomask.prototype_network import PrototypeNetwork
from protomask.rebuilding import hindrance

_FLAGS = ("private", "create_pr", "force_download", "local_files_only", "resume_download")
_THEIRS = ("huggingface_hub", "httpx", "httpx2", "requests")


def push_to_hub(network: PrototypeNetwork, name: str, **options) -> str:
    """Upload a network to the Hub.

    Args:
        name: ``owner/name`` of the repository, made where it is missing.
        options: of huggingface_hub's ``ModelHubMixin.push_to_hub``: ``private``, ``token``, ``commit_message``, ...

    Returns:
        The address of the commit.

    Raises:
        InputError: no network, or one that could not be read again; huggingface_hub is not installed; an option that
            it does not have, a name that cannot be, or the Hub cannot be reached or refuses.
    """
    refuse_run(network)
    if not isinstance(network, PrototypeNetwork):
        raise InputError(f"network is {type_named(network)}; give a PrototypeNetwork")
    if not isinstance(name, str) or not name:
        raise InputError(f"name is {short(name)}; give owner/name of the repository, as a text")
    from protomask.hub_mixin import PUSHING, OnHub

    _check_options(options, PUSHING)
    if reason := hindrance(network, network.registered_as):
        raise InputError(f"{name}: the network was not uploaded, since nobody could read it: {reason}")
    with _asking(f"{name}: the network was not uploaded", "give owner/name, and a token that may write there"):
        return OnHub(network).push_to_hub(name, **options)


@with_gradients
def from_pretrained(name: str | Path, **options) -> PrototypeNetwork:
    """Load a network from the Hub, or from a folder of the same files, in evaluation mode, on the CPU.

    Args:
        name: ``owner/name`` of the repository, or a folder.
        options: of huggingface_hub's ``ModelHubMixin.from_pretrained``: ``revision``, ``token``, ``cache_dir``, ...

    Raises:
        InputError: no name, or an unknown option; the files are none of a network; no such folder, and huggingface_hub
            is not installed, or the Hub cannot be reached or does not have it.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise InputError(f"name is {short(name)}; give owner/name of the repository, or a folder")
    is_folder = Path(name).is_dir()
    if options or not is_folder:
        from protomask.hub_mixin import LOADING, OnHub

        _check_options(options, LOADING)
    if is_folder:  # asked of the mixin, a config.json beside the network would have to be sound
        return load_network(Path(name))
    with _asking(f"{name}: no such folder, and no such network from the Hub", "give a folder, or owner/name"):
        return OnHub.from_pretrained(str(name), **options).wrapped


def _check_options(given: dict, known: Collection[str]) -> None:
    """Raise InputError for an option that is unknown, or a flag that is no flag: a text would count as True."""
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{name} is no option of huggingface_hub here; there are {', '.join(sorted(known))}"
                f"{did_you_mean(name, known)}"
            )
        if name in _FLAGS and value is not None:
            as_flag(value, name)


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
