"""What decoding and storing cost: python -m tests.bench.stores

Processor time a reading (the best of a few rounds), each beside a floor measured in the same run: Polars' json_decode
without a single check, raw texts or fault ids, and a bare Delta write of the same rows.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake
from typer import echo

from cellherd.reading import SCALARS
from cellherd.settings import Site
from pipeline.decoding.decode import decode
from pipeline.journal.entry import Entry
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS
from pipeline.stores.archive import Archive
from pipeline.stores.lines import module_lines
from pipeline.stores.upkeep import compact
from tests.pipeline.messages import entries

ROUNDS = 4
SITES = {"home": Site(id="home", installer="sun", edge="pi0")}
_ARROW = pl.CompatLevel.oldest()


def main() -> None:
    echo(f"{pl.thread_pool_size()} Polars threads; us of processor time a reading")
    for n, count in ((1, 12_000), (2, 8_000), (12, 2_000), (60, 400)):
        batch = list(entries(n, count))
        gc.freeze()  # as the ingester does when it has started: what is here to stay is not looked through again
        ours, floor = cost(partial(decode, batch), n * count), cost(partial(bare, batch), n * count)
        echo(f"decode, {n:2} a message: {ours:6.2f}   floor {floor:5.2f}   ratio {ours / floor:.1f}")
    frame = decode(list(entries(12, 8_000))).frames["reading"]
    ours = cost(lambda: module_lines(frame, SITES), len(frame))
    echo(f"line protocol:         {ours:6.2f}   {len(module_lines(frame, SITES)) / len(frame):.0f} B a line")
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder), frame)


def cost(action: Callable[[], object], readings: int) -> float:
    """us of processor time a reading."""
    return min(_once(action) for _ in range(ROUNDS)) / readings * 1e6


def _once(action: Callable[[], object]) -> float:
    begin = process_time()
    action()
    return process_time() - begin


def bare(batch: list[Entry]) -> pl.DataFrame:
    """Payloads to columns by Polars alone, trusting everything."""
    column = pl.List(pl.Int64)
    texts: dict[str, Any] = dict.fromkeys(("stream", "epoch", "module", "kind", "driver", "boot", "clk"), pl.String)
    shape = {
        **texts,
        "t0": pl.Int64,
        "bt0": pl.Int64,
        **dict.fromkeys(("seq", "dt", *(q.name for q in SCALARS)), column),
    }
    shape |= {"cell_mv": pl.List(column), "temp_dc": pl.List(column)}
    told = pl.Series([entry.payload for entry in batch], dtype=pl.Binary).cast(pl.String)
    frame = told.str.json_decode(pl.Struct(shape)).struct.unnest()
    cells = [pl.col("cell_mv").list.get(i).alias(name) for i, name in enumerate(CELL_COLUMNS[:16])]
    temps = [pl.col("temp_dc").list.get(i).alias(name) for i, name in enumerate(TEMP_COLUMNS[:4])]
    frame = frame.with_columns(cells + temps).drop("cell_mv", "temp_dc")
    frame = frame.select(name for name in frame.columns if frame[name].null_count() < len(frame))
    return frame.explode([name for name, kind in frame.schema.items() if kind == column])


def stored(folder: Path, frame: pl.DataFrame) -> None:
    """Append in a few segments, compact, and weigh what lies on the disk."""
    archive, plain = Archive(str(folder / "archive")), folder / "plain"
    versions = iter(range(1, 100))
    ours = cost(lambda: archive.append("reading", frame, app_id="bench", version=next(versions)), len(frame))
    floor = cost(lambda: write_deltalake(plain, frame.to_arrow(compat_level=_ARROW), mode="append"), len(frame))
    echo(f"archive append:        {ours:6.2f}   floor {floor:5.2f}   ratio {ours / floor:.1f}")
    echo(f"appended:              {weight(archive) / len(frame) / ROUNDS:6.2f} B a reading")
    begin = process_time()
    for day in frame["date"].unique():
        compact(archive, "reading", day)
    spent = (process_time() - begin) / len(frame) / ROUNDS * 1e6
    rows = archive.scan("reading").select(pl.len()).collect().item()
    echo(f"compacted:             {weight(archive) / rows:6.2f} B a reading, {spent:.2f} us for each row read")


def weight(archive: Archive) -> int:
    return sum(Path(uri).stat().st_size for uri in DeltaTable(f"{archive.uri}/reading").file_uris())


if __name__ == "__main__":
    main()
