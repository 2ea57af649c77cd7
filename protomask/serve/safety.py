"""Who may ask: this machine's own page with the key, and nobody through another page."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY = "x-protomask-key"
API = "/api/"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Guard:
    """Refuse what does not come from the page itself (ASGI middleware).

    - The address must be the one that the server was started on: another name that leads to this machine is refused
      (DNS rebinding); with a host of the user's own, any name, since the key decides.
    - A page from elsewhere (``Origin``) is refused.
    - Everything below ``/api/`` needs the key that was printed at the start, in a header that no other page can set.

    Args:
        app: what is guarded.
        key: the secret.
        host: that the server listens on.
        port: the server's.
    """

    def __init__(self, app: Any, *, key: str, host: str, port: int) -> None:
        self.app, self.key, self.port = app, key, port
        self.names = LOOPBACK if host in LOOPBACK else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is None:
                await self.app(scope, receive, _with_headers(send))
            else:
                await _refuse(_with_headers(send), *refusal)

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = given.get("host", "")
        if self.names is not None and not self._is_own(host):
            return 421, "this server answers under its own address only"
        origin = given.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "another page may not ask here"
        if scope["path"].startswith(API) and not hmac.compare_digest(given.get(KEY, "").encode(), self.key.encode()):
            return 403, "the key is missing or wrong; open the address that the terminal shows"
        return None

    def _is_own(self, host: str) -> bool:
        try:
            found = urlsplit(f"//{host}")
            return found.hostname in (self.names or ()) and (found.port or 80) == self.port
        except ValueError:
            return False


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message["headers"] = [*message.get("headers", []), *own]
        await send(message)

    return sent


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
