"""An asyncio loop in a thread of its own, for libraries that know no other way to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import wait
from threading import Event, Thread
from time import monotonic
from typing import Any, TypeVar

from cellherd.errors import LinkError
from collectors.links.wires import SLICE_S

LAST_S = 5.0
Outcome = TypeVar("Outcome")


class Aside:
    """Runs coroutines for a thread that waits otherwise. Used by one thread at a time."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Outcome], seconds: float, halt: Event | None = None) -> Outcome:
        """What the work gives, or raises. Raises TimeoutError after so many seconds, LinkError once `halt` is set."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        until = monotonic() + seconds
        while not future.done():
            wait([future], SLICE_S)
            if future.done():
                break
            if halt is not None and halt.is_set():
                future.cancel()
                raise LinkError("stopping")
            if monotonic() > until:
                future.cancel()
                raise TimeoutError(f"nothing in {seconds:g} s")
        return future.result()

    def close(self) -> None:
        """End what still runs and the thread; never raises."""
        future = asyncio.run_coroutine_threadsafe(_cancel(), self._loop)
        wait([future], LAST_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LAST_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
