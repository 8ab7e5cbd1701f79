"""A fake server of a test, from when it listens until the end of the block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from threading import Thread

OFTEN_S = 0.02


@contextmanager
def listening(server: BaseServer, closing: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Serves in a thread. `closing` lets go of the answers that still hang, before the server waits for them."""
    thread = Thread(target=server.serve_forever, args=(OFTEN_S,))
    thread.start()
    try:
        yield
    finally:
        closing()
        server.shutdown()
        server.server_close()
        thread.join()
