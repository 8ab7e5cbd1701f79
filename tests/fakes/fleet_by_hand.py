"""A small fleet written by hand, for the report and the alerts: frames with the archive's columns, no store."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from cellherd.config import FleetConfig
from pipeline.schema import TABLES

DAY = date(2026, 3, 14)
START = int(datetime(2026, 3, 13, tzinfo=UTC).timestamp() * 1000)
SITE = {"id": "farm", "installer": "sunny", "tz": "Europe/Berlin", "edge": "farm-pi", "name": "Farm Müller"}


@dataclass
class Frames:
    """Tables in memory that answer like an archive."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def scan(self, table: str, days: tuple[date, date] | None = None) -> pl.LazyFrame:
        return pl.DataFrame(self.tables.get(table, []), schema=TABLES[table], infer_schema_length=None).lazy()


def fleet(modules: int = 2, **more: Any) -> FleetConfig:
    return FleetConfig.model_validate(
        {
            "installer": [{"id": "sunny", "name": "Sunny Roofs"}],
            "site": [SITE],
            "module": [{"site": "farm", "stack": "s1", "id": f"m{n + 1}"} for n in range(modules)],
            "simulated": True,
            **more,
        }
    )


def readings(module: str, *, period_s: int = 60, weak: int | None = None, gap: bool = False) -> list[dict[str, Any]]:
    """Two days of a 16-cell module that charges by day, one row each `period_s`."""
    rows: list[dict[str, Any]] = []
    for n in range(48 * 3600 // period_s):
        ts = START + n * period_s * 1000
        hour = n * period_s / 3600
        if gap and 20 < hour < 24:
            continue
        sun = math.sin((hour % 24 - 6) / 12 * math.pi)
        soc = 550 + int(400 * math.sin((hour % 24 - 9) / 12 * math.pi))
        cells = [3300 + int(40 * sun) + (i * 7 + n) % 4 for i in range(16)]
        if weak is not None:
            cells[weak] -= int(25 + 20 * max(0, -sun))
        faulty = weak is not None and 28 < hour < 30.5
        row: dict[str, Any] = {
            "site": "farm",
            "stack": "s1",
            "module": module,
            "unit": f"sn-{module}",
            "kind": "module",
            "ts": ts,
        }
        row |= {"date": datetime.fromtimestamp(ts / 1000, UTC).date(), "voltage_mv": sum(cells), "soc_pm": soc}
        row |= {"current_ma": int(30000 * sun), "t00": 215 + int(40 * sun), "t01": 205 + int(30 * sun)}
        row |= {f"c{i:02}": mv for i, mv in enumerate(cells)}
        rows.append({**row, "faults": "cell_imbalance_warning" if faulty else ""})
    return rows


def finding(**more: Any) -> dict[str, Any]:
    why = [{"id": "widest_near_full", "value": 118, "threshold": 100, "value_unit": "mV"}]
    row: dict[str, Any] = {
        "finding_id": "f1",
        "day": DAY,
        "since_day": DAY - timedelta(days=4),
        "analysis": "imbalance",
    }
    row |= {"pattern": "spread_top", "site": "farm", "stack": "s1", "module": "m1", "unit": "sn-m1", "cell": 6}
    row |= {"status": "finding", "fault": "cell_imbalance_protection", "severity": "protection", "priority": 1}
    row |= {"value": 118.0, "lo": 104.0, "hi": 131.0, "threshold": 100.0, "value_unit": "mV", "confidence": 0.86}
    row |= {"reasons": json.dumps(why), "action": "[]", "rank": 1, "score": 71.0}
    return {**row, **more}
