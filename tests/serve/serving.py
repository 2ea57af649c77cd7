"""A page in a thread of its own, for a browser."""

import threading
import time
from contextlib import contextmanager

from protomask.serve.app import make_app
from protomask.serve.start import listen

from .conftest import KEY


@contextmanager
def served(subject):
    """The address, key included."""
    import uvicorn

    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        config = uvicorn.Config(make_app(subject, key=KEY, port=port), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}/#key={KEY.replace(' ', '%20')}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
