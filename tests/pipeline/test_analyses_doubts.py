"""Each data-quality bit on a day in which it is so, and on a calm day."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from pipeline.analyses.doubts import doubts
from pipeline.analyses.standing import standing
from pipeline.analyses.steps import steps
from pipeline.limits import LFP
from pipeline.quality import GATES, SAID, Quality, grade, open_to
from tests.pipeline.fleets import MINUTE, frame, reading

Change = Callable[[int, dict[str, Any]], dict[str, Any]]


def a_day(change: Change = lambda _n, row: row) -> list[dict[str, Any]]:
    """A reading a minute of a day with one slow cycle."""
    rows = []
    for n in range(1440):
        wave = math.sin(2 * math.pi * n / 1440)
        mv = round(3300 + 30 * wave)
        said = reading(
            n * MINUTE,
            [mv, mv + n % 2, mv + 1, mv - n % 3],
            current_ma=round(10_000 * math.cos(2 * math.pi * n / 1440)),
        )
        said |= {
            "soc_pm": round(500 + 382 * wave),
            "t00": 200 + n // 20,
            "t01": 205 + n // 20,
            "t02": 203 + n // 20,
        }
        rows.append(change(n, said))
    return rows


def bits(rows: list[dict[str, Any]]) -> Quality:
    ordered = steps(frame(rows).lazy(), LFP)
    return Quality(pl.concat([doubts(ordered, LFP), standing(ordered, LFP)]).collect()["dq"].sum())


def from_noon(**said: Any) -> Change:
    return lambda n, row: row | said if n >= 720 else row


FULL = {"c00": 3480, "c01": 3480, "c02": 3481, "c03": 3480}
STUCK = {"current_ma": 5_000, "c00": 3300, "c01": 3301, "c02": 3302, "c03": 3303}


def miscounted(n: int, row: dict[str, Any]) -> dict[str, Any]:
    """The BMS counts 9 % too much in a day, in which a heavy charge moves 6 % in five minutes."""
    heavy = 75_000 if 700 <= n < 720 else 0
    counted = round(12.5 * min(max(n - 699, 0), 20))
    return row | {"current_ma": row["current_ma"] + heavy, "soc_pm": row["soc_pm"] + counted + 90 * n // 1440 - 200}


def during(begin: int, end: int, **said: Any) -> Change:
    """From one minute of the day to another."""
    return lambda n, row: row | said if begin <= n < end else row


def flickering(n: int, row: dict[str, Any]) -> dict[str, Any]:
    """A small current that changes by its sensor's step, under which a plateau need not show anything."""
    return row | (STUCK | {"current_ma": 2_100 + 100 * (n % 2)} if 700 <= n < 725 else {})


CASES: dict[str, tuple[Change, Quality]] = {
    "calm": (lambda _n, row: row, Quality(0)),
    "stuck sensor": (lambda _n, row: row | {"t01": 210}, Quality.STUCK_T),
    "sensor far off": (from_noon(t01=-390), Quality.T_OUT),
    "sensor jumps": (lambda n, row: row | ({"t01": row["t01"] + 80} if n == 700 else {}), Quality.T_OUT),
    "frozen": (lambda n, row: row | (STUCK if 700 <= n < 730 else {}), Quality.FROZEN),
    "frozen under a current that moves": (
        lambda n, row: row | ({k: v for k, v in STUCK.items() if k != "current_ma"} if 600 <= n < 640 else {}),
        Quality.FROZEN,
    ),
    "a plateau under a current that flickers": (flickering, Quality(0)),
    "a counter that stands for two hours": (during(0, 120, soc_pm=510), Quality.STUCK_SOC),
    "a counter that stands while nothing flows": (during(300, 420, soc_pm=880, current_ma=0), Quality(0)),
    "a counter that stands at a step of its own": (during(0, 25, soc_pm=510), Quality(0)),
    "not frozen for long": (lambda n, row: row | (STUCK if 700 <= n < 715 else {}), Quality(0)),
    "zero current": (lambda n, row: row | {"current_ma": 0, "voltage_mv": 52_800 + 300 * (n // 3 % 2)}, Quality.I_ZERO),
    "zero current beside four cells": (
        lambda n, row: row | {"current_ma": 0} | {f"c{k:02}": row[f"c{k:02}"] + 8 * (n // 3 % 2) for k in range(4)},
        Quality.I_ZERO,
    ),
    "miscounted": (miscounted, Quality.SOC_DRIFT),
    "high under load, and not full": (
        lambda n, row: (
            row | ({"current_ma": 20_000, "c00": 3480, "c01": 3480, "c02": 3481, "c03": 3480} if n == 900 else {})
        ),
        Quality(0),
    ),
    "charge shown wrong when full": (
        from_noon(**FULL, current_ma=2_000),
        Quality.SOC_DRIFT,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bit_comes_when_it_is_so_and_only_then(name: str) -> None:
    change, expected = CASES[name]
    told = bits(a_day(change))
    assert told & expected == expected
    assert not told & ~(expected | Quality.SOC_DRIFT | Quality.FROZEN) or name == "charge shown wrong when full"
    assert expected or told == expected


def test_another_pace_shows_and_missing_readings_alone_do_not() -> None:
    rows = a_day()
    assert bits([row for n, row in enumerate(rows) if n < 720 or n % 3 == 0]) & Quality.RATE
    assert bits([row for n, row in enumerate(rows) if not 605 <= n < 725 or n % 3 == 0]) & Quality.RATE
    assert not bits([row for n, row in enumerate(rows) if n % 5]) & Quality.RATE
    assert not bits([row for n, row in enumerate(rows) if not 605 <= n < 725 or n % 60 < 20]) & Quality.RATE


def test_every_bit_has_words_and_gates_name_known_bits() -> None:
    assert set(SAID) == set(Quality)
    assert all(0 < bits <= sum(Quality) for bits in GATES.values())


def test_a_grade_is_good_only_without_a_doubt() -> None:
    assert [grade(bit) for bit in (0, int(Quality.SOC_JUMP), int(Quality.FROZEN))] == ["good", "fair", "poor"]
    assert not open_to("capacity", int(Quality.GAP))
    assert open_to("resistance", int(Quality.SOC_DRIFT))
