"""What the collectors would have stored of a day: rounded, noisy, and spoilt where a flaw spoils it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.schema import CELL_COLUMNS, DEVICE_INFO, GAP, READING
from pipeline.simulation import chemistry
from pipeline.simulation.plan import Flaw, FleetPlan
from pipeline.simulation.seeds import stream
from pipeline.simulation.state import OFF, Build, Pace, Trace

Columns: TypeAlias = dict[str, NDArray[Any]]
NOISE_V = 0.0008
SENSORS = 4
EDGE_MS = 800
"""From a reading to its arrival at the server."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A day that was lived, and whom it is told of."""

    plan: FleetPlan
    day: int
    build: Build
    trace: Trace
    pace: Pace
    flaws: tuple[Flaw, ...]

    @property
    def date(self) -> date:
        """The UTC date."""
        return self.plan.start + timedelta(days=self.day)

    @property
    def midnight(self) -> int:
        """Its beginning, ms UTC."""
        return round(datetime.combine(self.date, datetime.min.time(), UTC).timestamp() * 1000)


def place(plan: FleetPlan, number: int) -> dict[str, str]:
    """Who and where a module is."""
    site = f"sim{plan.seed % 10**6}-{number // plan.stack_size:05}"
    return {
        "edge": site,
        "site": site,
        "stack": "s1",
        "module": f"m{number % plan.stack_size + 1}",
        "unit": f"SIM{plan.seed % 10**6:06}-{number:06}",
        "kind": "module",
    }


def identity(plan: FleetPlan, number: int) -> dict[str, str]:
    """The stream of its readings, the same whenever the plan is simulated."""
    digest = hashlib.sha256(f"simulated/{plan.seed}/{number}".encode()).hexdigest()
    return {"stream": digest[:32], "epoch": digest[32:48]}


def readings(spoken: Spoken) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The day's rows of `reading` and `gap`, by module and time."""
    told = [_module(spoken, at) for at in range(spoken.plan.modules)]
    numbers = pl.DataFrame({name: np.concatenate([columns[name] for columns, _ in told]) for name in told[0][0]})
    who = pl.DataFrame([_who(spoken, at) for at in range(spoken.plan.modules)]).cast({"at": pl.Int64})
    named = numbers.join(who, on="at", how="left", maintain_order="left").with_columns(
        date=pl.from_epoch("ts", time_unit="ms").dt.date(),
        faults=pl.col("faults").replace_strict(
            _words(numbers["faults"], spoken.plan.chemistry), return_dtype=pl.String
        ),
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in READING.items() if name not in named.columns]
    rows = named.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in READING.items())
    gaps = pl.DataFrame([gap for _, gaps in told for gap in gaps], schema=GAP, orient="row")
    return rows, gaps


def _who(spoken: Spoken, at: int) -> dict[str, str | int]:
    number = spoken.plan.first + at
    clk = "rtc" if any(flaw.kind == "clock_skew" and flaw.module == number for flaw in spoken.flaws) else "ntp"
    return {"at": at, **identity(spoken.plan, number), **place(spoken.plan, number), "clk": clk, "driver": "simulated"}


def _module(spoken: Spoken, at: int) -> tuple[Columns, list[dict[str, object]]]:
    """The module's numbers by column, without the samples that nobody heard, and the gaps that these make."""
    plan, trace = spoken.plan, spoken.trace
    number, samples = plan.first + at, trace.amps.shape[1]
    mine = {flaw.kind: flaw for flaw in spoken.flaws if flaw.module == number}
    draw = stream(plan.seed, "noise", number, spoken.day)
    own = stream(plan.seed, "sensors", number)
    nth = np.arange(samples)
    ts = spoken.midnight + nth * plan.period_s * 1000 + int(own.integers(plan.period_s * 1000))
    flags = trace.flags[at, spoken.pace.every - 1 :: spoken.pace.every]
    heard = _heard(spoken, at, mine, flags)
    skew = round(mine["clock_skew"].size * 1000) if "clock_skew" in mine else 0
    columns: Columns = {
        "at": np.full(samples, at),
        "seq": spoken.day * 100_000 + nth + 1,
        "ts": ts + skew,
        "arrival_ts": ts + EDGE_MS,
        **_scalars(spoken, at),
        **_cells(spoken, at, draw, mine),
        **_temperatures(trace.temp[at], own, mine.get("sensor_stuck")),
        **_said(flags, plan.chemistry),
    }
    return {name: values[heard] for name, values in columns.items()}, _gaps(spoken, number, ts, heard)


def _scalars(spoken: Spoken, at: int) -> Columns:
    trace, build = spoken.trace, spoken.build
    amps = trace.amps[at] * build.gain[at] + build.offset_a[at]
    rated_mah = round(build.rated[at] * 1000)
    soc_pm = np.round(trace.counted[at] * 100).astype(np.int64) * 10
    return {
        "current_ma": np.round(amps * 10).astype(np.int64) * 100,
        "soc_pm": soc_pm,
        "full_mah": np.full(len(amps), rated_mah),
        "remaining_mah": soc_pm * rated_mah // 1000,
        "balancing": trace.balancing[at],
    }


def _cells(spoken: Spoken, at: int, draw: np.random.Generator, mine: dict[str, Flaw]) -> Columns:
    volts = spoken.trace.volts[at].astype(np.float64)
    volts += draw.normal(0, NOISE_V, volts.shape)
    if (flaw := mine.get("wire_jumps")) and flaw.cell is not None:
        jumps = (draw.random(len(volts)) < 0.02) * draw.normal(0, flaw.size, len(volts))
        beside = flaw.cell + 1 if flaw.cell + 1 < volts.shape[1] else flaw.cell - 1
        volts[:, flaw.cell] += jumps
        if beside >= 0:
            volts[:, beside] -= jumps
    mv = np.clip(np.round(volts * 1000), 0, 6000).astype(np.int64)
    told: Columns = {CELL_COLUMNS[cell]: mv[:, cell] for cell in range(mv.shape[1])}
    extremes = {"cell_min_mv": mv.min(axis=1), "cell_max_mv": mv.max(axis=1)}
    places = {"cell_min_at": mv.argmin(axis=1), "cell_max_at": mv.argmax(axis=1)}
    return {"voltage_mv": mv.sum(axis=1), **extremes, **places, **told}


def _temperatures(temp: NDArray[np.float64], own: np.random.Generator, stuck: Flaw | None) -> Columns:
    felt = np.round(temp[:, None] + own.uniform(-0.8, 0.8, SENSORS)).astype(np.int64) * 10
    if stuck is not None:
        felt[:, int(stuck.size)] = 210
    told: Columns = {f"t{i:02}": felt[:, i] for i in range(SENSORS)}
    return {**told, "temp_min_dc": felt.min(axis=1), "temp_max_dc": felt.max(axis=1)}


def _said(flags: NDArray[np.uint16], name: str) -> Columns:
    guards = chemistry.protections(chemistry.CHEMISTRIES[name])
    cut = {
        side: sum(1 << i for i, guard in enumerate(guards) if guard.cuts == side) for side in ("charge", "discharge")
    }
    return {
        "charge_on": (flags & cut["charge"]) == 0,
        "discharge_on": (flags & cut["discharge"]) == 0,
        "faults": flags.astype(np.int64),
    }


def _words(masks: pl.Series, name: str) -> dict[int, str]:
    """What a BMS of this chemistry says for each mask of protections."""
    faults = [guard.fault for guard in chemistry.protections(chemistry.CHEMISTRIES[name])]
    told = {mask: [fault for i, fault in enumerate(faults) if mask >> i & 1] for mask in masks.unique()}
    return {mask: " ".join(sorted(found)) for mask, found in told.items()}


def _heard(spoken: Spoken, at: int, mine: dict[str, Flaw], flags: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Which samples came through."""
    plan, samples = spoken.plan, len(flags)
    heard = (flags & OFF) == 0
    if not spoken.build.present[at]:
        return np.zeros(samples, np.bool_)
    draw = stream(plan.seed, "line", plan.first + at, spoken.day)
    per_minute = 60 / plan.period_s
    if flaw := mine.get("gaps"):
        pieces = draw.integers(1, 5)
        for start in draw.integers(samples, size=pieces):
            heard[start : start + round(flaw.size * samples / pieces)] = False
    if flaw := mine.get("comm_bursts"):
        for start in draw.integers(samples, size=draw.poisson(flaw.size)):
            heard[start : start + max(1, round(draw.uniform(2, 10) * per_minute))] = False
    return np.asarray(heard)


def _gaps(spoken: Spoken, number: int, ts: NDArray[np.int64], heard: NDArray[np.bool_]) -> list[dict[str, object]]:
    """A row for each run of slots without a reading."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], heard, [True])).astype(np.int8)))
    period = spoken.plan.period_s * 1000
    who = {**identity(spoken.plan, number), **place(spoken.plan, number), "date": spoken.date}
    return [
        {**who, "seq": spoken.day * 100_000 + 50_000 + nth, "from_ts": int(ts[a]), "to_ts": int(ts[b - 1]) + period}
        | {"reason": "timeout", "slots": int(b - a)}
        for nth, (a, b) in enumerate(edges.reshape(-1, 2))
    ]


def infos(spoken: Spoken) -> pl.DataFrame:
    """The day's rows of `device_info`: what each BMS says of itself and its limits."""
    return pl.DataFrame([_info(spoken, at) for at in range(spoken.plan.modules)], schema=DEVICE_INFO)


def _info(spoken: Spoken, at: int) -> dict[str, object]:
    plan, build = spoken.plan, spoken.build
    number, made = plan.first + at, chemistry.CHEMISTRIES[plan.chemistry]
    old = any(flaw.kind == "comm_bursts" and flaw.module == number for flaw in spoken.flaws)
    rated = round(build.rated[at])
    limits = {
        "cell_max_mv": round(made.overvoltage[0] * 1000),
        "cell_max_release_mv": round(made.overvoltage[1] * 1000),
        "cell_min_mv": round(made.undervoltage[0] * 1000),
        "cell_min_release_mv": round(made.undervoltage[1] * 1000),
        "charge_ma": rated * 1000,
        "discharge_ma": rated * 1000,
        "charge_mv": round(made.charge[0] * 1000 * plan.cells),
        "charge_temp_min_dc": 0,
        "charge_temp_max_dc": 450,
        "discharge_temp_min_dc": -200,
        "discharge_temp_max_dc": 500,
    }
    return {
        **identity(plan, number),
        "seq": spoken.day * 100_000 + 99_999,
        **place(plan, number),
        "date": spoken.date,
        "ts": spoken.midnight,
        "serial": place(plan, number)["unit"],
        "model": f"Simulated {made.name.upper()} {rated} Ah {plan.cells}s",
        "firmware": "1.0.1" if old else "2.3.0",
        "n_cells": plan.cells,
        "nominal_mah": rated * 1000,
        "limits": json.dumps(limits),
    }
