"""Serve the page until it is interrupted."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from importlib.util import find_spec

from protomask.errors import InputError
from protomask.serve.safety import LOOPBACK
from protomask.serve.subjects import Subject

PORT = 8765


def serve(subject: Subject, *, host: str = "127.0.0.1", port: int | None = None, say: Callable[[str], None]) -> None:
    """Serve the page about ``subject``; returns when it is interrupted (Ctrl-C).

    Args:
        subject: a run or a classifier.
        host: the address to listen on; others than this machine's own are for a network that is trusted, since nothing
            is encrypted.
        port: None: 8765, or a free one where that is in use; 0: a free one.
        say: told the page's address.

    Raises:
        InputError: the packages of the extra are missing; the host or port cannot be listened on.
    """
    check_installed()
    import uvicorn

    from protomask.serve.app import make_app

    listening = listen(host, port)
    with listening:
        number, key = listening.getsockname()[1], secrets.token_urlsafe(24)
        app = make_app(subject, key=key, host=host, port=number)
        shown = f"[{host}]" if ":" in host else host
        say(f"open  http://{shown}:{number}/#key={key}")
        if host not in LOOPBACK:
            say("whoever has this address can use the page; nothing on the way is encrypted")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=200,
            timeout_keep_alive=20,
        )
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass


def check_installed() -> None:
    """Raise InputError where a package that the page needs is missing."""
    for name in ("fastapi", "uvicorn"):
        if find_spec(name) is None:
            raise InputError(f"the page needs {name}; pip install fastapi uvicorn")


def listen(host: str, port: int | None) -> socket.socket:
    """Open a socket that listens.

    Raises:
        InputError: it cannot.
    """
    if port is not None and not 0 <= port < 65536:
        raise InputError(f"port is {port}; give a number from 0 (any free one) to 65535")
    wanted = [PORT, 0] if port is None else [port]
    for place, number in enumerate(wanted):
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            found = socket.socket(family[0], socket.SOCK_STREAM)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(family[4])
                found.listen(128)
            except BaseException:
                found.close()
                raise
            return found
        except (OSError, UnicodeError) as error:
            if place == len(wanted) - 1:
                reason = getattr(error, "strerror", None) or error
                raise InputError(f"host {host}, port {number}: cannot listen there ({reason}); choose others") from None
    raise AssertionError("unreachable")
