"""Modules filled and emptied every day by a small equivalent circuit whose capacity and resistance are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from pipeline.chemistry import LFP, Chemistry, Floats
from pipeline.schema import READING
from tests.pipeline.fleets import DAY, MIDNIGHT


@dataclass(frozen=True)
class World:
    """What the circuit is made of. mOhm, Ah, A, s; `offset_ma` is the current sensor's, `gain` its factor."""

    modules: int = 3
    cells: int = 4
    days: int = 10
    period_s: int = 60
    nominal_ah: float = 100.0
    soh: float = 0.93
    spread: float = 0.006
    fast: float = 0.6
    slow: float = 0.5
    tau_s: float = 100.0
    offset_ma: float = 80.0
    gain: float = 1.0
    charge_a: float = 30.0
    seed: int = 1
    weak: float = 1.0  # of the last cell's fast resistance, a multiple of the others'
    chemistry: Chemistry = LFP


def days(world: World) -> tuple[pl.DataFrame, Floats]:
    """Readings from DAY on, and the cells' true capacities (Ah, modules x cells)."""
    rng = np.random.default_rng(world.seed)
    shape = (world.modules, world.cells)
    held = world.nominal_ah * world.soh * (1 + world.spread * rng.standard_normal(shape))
    fast = world.fast * np.exp(0.05 * rng.standard_normal(shape))
    fast[:, -1] *= world.weak
    volts, current = _lived(world, held, fast, rng)
    noisy = np.round(volts + 0.8 * rng.standard_normal(volts.shape)).astype(np.int16)
    said = np.round((current * world.gain + world.offset_ma / 1000) * 10).astype(np.int64) * 100
    return pl.concat(_frame(world, number, noisy[:, number], said[:, number]) for number in range(world.modules)), held


def _lived(world: World, held: Floats, fast: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Cell voltages (steps, modules, cells) in mV and currents (steps, modules) in A."""
    curve = np.array(world.chemistry.ocv).T
    steps = world.days * 86_400 // world.period_s
    soc = np.full(held.shape, 0.3)
    slow, hyst = np.zeros_like(held), np.zeros_like(held)
    filling = np.zeros(world.modules, bool)
    decay = np.exp(-world.period_s / world.tau_s)
    volts, current = np.empty((steps, *held.shape)), np.empty((steps, world.modules))
    mv = np.interp(soc, *curve)
    for k in range(steps):
        mean = mv.mean(axis=1)
        hour = k * world.period_s / 3600 % 24
        filling = (hour > 8) & (hour < 16)
        load = np.where(rng.random(world.modules) < 0.05, 25.0, 8.0)
        top = np.clip((world.chemistry.full_mv[0] + 50 - mean) / 70, 0, 1) if filling else 0
        bottom = np.clip((mean - world.chemistry.down_mv + 250) / 60, 0, 1)
        cloud = 0.4 + 0.6 * (rng.random(world.modules) < 0.9)
        ampere = np.where(filling, world.charge_a * cloud * top, -load * bottom)
        passed = ampere[:, None] * world.period_s / 3600 / held
        soc += passed
        slow = decay * slow + (1 - decay) * world.slow * ampere[:, None]
        hyst += (np.sign(ampere)[:, None] * world.chemistry.hysteresis_mv - hyst) * (1 - np.exp(-np.abs(40 * passed)))
        mv = np.interp(soc, *curve) + hyst + slow + fast * ampere[:, None]
        volts[k], current[k] = mv, ampere
    return volts, current


def _frame(world: World, number: int, volts: Floats, current: Floats) -> pl.DataFrame:
    ts = MIDNIGHT + np.arange(len(current)) * world.period_s * 1000
    told = {
        "site": "barn",
        "stack": "s1",
        "module": f"m{number}",
        "unit": f"u{number}",
        "edge": "e1",
        "kind": "module",
        "stream": "a" * 32,
        "epoch": "b" * 16,
        "clk": "ntp",
        "driver": "jbd",
        "faults": "",
        "full_mah": round(1000 * world.nominal_ah),
        "t00": 250,
        "soc_pm": 500,
    }
    cells = {f"c{c:02}": volts[:, c] for c in range(volts.shape[1])}
    frame = pl.DataFrame({"ts": ts, "current_ma": current, "voltage_mv": volts.sum(axis=1, dtype=np.int64), **cells})
    dated = frame.with_columns(
        *(pl.lit(value).alias(name) for name, value in told.items()),
        arrival_ts=pl.col("ts") + 500,
        seq=pl.int_range(pl.len()) + number * len(current),
        date=pl.from_epoch("ts", time_unit="ms").dt.date(),
    )
    have = dated.columns
    return dated.select(
        (pl.col(name) if name in have else pl.lit(None)).cast(kind).alias(name) for name, kind in READING.items()
    )


def dates(world: World) -> list[date]:
    """The days that `days` gives."""
    return [DAY + timedelta(days=n) for n in range(world.days)]
