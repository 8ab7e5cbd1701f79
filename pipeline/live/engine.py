"""The live event engine: what was remembered and what came in, to what is remembered now and the events between.

A pure function: no clock, no store. It is the same for a journal segment and for a day of the archive, and it makes no
difference how readings in order are cut into batches. Late readings (older than what a module has said already) change
nothing; they are handed back, and the night replays their day (pipeline.live.replay).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

import polars as pl

from cellherd import settings
from pipeline.limits import MINUTE
from pipeline.live.balance import after_sessions
from pipeline.live.events import Event
from pipeline.live.features import Run, Sample, runs
from pipeline.live.holds import device_faults, hold_faults
from pipeline.live.profile import Known, Profile, older, profile_of
from pipeline.live.recall import recall
from pipeline.live.records import take, weigh
from pipeline.live.repeats import repeats, settled
from pipeline.live.state import Module

log = logging.getLogger(__name__)
Key = tuple[str, str, str]
"""Site, stack, module."""
Registry = Mapping[Key, settings.Module]
HOLE_MS = 5 * MINUTE
"""After so long without a reading (or five periods) every hold begins anew: nobody saw what was between."""
RECORDS = ("device_info", "device_counter", "device_log", "edge_event", "gap")
_LIMITS = {
    "p_ov_trip": "ov_trip_mv", "p_ov_release": "ov_release_mv", "p_uv_trip": "uv_trip_mv",
    "p_uv_release": "uv_release_mv", "p_extreme_high": "extreme_high_mv", "p_extreme_low": "extreme_low_mv",
    "p_hot_charge_trip": "hot_charge_trip_dc", "p_hot_charge_release": "hot_charge_release_dc",
    "p_hot_trip": "hot_trip_dc", "p_hot_release": "hot_release_dc", "p_cold_trip": "cold_trip_dc",
    "p_cold_release": "cold_release_dc", "p_imbalance_trip": "imbalance_trip_mv",
    "p_imbalance_release": "imbalance_release_mv", "p_failing_trip": "failing_trip_mv",
    "p_failing_release": "failing_release_mv", "p_balance_from": "balance_from_mv",
    "p_balance_trip": "balance_trip_mv", "p_balance_release": "balance_release_mv", "p_not_full": "not_full_mv",
    "p_not_empty": "not_empty_mv", "p_full": "full_mv", "p_empty": "empty_mv", "p_capacity": "capacity_mah",
    "p_middle_low": "middle_low_mv", "p_middle_high": "middle_high_mv",
}  # fmt: skip
_OPTIONAL = {
    "p_pack_high_trip": "pack_high_trip_mv", "p_pack_high_release": "pack_high_release_mv",
    "p_pack_low_trip": "pack_low_trip_mv", "p_pack_low_release": "pack_low_release_mv", "p_charge_ma": "charge_ma",
    "p_discharge_ma": "discharge_ma",
}  # fmt: skip
_MODULES = {
    "site": pl.String, "stack": pl.String, "module": pl.String, "no": pl.Int32, "profile": pl.Int32,
    "last_ts": pl.Int64, "last_epoch": pl.String, "last_seq": pl.Int64, "last_soc": pl.Int32, "last_ma": pl.Int64,
    "last_spread": pl.Int32, "p_hole": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """Modules that changed, events in the order in which they were found, and readings that came too late to count."""

    modules: Mapping[Key, Module]
    events: Sequence[Event]
    late: pl.DataFrame = field(repr=False)


Remembered = Callable[[Key], Module | None]


def advance(remembered: Remembered, frames: Mapping[str, pl.DataFrame], registry: Registry) -> Outcome:
    """Take readings and records in (tables of `pipeline.schema`, any of them). What is remembered is not changed."""
    modules: dict[Key, Module] = {}
    events: list[Event] = []
    met: dict[Key, Callable[[], Module]] = {}
    readings = frames.get("reading", pl.DataFrame())
    records = list(_records(frames))
    found: list[Run] = []
    late = readings
    keys: list[Key] = []
    if not readings.is_empty():
        places = readings.select("site", "edge", "stack", "module", "unit", "kind", "driver")
        last = places.unique(["site", "stack", "module"], keep="last", maintain_order=True)
        for site, edge, stack, name, unit, kind, driver in last.iter_rows():
            key = (site, stack, name)
            keys.append(key)
            told = (site, edge, stack, name), (unit, kind, driver), registry.get(key)
            met[key] = partial(_met, remembered(key), *told)
            modules[key] = met[key]()
        found, late = runs(readings, _table(keys, modules))
    for no, of_module in groupby(found, key=attrgetter("no")):
        events += _guarded(modules, keys[no], list(of_module), met[keys[no]])
    for table, row in records:
        key = (row["site"], row["stack"], row["module"])
        if key not in modules:
            place = (row["site"], row["edge"], row["stack"], row["module"])
            modules[key] = _met(remembered(key), place, (row["unit"], row["kind"], ""), registry.get(key))
        events += take(modules[key], table, row)
    return Outcome(modules, events, late)


def _guarded(modules: dict[Key, Module], key: Key, found: list[Run], met: Callable[[], Module]) -> list[Event]:
    """A module that our rules stumble over is left as it was met, and harms no other."""
    try:
        profile = profile_of(modules[key].known)
        return [event for run in found for event in step(modules[key], run, profile)]
    except Exception:
        log.exception("the rules stumble over %s; its readings are left out", "/".join(key))
        modules[key] = met()
        return []


def step(module: Module, run: Run, profile: Profile) -> Iterator[Event]:
    """Events of one run of a module's readings; changes `module`."""
    last = module.last
    hole = last is not None and run.first.ts - last.ts > _hole(module)
    run = after_sessions(module, run, profile, hole=hole)
    kept: set[str] = set()
    for event in recall(module, run, profile, kept, hole=hole):
        yield event
        if event.phase == "enter":
            yield from repeats(module, event)
    for event in hold_faults(module, run, profile, hole=hole, kept=kept):
        yield event
        if event.phase == "enter":
            yield from repeats(module, event)
    yield from settled(module, run.last.ts)
    if run.n > 1 or (last is not None and not hole):
        seen = (run.last.ts - run.first.ts) // (run.n - 1) if run.n > 1 else run.first.ts - (last or run.first).ts
        module.period = max(1000, (3 * module.period + seen) // 4)
    begun, good, bad = module.polls
    module.polls = (begun or run.first.ts, good + run.n, bad)
    yield from weigh(module, run.last.ts)
    module.stream, module.epoch, module.seq, module.arrival = run.until
    module.last = run.last
    if run.faults is not None:
        module.said = tuple(sorted(device_faults(run.faults)))


def _hole(module: Module) -> int:
    return max(HOLE_MS, 5 * module.period)


def _met(
    old: Module | None, place: tuple[str, str, str, str], told: tuple[str, str, str], entry: settings.Module | None
) -> Module:
    """The module as it is remembered, or a new one; another battery in the same place is a new one too."""
    unit, kind, driver = told
    if old is None or (unit != old.unit and not old.unit.startswith(f"{place[0]}.{place[2]}.{place[3]}.")):
        known = Known(
            driver, entry.model if entry else "", entry.chemistry if entry else "lfp",
            (entry.cells or 0) if entry else 0, (entry.nominal_mah or 0) if entry else 0,
        )  # fmt: skip
        return Module(place, unit, kind, known)
    module = old.fresh()
    module.place, module.unit, module.kind = place, unit, kind
    if driver and driver != module.known.driver:
        module.known = replace(module.known, driver=driver)
    return module


def _table(keys: list[Key], modules: Mapping[Key, Module]) -> pl.DataFrame:
    """One row for each module of a batch: what the look at every reading needs of it."""
    profiles: dict[tuple[Known, str], int] = {}
    rows = []
    for no, key in enumerate(keys):
        module = modules[key]
        last: Sample | None = module.last
        of = profiles.setdefault((module.known, module.firmware), len(profiles))
        told = (last.ts, module.epoch, module.seq, last.soc_pm, last.current_ma, last.spread) if last else (None,) * 6
        rows.append((*key, no, of, *told, _hole(module)))
    limits = pl.DataFrame([_limits(known, firmware, no) for (known, firmware), no in profiles.items()], orient="row")
    return pl.DataFrame(rows, schema=_MODULES, orient="row").join(
        limits.with_columns(pl.col("profile").cast(pl.Int32)), on="profile", how="left", maintain_order="left"
    )


def _limits(known: Known, firmware: str, no: int) -> dict[str, int | bool | None]:
    profile = profile_of(known)
    told: dict[str, int | bool | None] = {name: getattr(profile, of) for name, of in _LIMITS.items()}
    told |= {name: getattr(profile, of) or None for name, of in _OPTIONAL.items()}
    noisy = bool(profile.noisy_cells_below) and older(firmware, profile.noisy_cells_below)
    noisy = noisy or profile.resolution_mv >= 10
    return {"profile": no, "p_zero_is_missing": profile.zero_is_missing, "p_noisy": noisy, **told}


def _records(frames: Mapping[str, pl.DataFrame]) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in RECORDS:
        frame = frames.get(table)
        if frame is None or frame.is_empty():
            continue
        frame = frame if "ts" in frame.columns else frame.with_columns(ts=pl.coalesce("to_ts", "from_ts").fill_null(0))
        yield from ((table, row) for row in frame.sort("ts", maintain_order=True).to_dicts())
