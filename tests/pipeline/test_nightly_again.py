"""A night with a month behind it comes out the same to the last bit: done again, killed anywhere, whoever is beside."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.nightly.site_day import Site, nightly
from pipeline.nightly.store import Where
from pipeline.validation.replay import Memory
from tests.bench.nightly import faded, moved_back
from tests.pipeline.cycling import World, days
from tests.pipeline.fleets import DAY

WORLD = World(modules=3, days=3, period_s=300)
TODAY = DAY + timedelta(days=2)
BEHIND = 60
SITES = [Site(name, "acme", "UTC") for name in ("barn", "farm", "mill")]
FLEETWIDE = ("ranking", "lockout_risk", "lockout")
"""Analyses that look at all sites: they differ where only some have been worked through."""


class Killed(Exception):
    """The process died."""


class Mortal(Memory):
    """A store whose user dies at a write, and that may give what it holds in any order."""

    lives: int | None = None
    order: random.Random | None = None

    def replace(self, table: str, frame: pl.DataFrame, *, where: Where) -> None:
        if self.lives == 0:
            raise Killed
        self.lives = None if self.lives is None else self.lives - 1
        super().replace(table, frame, where=where)

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        rows = super().scan(table, days)
        if self.order is None or table == "reading":
            return rows
        return rows.collect().sample(fraction=1, shuffle=True, seed=self.order.randrange(2**31)).lazy()


@pytest.fixture(scope="module")
def behind() -> Callable[[], Mortal]:
    """A store with three days of readings, and sixty nights behind the last one: its own, moved back."""
    readings, _ = days(WORLD)
    raw = [readings.with_columns(site=pl.lit(site.id), edge=pl.lit(site.id)) for site in SITES]
    first = Mortal()
    first.raw["reading"] = raw
    for day in (DAY, DAY + timedelta(days=1), TODAY):
        nightly(first, day, SITES)
    made = {table: pl.concat(frames[TODAY]) for table, frames in first.nights.items()}
    made["soh"] = faded(made["module_day"])  # three days tell no week's capacity by crossings

    def fresh() -> Mortal:
        store = Mortal()
        store.raw["reading"] = raw
        for table, frame in made.items():
            store.nights[table] = {TODAY - timedelta(days=n): [moved_back(frame, n)] for n in range(BEHIND, 0, -1)}
        return store

    return fresh


def tables(store: Mortal) -> Iterator[tuple[str, pl.DataFrame]]:
    for table in store.nights:
        today = Memory.scan(store, table).filter(pl.col("day") == TODAY).collect()
        yield table, today.sort(today.columns)


def same(one: Mortal, other: Mortal, *, alone: bool = False) -> None:
    both = dict(tables(other))
    for table, frame in tables(one):
        mine, theirs = (
            f.filter(~pl.col("analysis").is_in(FLEETWIDE)).drop("rank", "score") if alone and table == "finding" else f
            for f in (frame, both[table])
        )
        odd = [c for c in mine.columns if mine.height == theirs.height and not mine[c].equals(theirs[c])]
        assert mine.equals(theirs), f"{table}: {mine.height} and {theirs.height} rows, {odd} differ"


def test_a_night_with_a_month_behind_it_is_the_same_after_a_death_at_any_write(behind: Callable[[], Mortal]) -> None:
    peace = behind()
    nightly(peace, TODAY, SITES)
    found = dict(tables(peace))
    assert min(found[table].height for table in ("crossing", "capacity", "soh", "trend", "finding")) > 0
    counted = behind()
    counted.lives = 10**6
    nightly(counted, TODAY, SITES)
    writes = 10**6 - (counted.lives or 0)
    for lives in (0, 1, writes // 3, writes // 2, writes - 2, writes - 1):
        store = behind()
        store.lives = lives
        with pytest.raises(Killed):
            nightly(store, TODAY, SITES)
        store.lives, store.order = None, random.Random(lives)
        nightly(store, TODAY, SITES)
        same(peace, store)


def test_a_site_comes_out_the_same_alone_and_among_others(behind: Callable[[], Mortal]) -> None:
    together, apart = behind(), behind()
    nightly(together, TODAY, SITES)
    for site in reversed(SITES):
        nightly(apart, TODAY, [site])
    same(together, apart, alone=True)
