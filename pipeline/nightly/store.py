"""Where a night reads and writes: as much of the archive as it needs, so that tests and replays may give another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Protocol, TypeAlias

import polars as pl

Tables = dict[str, pl.DataFrame]

Where: TypeAlias = Mapping[str, str | date | tuple[str, ...] | None]
"""Values by column; a tuple is any of them."""


class Store(Protocol):
    """As much of the archive as a night needs."""

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        """A table, or the UTC dates from first to last of it; empty with its columns where there is none yet."""

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        """Put these rows in the place of those where `site` is one of the given ones and `day` the given one."""
