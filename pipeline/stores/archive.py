"""The archive, the analysts' truth: one Delta Lake table for each table of `pipeline.schema`, in a folder or on S3.

A journal segment is one transaction a table, known by app id and version, so that it is stored exactly once. deltalake
lets a version in twice and never fsyncs: both are seen to here. One writer appends to a table.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
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
    Transaction,
    WriterProperties,
    write_deltalake,
)  # fmt: skip
from deltalake.exceptions import DeltaError, SchemaMismatchError

from cellherd.failpoint import failpoint
from cellherd.settings import FleetConfig
from pipeline.decoding.decode import Decoded
from pipeline.schema import PARTITIONED, TABLES, Schema
from pipeline.stores import parquet
from pipeline.stores.durable import LOOKED_AT, mend, sync_checkpoint, sync_commits, sync_folders
from pipeline.stores.errors import StoreAway
from pipeline.stores.parquet import NO_HOOKS, arrow
from pipeline.stores.tail import Mark, Tail, sweep

Days: TypeAlias = tuple[date, date]
Where: TypeAlias = Mapping[str, str | date | tuple[str, ...] | None]
"""First and last day, both included."""

_TRIES = 5
_CHECKPOINT = LOOKED_AT
"""Commits from one checkpoint to the next."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Archive:
    """Tables below a folder or an s3:// prefix, whose keys and endpoint stand in the environment's AWS_ variables."""

    uri: str
    _handles: dict[str, DeltaTable] = field(default_factory=dict, repr=False)
    _tails: dict[str, Tail] = field(default_factory=dict, repr=False)

    def append(self, table: str, frame: pl.DataFrame, *, app_id: str, version: int) -> None:
        """Add rows durably, unless this version of the app, or a later one, is there already.

        Raises StoreAway if the store cannot take them now.
        """
        tail = self._tails.pop(table, None)
        if tail is not None and self._added(table, tail, frame, (app_id, version)):
            self._tails[table] = tail
            return

        def commit(handle: DeltaTable) -> None:
            if (handle.transaction_version(app_id) or 0) < version:
                self._write(table, handle, frame, (app_id, version))

        self._commit(table, commit)
        fresh = self._tail(table, self._handles[table], frame, {app_id, *(tail.apps if tail else ())})
        if fresh is not None:
            self._tails[table] = fresh
            del self._handles[table]  # it holds all that the table holds, and more with each commit

    def _added(self, table: str, tail: Tail, frame: pl.DataFrame, mark: Mark) -> bool:
        """Whether the rows are there now; False where deltalake has to look first."""
        app_id, version = mark
        if app_id not in tail.apps or not tail.there() or not parquet.fits(tail.schema, frame):
            return False
        if tail.apps[app_id] >= version:
            return True
        first = tail.number + 1
        try:
            tail.commit(parquet.written(tail.root, frame, tail.partition), mark)
            failpoint("archive-committed")
            self._flush(table, tail, first)
        except (DeltaError, OSError) as error:
            log.info("%s: looking at the log anew: %s", tail.root, error)
            return False
        return True

    def _write(self, table: str, handle: DeltaTable, frame: pl.DataFrame, mark: Mark) -> None:
        tail = self._tail(table, handle, frame)
        if tail is not None:
            tail.commit(parquet.written(tail.root, frame, tail.partition), mark)
            handle.update_incremental()
        else:
            known = CommitProperties(app_transactions=[Transaction(*mark)])
            write(handle, arrow(frame), properties(table, level=1), mode="append", commit_properties=known)

    def _tail(self, table: str, handle: DeltaTable, frame: pl.DataFrame, apps: Iterable[str] = ()) -> Tail | None:
        """Where a table's log ends, None where deltalake has to append: not on this machine, or with other columns."""
        fits = "://" not in self.uri and parquet.fits(handle.schema(), frame)
        return Tail.of(Path(self._place(table)), handle, apps) if fits else None

    def version(self, table: str, app_id: str) -> int | None:
        """The app's last version in a table, None if it wrote none."""
        self._mend(table)
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
        predicate = " AND ".join(equals(name, value) for name, value in where.items())

        def commit(handle: DeltaTable) -> None:
            if frame.is_empty():
                handle.delete(predicate, post_commithook_properties=NO_HOOKS)
                return
            write(handle, arrow(frame), properties(table, level=3), mode="overwrite", predicate=predicate)

        self._commit(table, commit)

    def has(self, table: str) -> bool:
        """Whether anybody wrote a table yet."""
        return self._is_there(table)

    def days(self, table: str) -> dict[date, int]:
        """The UTC dates that a partitioned table holds, in order, and the number of files of each."""
        if not self._is_there(table):
            return {}
        files = pl.DataFrame(self._open(table).get_add_actions(flatten=True))
        if files.is_empty():
            return {}
        counted = files.group_by(day=pl.col("partition.date").cast(pl.Date)).len().sort("day")
        return dict(counted.iter_rows())

    def sizes(self, table: str) -> list[int]:
        """Bytes of each file that a table's newest version needs."""
        files = pl.DataFrame(self._open(table).get_add_actions(flatten=True))
        return [] if files.is_empty() else files["size_bytes"].to_list()

    def change(self, table: str, commit: Callable[[DeltaTable], None]) -> None:
        """Change a table durably; `commit` is called again on the newest version where somebody was faster.

        Raises StoreAway if the store cannot take it now.
        """
        self._commit(table, commit)

    def rows_of(self, handle: DeltaTable, day: date) -> pl.LazyFrame:
        """A day of exactly the version that a handle stands at."""
        return pl.scan_delta(handle, storage_options=self._options()).filter(pl.col("date") == day)

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

    def _flush(self, table: str, handle: DeltaTable | Tail, first: int) -> None:
        last = handle.version()
        due = first // _CHECKPOINT < (last + 1) // _CHECKPOINT
        if due:
            handle.create_checkpoint()
        if "://" not in self.uri:
            root = Path(self._place(table))
            # A process that died between commit and flush left its last commits to this one.
            known = table in self._handles or isinstance(handle, Tail)
            sync_commits(root, first if known else max(0, last - _CHECKPOINT), last)
            if due:
                sync_checkpoint(root, last)

    def _create(self, table: str) -> DeltaTable:
        self._mend(table)
        if self._is_there(table):
            return self._open(table)
        handle = DeltaTable.create(
            self._place(table),
            schema=arrow_schema(TABLES[table]),
            mode="ignore",
            partition_by=["date"] if table in PARTITIONED else None,
            # Of a hundred columns few are worth a minimum and maximum in every commit.
            configuration={"delta.dataSkippingStatsColumns": ",".join(parquet.TOLD)} if "ts" in TABLES[table] else None,
            storage_options=self._options(),
        )
        if "://" not in self.uri:
            sync_folders(Path(self._place(table), "_delta_log").resolve())
        return handle

    def _mend(self, table: str) -> None:
        if "://" not in self.uri:
            sweep(Path(self._place(table)))
            mend(Path(self._place(table)))

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


def write(handle: DeltaTable, rows: Any, properties: WriterProperties, **how: Any) -> None:
    """Write rows as deltalake does, without its own ideas of checkpoints."""
    write_deltalake(handle, rows, writer_properties=properties, post_commithook_properties=NO_HOOKS, **how)


def properties(table: str, *, level: int) -> WriterProperties:
    """How a table's columns are packed; level 1 for speed, 3 for keeping."""
    packed = ColumnProperties(encoding=parquet.PACKED, dictionary_enabled=False)
    columns = dict.fromkeys(parquet.integers(TABLES[table]), packed)
    return WriterProperties(compression="ZSTD", compression_level=level, column_properties=columns)


def arrow_schema(schema: Schema) -> pa.Schema:
    """Columns in types that Delta knows."""
    return arrow(pl.DataFrame(schema=schema)).schema


def equals(name: str, value: str | date | tuple[str, ...] | None) -> str:
    """A predicate, quoted."""
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


def archive_of(fleet: FleetConfig, state: Path) -> Archive:
    """The archive that fleet.toml names, by default in the state folder."""
    return Archive(fleet.archive.uri or str(state / "archive"))
