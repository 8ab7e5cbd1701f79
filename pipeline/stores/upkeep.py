"""Upkeep of the archive, once a day: closed days sorted into one file, old readings thinned, what is too old deleted.

Every step is one Delta commit that either is there or not, and each looks at what there is before it does anything: so
it may be killed anywhere, run twice, and run while the storing process appends. That one never waits; a step that it
was faster than is done again on the newer version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TypeAlias

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from cellherd.failpoint import failpoint
from cellherd.settings import ArchiveStore
from pipeline.schema import IDENTITY, PARTITIONED, READING_60S, TABLES
from pipeline.stores.archive import Archive, arrow_schema, equals, properties, write
from pipeline.stores.minutes import minutes
from pipeline.stores.parquet import NO_HOOKS, arrow

AT_ONCE = 350_000
"""Rows that are held in memory together: about a gigabyte while they are sorted (tests/bench/day.py)."""
FORGET_HOURS = 48
"""Files that no version needs any more, and old log entries, are kept so long for whoever still reads them."""
MANY_FILES = 16
"""Files above which a table without days is gathered into one."""
SMALL_FILES = 256
"""Files of a day above which they are gathered: a commit every few seconds makes 17,000, each to be opened."""
GATHERED = 2**25
"""Bytes up to which files are put together; one of that size is not written again."""
_RETENTION = {
    "delta.logRetentionDuration": f"interval {FORGET_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {FORGET_HOURS} hours",
}
log = logging.getLogger(__name__)
Progress: TypeAlias = Callable[[str], None]
"""Told before each step what it is about."""


@dataclass(slots=True)
class Tally:
    """What was done, in days of a table."""

    compacted: int = 0
    thinned: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """What a table holds: UTC dates (0 where it has none), and the files of its newest version with their bytes."""

    days: int
    files: int
    size: int


def held(archive: Archive) -> dict[str, Held]:
    """Every table that is there, and its weight."""
    found = {}
    for table in filter(archive.has, TABLES):
        sizes = archive.sizes(table)
        found[table] = Held(len(archive.days(table)) if table in PARTITIONED else 0, len(sizes), sum(sizes))
    return found


def upkeep(archive: Archive, today: date, keep: ArchiveStore, progress: Progress = lambda _step: None) -> Tally:
    """Bring the archive into order as of a UTC date. Raises StoreAway if the store cannot be changed now."""
    tally = Tally()
    for old, days in sorted(keep.keep_days.items()):
        progress(f"{old}: what is older than {days} days")
        tally.deleted += _deleted(archive, old, today - timedelta(days=days))
    for table in sorted(PARTITIONED):
        for day in [day for day, files in archive.days(table).items() if files > 1 and day < today]:
            progress(f"{table}: {day}")
            compact(archive, table, day)
            tally.compacted += 1
    if keep.thin_after_days is not None:
        limit = today - timedelta(days=keep.thin_after_days)
        for day in [day for day in archive.days("reading") if day < limit]:
            progress(f"readings of {day} to one a minute")
            thin(archive, day)
            tally.thinned += 1
    for table in sorted(TABLES):
        if archive.has(table):
            progress(f"{table}: old files")
            _tidy(archive, table)
    return tally


def gather(archive: Archive) -> int:
    """Put a day's small files together, as they lie, where they are many; its compaction comes when it is over.

    Returns of how many days of tables. Raises StoreAway if the store cannot be changed now.
    """
    gathered = 0
    for table in sorted(PARTITIONED):
        for day in [day for day, files in archive.days(table).items() if files > SMALL_FILES]:
            archive.change(table, partial(_gather, table=table, day=day))
            gathered += 1
    return gathered


def _gather(handle: DeltaTable, table: str, day: date) -> None:
    handle.update_incremental()
    handle.optimize.compact(
        partition_filters=[("date", "=", str(day))],
        target_size=GATHERED,
        writer_properties=properties(table, level=1),
        post_commithook_properties=NO_HOOKS,
    )


def compact(archive: Archive, table: str, day: date) -> None:
    """Rewrite a day sorted by unit and time and without doubles, where it lies in more than one file."""

    def commit(handle: DeltaTable) -> None:
        files = pl.DataFrame(handle.get_add_actions(flatten=True))
        if files.is_empty() or files.filter(pl.col("partition.date").cast(pl.Date) == day).height < 2:
            return
        batches = _sorted_batches(table, archive.rows_of(handle, day))
        reader = pa.RecordBatchReader.from_batches(arrow_schema(TABLES[table]), batches)
        write(handle, reader, properties(table, level=3), mode="overwrite", predicate=equals("date", day))

    archive.change(table, commit)
    failpoint("upkeep-compacted")


def thin(archive: Archive, day: date) -> None:
    """Put a day's readings into `reading_60s` and delete them.

    A minute that is there already stays as it is: then this was done before, or a few readings came very late.
    """

    def commit(handle: DeltaTable) -> None:
        handle.update_incremental()
        rows = archive.rows_of(handle, day)
        known = archive.scan("reading_60s", (day, day)).select("unit", "stack", "module", "ts").collect()
        fresh = partial(_minute_batches, rows, known)
        archive.change("reading_60s", lambda target: _append(target, fresh()))
        failpoint("upkeep-thinned")
        # Only files of the version that was read go; where readings came meanwhile, all of this is done again.
        handle.delete(equals("date", day), post_commithook_properties=NO_HOOKS)

    archive.change("reading", commit)


def _append(target: DeltaTable, batches: Iterator[pa.RecordBatch]) -> None:
    first = next(batches, None)
    if first is None:
        return

    def all_of_them() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    reader = pa.RecordBatchReader.from_batches(arrow_schema(READING_60S), all_of_them())
    write(target, reader, properties("reading_60s", level=3), mode="append")


def _minute_batches(rows: pl.LazyFrame, known: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    for part in _parts(rows, "unit"):
        made = minutes(part.lazy()).collect()
        fresh = made.join(known, on=["unit", "stack", "module", "ts"], how="anti", nulls_equal=True)
        yield from arrow(fresh.sort("unit", "ts")).to_batches()


def _sorted_batches(table: str, rows: pl.LazyFrame) -> Iterator[pa.RecordBatch]:
    """All rows once, ordered by unit and time within groups that fit in memory together."""
    columns = TABLES[table]
    keys = (list(IDENTITY), ["event_id"], ["unit", "stack", "module", "ts"])
    key = next(
        names for names in keys if columns.keys() >= {*names} and not (names == keys[0] and "event_id" in columns)
    )
    order = [name for name in ("unit", "ts", "from_ts", "arrival_ts", "seq") if name in columns]
    for part in _parts(rows, key[0]):
        whole = part.sort(order).filter(pl.struct(key).is_first_distinct())
        yield from arrow(whole.select(columns.keys())).to_batches()


def _parts(rows: pl.LazyFrame, column: str) -> Iterator[pl.DataFrame]:
    """The rows in helpings of about AT_ONCE; what is equal in a column stays together."""
    value = pl.col(column).fill_null("")
    sizes = rows.group_by(value).len().sort(column).collect(engine="streaming")
    groups = sizes.select(column, group=pl.col("len").cum_sum() // AT_ONCE)
    for group in groups.partition_by("group", maintain_order=True):
        yield rows.filter(value.is_in(group[column].implode())).collect(engine="streaming")


def _deleted(archive: Archive, table: str, before: date) -> int:
    """Delete a table's rows of dates before one. Returns how many days or, of a table without days, 1 if any went."""
    if not archive.has(table):
        return 0
    column = "date" if table in PARTITIONED else "day"
    old = archive.scan(table).filter(pl.col(column) < before)
    if table in PARTITIONED:
        count = sum(day < before for day in archive.days(table))
    else:
        count = int(old.select(pl.len()).collect().item() > 0)
    if count:
        archive.change(
            table,
            lambda handle: _delete(handle, f"{column} < '{before}'", table),
        )
        failpoint("upkeep-deleted")
    return count


def _delete(handle: DeltaTable, predicate: str, table: str) -> None:
    handle.update_incremental()
    handle.delete(predicate, writer_properties=properties(table, level=3), post_commithook_properties=NO_HOOKS)


def _tidy(archive: Archive, table: str) -> None:
    """Gather small files of a table without days, and throw away files and log entries that nobody needs."""

    def commit(handle: DeltaTable) -> None:
        handle.update_incremental()
        if {name: handle.metadata().configuration.get(name) for name in _RETENTION} != _RETENTION:
            handle.alter.set_table_properties(_RETENTION)
        if table not in PARTITIONED and len(handle.file_uris()) > MANY_FILES:
            handle.optimize.compact(writer_properties=properties(table, level=3), post_commithook_properties=NO_HOOKS)
        handle.vacuum(retention_hours=FORGET_HOURS, dry_run=False, enforce_retention_duration=False)

    archive.change(table, commit)
    archive.change(table, lambda handle: handle.cleanup_metadata())
