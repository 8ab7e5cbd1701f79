"""A TCP line that can be made bad: slow, cut, sliced, gone without a word. All of them share one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Literal

Mood = Literal["well", "blackhole", "refuse", "slow", "slices", "jitter"]
CHUNK = 4096
SLOW_BYTES_S = 8000
"""64 kbit/s."""
BREATH_S = 0.02

_loop = asyncio.new_event_loop()


@dataclass
class Proxy:
    """Between an edge and its broker. `mood` may change at any time, `cut` breaks what is connected."""

    target: int
    mood: Mood = "well"
    port: int = 0
    cut_after: int | None = None
    """Bytes towards the broker after which the line breaks once, in the midst of a packet."""
    _lines: set[asyncio.StreamWriter] = field(default_factory=set)

    def start(self) -> None:
        """Listen on a free port."""
        if not _loop.is_running():
            Thread(target=_loop.run_forever, name="proxy", daemon=True).start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", self.port), _loop)
        self._server = server.result(60)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Stop listening and break what is connected."""
        _loop.call_soon_threadsafe(self._server.close)
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        _loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for line in tuple(self._lines):
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood == "refuse":
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._lines |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer, up=True), self._pump(far_reader, writer, up=False))
        self._lines -= {writer, far_writer}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while some := await source.read(CHUNK):
                while self.mood == "blackhole":
                    await asyncio.sleep(BREATH_S)
                if up and self.cut_after is not None and len(some) > self.cut_after:
                    sink.write(some[: self.cut_after])
                    self.cut_after = None
                    self._reset()
                    return
                await self._pass_on(some, sink)
        except OSError:
            pass
        finally:
            sink.close()

    async def _pass_on(self, some: bytes, sink: asyncio.StreamWriter) -> None:
        if self.mood == "slices":
            for at in range(len(some)):
                sink.write(some[at : at + 1])
                if at % 64 == 0:
                    await sink.drain()
                    await asyncio.sleep(0)
        else:
            if self.mood == "slow":
                await asyncio.sleep(len(some) / SLOW_BYTES_S)
            if self.mood == "jitter":
                await asyncio.sleep(BREATH_S * (hash(some) % 10))
            sink.write(some)
        await sink.drain()


def call(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something on the proxies' thread and wait for it."""
    return asyncio.run_coroutine_threadsafe(work, _loop).result(10)
