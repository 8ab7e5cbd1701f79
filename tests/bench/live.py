"""What the live engine costs a reading, beside decoding, and what a replay costs: python -m tests.bench.live

10,000 modules with a reading every 10 s come in segments of 5 s, as the journal makes them: 5,000 readings of as many
modules. Processor time of the engine's step and of its transaction (fsync included), after a first round that meets
every module; decoding the same segment is the measure of what the intake pays anyway. A tick looks at all modules.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import monotonic, process_time

import polars as pl
from typer import echo

from cellherd.clock import SystemClock
from pipeline.decoding.decode import decode
from pipeline.lifeline import settle
from pipeline.live.absence import Link
from pipeline.live.engine import advance
from pipeline.live.sink import LiveSink
from pipeline.live.state import Module
from pipeline.live.store import LiveStore
from tests.pipeline.messages import PERIOD, entries

MODULES, SEGMENT, ROUNDS = 10_000, 5_000, 6


def main() -> None:
    settle()  # as the storing process does
    echo(f"{pl.thread_pool_size()} Polars threads; processor time")
    batch = list(entries(1, SEGMENT, MODULES))
    begin = process_time()
    decoded = decode(batch)
    decoding = process_time() - begin
    with tempfile.TemporaryDirectory() as folder:
        live(decoded, decoding, Path(folder))
    day()


def live(decoded: object, decoding: float, folder: Path) -> None:
    sink = LiveSink(LiveStore(folder / "live.sqlite"), {}, SystemClock())
    best, wall = 1e9, 0.0
    for turn in range(ROUNDS):
        later = decoded.frames["reading"].with_columns(  # type: ignore[attr-defined]
            pl.col("ts", "arrival_ts") + turn * 2 * PERIOD, pl.col("seq") + turn * 1_000_000
        )
        decoded.frames["reading"] = later  # type: ignore[attr-defined]
        begin, at = process_time(), monotonic()
        sink.write(turn + 1, decoded)  # type: ignore[arg-type]
        if turn:
            best, wall = min(best, process_time() - begin), max(wall, monotonic() - at)
    us = best / SEGMENT * 1e6
    echo(f"engine, live: {us:.1f} us a reading; decoding {decoding / SEGMENT * 1e6:.1f}; ratio {best / decoding:.1f}")
    echo(f"10,000 modules at 10 s: {us * 1000 / 1e4:.1f} % of a core; a segment of 5 s took at most {wall:.2f} s")
    begin = process_time()
    sink.tick({"pi0": Link(SystemClock().wall())})
    echo(f"a tick over {SEGMENT:,} modules: {(process_time() - begin) * 1000:.0f} ms, every 5 s")


def day() -> None:
    """A replay of quiet readings: 20 modules, 4,000 each."""
    frame = decode(list(entries(60, 20 * 4_000 // 60, 20))).frames["reading"]
    memory: dict[tuple[str, str, str], Module] = {}
    begin = process_time()
    out = advance(memory.get, {"reading": frame}, {})
    echo(f"replay: {(process_time() - begin) / len(frame) * 1e6:.1f} us a reading, {len(out.events)} events")


if __name__ == "__main__":
    main()
