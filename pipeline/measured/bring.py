"""A foreign file's rows as readings of the archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from cellherd.errors import CellherdError
from pipeline.measured import mapping as form
from pipeline.schema import CELL_COLUMNS, READING, TEMP_COLUMNS
from pipeline.stores.archive import Archive

DRIVER = "imported"
EPOCH = "0" * 16
AT_ONCE = 200_000
"""Rows of one transaction. Fixed, so that an import that was cut off goes on where it ended."""
LISTS = {"cell_mv": CELL_COLUMNS, "temp_dc": TEMP_COLUMNS}
UNITS = {"s": 1000, "ms": 1}


def opened(path: Path) -> pl.LazyFrame:
    """A CSV or Parquet file. Raises CellherdError for anything else."""
    if path.suffix not in {".csv", ".gz", ".parquet"}:
        raise CellherdError(f"{path}: neither .csv, .csv.gz nor .parquet")
    if not path.is_file():
        raise CellherdError(f"{path}: there is no such file")
    return pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path)


def stream_of(path: Path) -> str:
    """A file is its own stream: brought in twice, it is there once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def readings(rows: pl.LazyFrame, how: form.Mapping, place: Mapping[str, str], stream: str) -> pl.DataFrame:
    """Readings in the archive's columns, in the file's order numbered from 1; rows without a time are left out.

    Raises CellherdError naming the columns that the mapping wants and the file has not.
    """
    have = set(rows.collect_schema())
    ours = {name: column for name, column in _columns(how) if column.column in have or not column.optional}
    told = [how.time.column, how.time.plus_s, how.module.column if how.module else None]
    if missing := sorted({*filter(None, told), *(column.column for column in ours.values())} - have):
        raise CellherdError(f"the mapping {how.title!r} wants columns that are not there: {', '.join(missing)}")
    module = _slug(pl.col(how.module.column)) if how.module else pl.lit(place["module"])
    values = [(pl.col(c.column).cast(pl.Float64) * c.times + c.plus).round().alias(name) for name, c in ours.items()]
    taken = rows.select(_when(how.time), *values, module=module).filter(pl.col("ts").is_not_null())
    whole = {name: pl.lit(value) for name, value in place.items() if name != "module"}
    unit = pl.concat_str(pl.lit(f"{place['site']}.{place['stack']}."), "module", pl.lit(".1"))
    known = {"stream": pl.lit(stream), "epoch": pl.lit(EPOCH), "clk": pl.lit("est"), "driver": pl.lit(DRIVER)}
    frame = taken.with_row_index("seq", 1).with_columns(
        **whole, **known, unit=unit, arrival_ts="ts", date=pl.from_epoch("ts", "ms").dt.date()
    )
    filled = frame.with_columns(pl.lit(None).alias(name) for name in READING if name not in frame.collect_schema())
    return filled.select(pl.col(name).cast(kind) for name, kind in READING.items()).collect()


def _columns(how: form.Mapping) -> Iterator[tuple[str, form.Column]]:
    """Each of our columns with the single column of theirs. Raises CellherdError for a name that is not ours."""
    for name, column in how.columns.items():
        if name not in LISTS and name not in READING:
            raise CellherdError(f"the mapping {how.title!r} has {name!r}, which is no quantity of a reading")
        for ours, theirs in zip(LISTS.get(name, (name,)), column.names(), strict=False):
            yield ours, column.model_copy(update={"column": theirs})


def _when(time: form.Time) -> pl.Expr:
    column = pl.col(time.column)
    if time.unit == "iso":
        parsed = column.cast(pl.String).str.to_datetime(time_unit="ms", strict=False)
        ts = parsed.dt.replace_time_zone(time.zone, ambiguous="earliest", non_existent="null").dt.timestamp("ms")
    else:
        ts = (column.cast(pl.Float64) * UNITS[time.unit]).round().cast(pl.Int64)
    plus = (pl.col(time.plus_s) * 1000).round().cast(pl.Int64) if time.plus_s else 0
    return (ts + plus).alias("ts")


def _slug(name: pl.Expr) -> pl.Expr:
    """An id as topics and tables want it."""
    return name.cast(pl.String).str.to_lowercase().str.replace_all(r"[^a-z0-9_-]+", "-").str.strip_chars("-_")


def bring(archive: Archive, frame: pl.DataFrame, stream: str) -> int:
    """Append the readings durably; what an earlier run brought is not brought again. Returns the rows added."""
    app = f"import-{stream}"
    done = archive.version("reading", app) or 0
    for number, piece in enumerate(frame.iter_slices(AT_ONCE), 1):
        archive.append("reading", piece, app_id=app, version=number)
    return max(0, frame.height - done * AT_ONCE)
