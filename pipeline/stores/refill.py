"""What the archive holds as points once more: for an InfluxDB that came later, or lost its disk, or for a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Literal, Protocol

import polars as pl

from pipeline.stores.derived import DERIVED
from pipeline.stores.lines import Sites, fault_lines, module_lines

AT_ONCE = 5000
Bucket = Literal["live", "nightly"]


class Tables(Protocol):
    """As much of the archive as is read here."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """A table, or the UTC dates from first to last of it."""


def points(store: Tables, sites: Sites, first: date, last: date) -> Iterator[tuple[Bucket, bytes]]:
    """Line protocol of the days from `first` to `last`, day by day: readings and faults, then what the nights found.

    The same points as were, or would have been, written then; writing them again changes nothing.
    """
    here = pl.col("site").is_in(list(sites)) | pl.col("site").is_null()
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        for some in store.scan("reading", (day, day)).filter(here).collect().iter_slices(AT_ONCE):
            yield "live", module_lines(some, sites)
        yield "live", fault_lines(store.scan("event", (day, day)).filter(here).collect(), sites)
        for table, lines in DERIVED.items():
            rows = store.scan(table).filter(here & (pl.col("day") == day)).collect()
            if rows.height:
                yield "nightly", lines(rows, sites)
