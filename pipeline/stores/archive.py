"""The archive, the analysts' truth: one Delta Lake table for each table of `pipeline.schema`, in a folder or on S3.

A journal segment is one transaction a table, known by app id and version, so that it is stored exactly once. deltalake
lets a version in twice and never fsyncs: both are seen to here. One writer appends to a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)  # fmt: skip
from deltalake.exceptions import DeltaError, SchemaMismatchError

from cellherd.failpoint import failpoint
from pipeline.schema import IDENTITY, PARTITIONED, TABLES, Schema
from pipeline.stores.durable import sync_checkpoint, sync_commits, sync_folders
from pipeline.stores.errors import StoreAway
from pipeline.storing.decode import Decoded

Days: TypeAlias = tuple[date, date]
Where: TypeAlias = Mapping[str, str | date | tuple[str, ...] | None]
"""First and last day, both included."""

_TRIES = 5
_CHECKPOINT = 100
"""Commits from one checkpoint to the next."""
_AT_ONCE = 2_000_000
"""Rows that compaction holds in memory, half a gigabyte."""
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
_ARROW = pl.CompatLevel.oldest()


@dataclass(slots=True)
class Archive:
    """Tables below a folder or an s3:// prefix, whose keys and endpoint stand in the environment's AWS_ variables."""

    uri: str
    _handles: dict[str, DeltaTable] = field(default_factory=dict, repr=False)

    def append(self, table: str, frame: pl.DataFrame, *, app_id: str, version: int) -> None:
        """Add rows durably, unless this version of the app, or a later one, is there already.

        Raises StoreAway if the store cannot take them now.
        """
        mark = CommitProperties(app_transactions=[Transaction(app_id, version)])

        def commit(handle: DeltaTable) -> None:
            if (handle.transaction_version(app_id) or 0) < version:
                _write(handle, _arrow(frame), _properties(table, level=1), mode="append", commit_properties=mark)

        self._commit(table, commit)

    def version(self, table: str, app_id: str) -> int | None:
        """The app's last version in a table, None if it wrote none."""
        if not self._is_there(table):
            return None
        version: int | None = self._open(table).transaction_version(app_id)
        return version

    def scan(self, table: str, days: Days | None = None) -> pl.LazyFrame:
        """A table, or its rows of some days (UTC `date` of readings and events, local `day` of daily tables).

        Reads only the partitions it needs. A table that nobody wrote yet is empty.
        """
        if not self._is_there(table):
            return pl.LazyFrame(schema=TABLES[table])
        frame = pl.scan_delta(self._open(table), storage_options=self._options())
        column = pl.col("date" if table in PARTITIONED else "day")
        return frame.filter(column.is_between(*days)) if days else frame

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        """Put the frame in the place of all rows that have these values; again is the same.

        {"site": "barn", "day": date} or, for several values of one column, {"site": ("barn", "loft"), ..}.

        Raises StoreAway if the store cannot take them now.
        """
        predicate = " AND ".join(_equals(name, value) for name, value in where.items())

        def commit(handle: DeltaTable) -> None:
            if frame.is_empty():
                handle.delete(predicate, post_commithook_properties=_NO_HOOKS)
                return
            _write(handle, _arrow(frame), _properties(table, level=3), mode="overwrite", predicate=predicate)

        self._commit(table, commit)

    def compact(self, day: date) -> None:
        """Rewrite a closed day sorted and without doubles, where it lies in more than one file, and sweep old files.

        Raises StoreAway if others write to the same day all the time.
        """

        def commit(handle: DeltaTable) -> None:
            files = handle.get_add_actions(flatten=True)
            if pl.DataFrame(files).filter(pl.col("partition.date") == day).height < 2:
                return
            rows = pl.scan_delta(handle, storage_options=self._options()).filter(pl.col("date") == day)
            reader = pa.RecordBatchReader.from_batches(_arrow_schema(TABLES[table]), _sorted_batches(table, rows))
            predicate = _equals("date", day)
            _write(handle, reader, _properties(table, level=3), mode="overwrite", predicate=predicate)
            handle.vacuum(dry_run=False)

        for table in sorted(filter(self._is_there, PARTITIONED)):
            self._commit(table, commit)

    def _commit(self, table: str, change: Callable[[DeltaTable], None]) -> None:
        reason: Exception | None = None
        for _ in range(_TRIES):
            try:
                handle = self._handles.get(table) or self._create(table)
                first = handle.version() + 1
                change(handle)
                failpoint("archive-committed")
                self._flush(table, handle, first)
            except SchemaMismatchError:
                raise
            except (DeltaError, OSError) as error:
                self._handles.pop(table, None)  # after a conflict every later commit of this handle would fail
                reason = error
            else:
                self._handles[table] = handle
                return
        told = str(reason).partition("\n")[0] or type(reason).__name__
        raise StoreAway(f"archive {self._place(table)}: {told}") from reason

    def _flush(self, table: str, handle: DeltaTable, first: int) -> None:
        last = handle.version()
        due = first // _CHECKPOINT < (last + 1) // _CHECKPOINT
        if due:
            handle.create_checkpoint()
        if "://" not in self.uri:
            root = Path(self._place(table))
            # A process that died between commit and flush left its last commits to this one.
            known = table in self._handles
            sync_commits(root, first if known else max(0, last - _CHECKPOINT), last)
            if due:
                sync_checkpoint(root, last)

    def _create(self, table: str) -> DeltaTable:
        if self._is_there(table):
            return self._open(table)
        handle = DeltaTable.create(
            self._place(table),
            schema=_arrow_schema(TABLES[table]),
            mode="ignore",
            partition_by=["date"] if table in PARTITIONED else None,
            # Of a hundred columns few are worth a minimum and maximum in every commit.
            configuration={"delta.dataSkippingStatsColumns": "ts,unit"} if "ts" in TABLES[table] else None,
            storage_options=self._options(),
        )
        if "://" not in self.uri:
            sync_folders(Path(self._place(table), "_delta_log").resolve())
        return handle

    def _open(self, table: str) -> DeltaTable:
        return DeltaTable(self._place(table), storage_options=self._options())

    def _is_there(self, table: str) -> bool:
        return bool(DeltaTable.is_deltatable(self._place(table), storage_options=self._options()))

    def _place(self, table: str) -> str:
        return f"{self.uri.rstrip('/')}/{table}"

    def _options(self) -> dict[str, str] | None:
        if "://" not in self.uri:
            return None
        told = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        return {"aws_conditional_put": "etag", **told}


def _write(handle: DeltaTable, rows: Any, properties: WriterProperties, **how: Any) -> None:
    write_deltalake(handle, rows, writer_properties=properties, post_commithook_properties=_NO_HOOKS, **how)


def _properties(table: str, *, level: int) -> WriterProperties:
    packed = ColumnProperties(encoding="DELTA_BINARY_PACKED", dictionary_enabled=False)
    integers = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
    columns = {name: packed for name, kind in TABLES[table].items() if kind in integers}
    return WriterProperties(compression="ZSTD", compression_level=level, column_properties=columns)


def _sorted_batches(table: str, rows: pl.LazyFrame) -> Iterator[pa.RecordBatch]:
    """All rows once, ordered by unit and time within groups of edges that fit in memory together."""
    key = list(IDENTITY) if "event_id" not in TABLES[table] else ["event_id"]
    order = [name for name in ("unit", "ts", "from_ts", "arrival_ts", "seq") if name in TABLES[table]]
    stream = pl.col("stream").fill_null("")
    sizes = rows.group_by(stream).len().sort("stream").collect(engine="streaming")
    groups = sizes.select("stream", group=pl.col("len").cum_sum() // _AT_ONCE)
    for group in groups.partition_by("group", maintain_order=True):
        part = rows.filter(stream.is_in(group["stream"].implode())).collect(engine="streaming")
        whole = part.sort(order).filter(pl.struct(key).is_first_distinct())
        yield from _arrow(whole.select(TABLES[table].keys())).to_batches()


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=_ARROW)


def _arrow_schema(schema: Schema) -> pa.Schema:
    return _arrow(pl.DataFrame(schema=schema)).schema


def _equals(name: str, value: str | date | tuple[str, ...] | None) -> str:
    if value is None:
        return f"{name} IS NULL"
    values = value if isinstance(value, tuple) else (str(value),)
    quoted = ", ".join("'" + text.replace("'", "''") + "'" for text in values)
    return f"{name} IN ({quoted})"


@dataclass(slots=True)
class ArchiveSink:
    """Journal segments into the archive: the segment's number is the version; one `app_id` for each ingester."""

    archive: Archive
    app_id: str = "ingest"
    name: str = "archive"

    def position(self) -> int:
        """The last segment stored: readings are written last, so their table knows."""
        return self.archive.version("reading", self.app_id) or 0

    def write(self, number: int, decoded: Decoded) -> None:
        """Store a segment; again changes nothing. The readings' table keeps the number even when none came.

        Raises StoreAway if it has to be tried again.
        """
        others = {table: frame for table, frame in decoded.frames.items() if table != "reading" and len(frame)}
        for table, frame in others.items():
            self.archive.append(table, frame, app_id=self.app_id, version=number)
        self.archive.append("reading", decoded.frames["reading"], app_id=self.app_id, version=number)
