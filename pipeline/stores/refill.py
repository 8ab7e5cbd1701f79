"""What the archive holds as points once more: for an InfluxDB that came later, or lost its disk, or for a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Literal, Protocol, TypeAlias

import polars as pl

from pipeline.stores.derived import DERIVED
from pipeline.stores.lines import Sites, fault_lines, module_lines

AT_ONCE = 5000
Piece: TypeAlias = tuple[Literal["live", "nightly"], bytes]
"""Which of the two buckets, and lines for it."""


class Tables(Protocol):
    """As much of the archive as is read here."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """A table, or the UTC dates from first to last of it."""


def points(store: Tables, sites: Sites, days: tuple[date, date], only: str | None = None) -> Iterator[Piece]:
    """Line protocol of these days, one by one: readings and faults, then what the nights found; or `only` one of both.

    The same points as were, or would have been, written then; writing them again changes nothing.
    """
    first, last = days
    here = pl.col("site").is_in(list(sites)) | pl.col("site").is_null()
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        if only in (None, "live"):
            yield from (("live", lines) for lines in _live(store, sites, here, day))
        if only in (None, "nightly"):
            yield from (("nightly", lines) for lines in _nightly(store, sites, here, day))


def _live(store: Tables, sites: Sites, here: pl.Expr, day: date) -> Iterator[bytes]:
    for some in store.scan("reading", (day, day)).filter(here).collect().iter_slices(AT_ONCE):
        yield module_lines(some, sites)
    yield fault_lines(store.scan("event", (day, day)).filter(here).collect(), sites)


def _nightly(store: Tables, sites: Sites, here: pl.Expr, day: date) -> Iterator[bytes]:
    for table, lines in DERIVED.items():
        rows = store.scan(table).filter(here & (pl.col("day") == day)).collect()
        if rows.height:
            yield lines(rows, sites)
