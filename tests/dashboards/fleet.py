"""A simulated fleet's points: readings, faults, what the nights found, and collectors, as a server would have them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl

from cellherd.config import load_fleet
from pipeline.live.replay import replay
from pipeline.nightly.site_day import nightly, sites_of
from pipeline.simulation.deposit import deposit, registry
from pipeline.simulation.plan import FleetPlan
from pipeline.stores.archive import Archive
from pipeline.stores.lines import edge_lines, server_lines
from pipeline.stores.refill import points

START, DAYS = date(2026, 6, 1), 5
KINDS = ("surge_loads", "imbalance", "high_resistance")
MINUTE = 60_000


def written(folder: Path) -> Path:
    """Simulate, work through the nights, and write `live.lp` and `nightly.lp`; the folder of both."""
    plan = FleetPlan(
        modules=8, days=DAYS, seed=3, period_s=120, flaws=0.7, kinds=KINDS, start=START, stack_size=2, nominal_ah=(100,)
    )
    archive = Archive(str(folder / "archive"))
    (folder / "fleet.toml").write_text(registry(plan, folder / "archive"))
    deposit(plan, archive, folder / "truth")
    fleet = load_fleet(folder / "fleet.toml")
    sites, ids = {site.id: site for site in fleet.site}, [site.id for site in fleet.site]
    for day in (START + timedelta(days=n) for n in range(DAYS)):
        nightly(archive, day, sites_of(fleet))
        replay(archive, day, ids, {(m.site, m.stack, m.id): m for m in fleet.module})
    lines = {"live": b"", "nightly": b""}
    for bucket, some in points(archive, sites, (START, START + timedelta(days=DAYS - 1))):
        lines[bucket] += some
    lines["live"] += edge_lines(_collectors(ids), sites) + server_lines(_counts())
    for bucket, some in lines.items():
        (folder / f"{bucket}.lp").write_bytes(some)
    return folder


def _times() -> list[int]:
    end = int(pl.Series([START + timedelta(days=DAYS)]).cast(pl.Datetime("ms")).cast(pl.Int64)[0])
    return [end - n * 10 * MINUTE for n in range(1, 145)]


def _collectors(sites: list[str]) -> pl.DataFrame:
    numbers = {"online": 1, "depth": 3, "oldest_ms": 4000, "drops": 0, "crc_bad": 1}
    rows = [
        {
            "ts": ts,
            "site": site,
            "edge": site,
            "version": "0.1.0",
            **numbers,
            "polls_ok": 1000 - n,
            "polls_bad": 20 - n // 8,
        }
        for site in sites
        for n, ts in enumerate(_times())
    ]
    return pl.DataFrame(rows)


def _counts() -> pl.DataFrame:
    times = _times()
    zero = {n: [0] * len(times) for n in ("dead_letters", "too_old", "messages_failed", "messages_waiting")}
    sent = {"messages_sent": [(len(times) - n) // 12 for n in range(len(times))]}
    nights = {"night_ms": [4200] * len(times), "night_ended": [times[-1]] * len(times)}
    return pl.DataFrame({"ts": times, **zero, **sent, **nights})
