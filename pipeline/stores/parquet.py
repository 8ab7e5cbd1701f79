"""Rows into a local Delta table by Arrow's Parquet writer, which takes a third of deltalake's time for a segment.

deltalake's own writer sets up each of a hundred columns anew, and clears the memory for that, however few rows there
are (tests/bench/storing.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from time import time_ns
from typing import Any, Final
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import PostCommitHookProperties, Schema

TOLD = ("ts", "unit", "arrival_ts")
"""Columns whose smallest and largest value stand in the log: of a hundred few are worth it in every commit. Who asks
for what came since the last time (the live page, the nights) then opens few of a day's thousands of files.
"""
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
PACKED: Final = "DELTA_BINARY_PACKED"
_ARROW = pl.CompatLevel.oldest()


def arrow(frame: pl.DataFrame) -> pa.Table:
    """A frame in types that Delta knows."""
    return frame.to_arrow(compat_level=_ARROW)


def integers(kinds: Mapping[str, Any]) -> list[str]:
    """Columns that are packed as differences, not by a dictionary: of readings that takes the least room."""
    return [name for name, kind in kinds.items() if kind.is_integer()]


def fits(schema: Schema, frame: pl.DataFrame) -> bool:
    """Whether a frame has exactly the columns of a table, so that nothing has to be compared or cast."""
    return bool(schema == Schema.from_arrow(arrow(frame.clear()).schema))


def written(root: Path, frame: pl.DataFrame, partition: Sequence[str]) -> list[dict[str, Any]]:
    """Write a frame that fits the table in `root`, a file for each partition; what the log's `add` says of each.

    As with deltalake's own writer nothing is on the disk for certain yet. Raises OSError if the disk refuses.
    """
    days = frame.partition_by(partition, as_dict=True) if partition else {(): frame}
    return [_file(root, dict(zip(partition, day, strict=True)), rows) for day, rows in days.items() if len(rows)]


def _file(root: Path, day: dict[str, date | None], told: pl.DataFrame) -> dict[str, Any]:
    rows = told.drop(day)
    folder = root.joinpath(*(f"{name}={value}" for name, value in day.items()))
    folder.mkdir(exist_ok=True)
    file = folder / f"part-{uuid4()}.zstd.parquet"
    packed = integers(rows.schema)
    pq.write_table(
        arrow(rows),
        file,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in rows.columns if name not in packed],
        column_encoding=dict.fromkeys(packed, PACKED),
        write_statistics=[name for name in TOLD if name in rows.columns],
    )
    return {
        "path": str(file.relative_to(root)),
        "partitionValues": {name: None if value is None else str(value) for name, value in day.items()},
        "size": file.stat().st_size,
        "modificationTime": time_ns() // 1_000_000,
        "dataChange": True,
        "stats": json.dumps(_stats(rows)),
    }


def _stats(rows: pl.DataFrame) -> dict[str, Any]:
    told = [rows[name] for name in TOLD if name in rows.columns]
    nulls = {one.name: one.null_count() for one in told}
    said = [one for one in told if nulls[one.name] < len(rows)]
    least, most = {one.name: one.min() for one in said}, {one.name: one.max() for one in said}
    return {"numRecords": len(rows), "minValues": least, "maxValues": most, "nullCount": nulls}
