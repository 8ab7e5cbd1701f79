"""What was so, whatever the readings say: capacities, resistances, charge, planted flaws, and every lockout."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import polars as pl

from pipeline.schema import DEVICE_COUNTER, Schema
from pipeline.simulation import chemistry
from pipeline.simulation.plan import DAY_S, KINDS, Flaw, FleetPlan
from pipeline.simulation.readings import Spoken, identity, place
from pipeline.simulation.state import OFF, PROTECTIONS, State

FLAW: Schema = {
    **dict.fromkeys(("site", "stack", "module", "unit", "kind"), pl.String),
    "number": pl.Int64,
    "cell": pl.Int16,
    "onset": pl.Date,
    "size": pl.Float64,
    "size_unit": pl.String,
}
CELL: Schema = {
    **dict.fromkeys(("site", "unit"), pl.String),
    "day": pl.Date,
    "cell": pl.Int16,
    **dict.fromkeys(("capacity_ah", "fast_mohm", "slow_mohm", "soc", "leak_ma"), pl.Float64),
}
MODULE: Schema = {
    **dict.fromkeys(("site", "unit"), pl.String),
    "day": pl.Date,
    **dict.fromkeys(
        (
            "rated_ah",
            "capacity_ah",
            "soh",
            "cycles",
            "net_ah",
            "temp_mean_c",
            "gain",
            "offset_ma",
            "aged",
            "soc_off",
            "temp_range_c",
        ),
        pl.Float64,
    ),
}
LOCKOUT: Schema = {
    **dict.fromkeys(("site", "unit", "fault"), pl.String),
    "start": pl.Int64,
    "end": pl.Int64,
    "root_cause": pl.String,
    "ended_by": pl.String,  # auto_release, reset, or open: the simulation ended first
}
CAUSES: dict[str, tuple[str, ...]] = {
    "cell_overvoltage_protection": (
        *(
            "reset_chain",
            "charger_high",
            "leak",
            "imbalance",
            "balancer_off",
            "low_capacity",
            "high_resistance",
            "deaf",
        ),
    ),
    "cell_undervoltage_protection": (
        *("idle_drain", "cold_garage", "leak", "low_capacity", "imbalance", "balancer_off", "high_resistance", "deaf"),
    ),
    "charge_undertemperature_protection": ("cold_garage",),
    "discharge_undertemperature_protection": ("cold_garage",),
    "charge_overtemperature_protection": ("hot_room",),
    "discharge_overtemperature_protection": ("hot_room",),
    "charge_overcurrent_protection": ("reconnect", "bad_connection", "mixed_stack", "missing_module"),
    "discharge_overcurrent_protection": ("surge_loads", "reconnect", "bad_connection", "mixed_stack", "missing_module"),
}
"""The flaws that can make a protection trip, likeliest first; without one it is the use."""
BAD_CELLS = ("low_capacity", "high_resistance", "leak", "imbalance", "balancer_off")
"""Flaws of a cell. Near full one that stays behind lifts each of the others by a fifteenth of it only."""


@dataclass(slots=True)
class Diary:
    """What is remembered from day to day: lockouts that stand (module, protection -> ms, cause), trips counted."""

    standing: dict[tuple[int, int], tuple[int, str]] = field(default_factory=dict)
    trips: dict[tuple[int, int], int] = field(default_factory=dict)


def flaws_of(plan: FleetPlan, flaws: tuple[Flaw, ...]) -> pl.DataFrame:
    """A row a planted flaw; a stack's flaw has a row for each of its modules."""
    rows = []
    for flaw in flaws:
        kind, first = KINDS[flaw.kind], flaw.module // plan.stack_size * plan.stack_size
        whom = range(first, first + plan.stack_size) if kind.scope == "stack" else (flaw.module,)
        onset = plan.start + timedelta(days=flaw.onset)
        what = {"cell": flaw.cell, "onset": onset, "size": flaw.size, "size_unit": kind.unit}
        rows += [{**place(plan, n), "kind": flaw.kind, "number": n, **what} for n in whom]
    return pl.DataFrame(rows, schema=FLAW)


def cells_of(spoken: Spoken, state: State) -> pl.DataFrame:
    """Each cell as it stands at the day's end; resistances at 25 degC."""
    build, plan = spoken.build, spoken.plan
    who = [place(plan, number) for number in plan.numbers]
    n = plan.cells
    return pl.DataFrame(
        {
            **{name: np.repeat([one[name] for one in who], n) for name in ("site", "unit")},
            "day": [spoken.date] * (n * plan.modules),
            "cell": np.tile(np.arange(n), plan.modules),
            "capacity_ah": build.ah.ravel(),
            "fast_mohm": build.fast.ravel() * 1000,
            "slow_mohm": build.slow.ravel() * 1000,
            "soc": state.soc.flatten(),  # a copy: the state goes on, and Polars would share its memory
            "leak_ma": build.leak.ravel() * 1000,
        },
        schema=CELL,
    )


def modules_of(spoken: Spoken, aged: np.ndarray) -> pl.DataFrame:
    """Each module's day. `soh` is the median cell's capacity by the rated one, `aged` the share lost by wear alone,
    `soc_off` how far the state of charge that the BMS shows is from the cells' mean, at the day's worst moment.
    """
    build, trace, plan = spoken.build, spoken.trace, spoken.plan
    who = [place(plan, number) for number in plan.numbers]
    return pl.DataFrame(
        {
            **{name: [one[name] for one in who] for name in ("site", "unit")},
            "day": [spoken.date] * plan.modules,
            "rated_ah": build.rated,
            "capacity_ah": build.ah.min(axis=1),
            "soh": np.median(build.ah, axis=1) / build.rated,
            "cycles": trace.moved / 2 / build.rated,
            "net_ah": trace.net,
            "temp_mean_c": trace.temp.mean(axis=1),
            "gain": build.gain,
            "offset_ma": build.offset_a * 1000,
            "aged": aged,
            "soc_off": np.abs(trace.counted - np.clip(trace.soc, 0, 1)).max(axis=1),
            "temp_range_c": np.ptp(trace.temp, axis=1),
        },
        schema=MODULE,
    )


def lockouts_of(spoken: Spoken, diary: Diary, *, last: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The lockouts that ended today (`last`: and those that stand), and the rows of `device_counter` of their trips."""
    rows: list[dict[str, object]] = []
    counted: list[dict[str, object]] = []
    step_ms = round(spoken.pace.seconds * 1000)
    end = spoken.midnight + DAY_S * 1000
    for at in np.flatnonzero(spoken.trace.flags.any(axis=1)):
        for bit in range(PROTECTIONS):
            key, stands = (int(at), bit), (spoken.trace.flags[at] >> bit & 1).astype(np.int8)
            before = int(key in diary.standing)
            turns = np.flatnonzero(np.diff(stands, prepend=np.int8(before)))
            for k in turns:
                ts = spoken.midnight + int(k) * step_ms
                if stands[k]:
                    diary.standing[key] = ts, _cause(spoken, key, int(k))
                    diary.trips[key] = diary.trips.get(key, 0) + 1
                    counted.append(_counter(spoken, key, ts, diary.trips[key]))
                else:
                    reset = spoken.trace.flags[at, k] & OFF
                    ended = "reset" if reset else "auto_release"
                    start, cause = diary.standing.pop(key)
                    rows.append(_lockout(spoken, key, (start, ts, cause), ended))
    if last:
        standing = sorted(diary.standing.items())
        rows += [_lockout(spoken, key, (start, end, cause), "open") for key, (start, cause) in standing]
        diary.standing.clear()
    return pl.DataFrame(rows, schema=LOCKOUT), pl.DataFrame(counted, schema=DEVICE_COUNTER)


def _lockout(spoken: Spoken, key: tuple[int, int], span: tuple[int, int, str], ended_by: str) -> dict[str, object]:
    plan, (at, bit) = spoken.plan, key
    fault = chemistry.protections(chemistry.CHEMISTRIES[plan.chemistry])[bit].fault
    who = place(plan, plan.first + at)
    found = {"site": who["site"], "unit": who["unit"], "fault": fault, "start": span[0], "end": span[1]}
    return {**found, "root_cause": span[2], "ended_by": ended_by}


def _cause(spoken: Spoken, key: tuple[int, int], step: int) -> str:
    """The flaw behind a trip: the likeliest that is there and has a part in it."""
    plan, (at, bit) = spoken.plan, key
    fault = chemistry.protections(chemistry.CHEMISTRIES[plan.chemistry])[bit].fault
    stack = (plan.first + at) // plan.stack_size
    there = {
        flaw.kind
        for flaw in spoken.flaws
        if (flaw.module == plan.first + at and _concerned(spoken, flaw, fault, (at, step)))
        or (flaw.module // plan.stack_size == stack and _shared(flaw))
    }
    return next((kind for kind in CAUSES[fault] if kind in there), "use")


def _concerned(spoken: Spoken, flaw: Flaw, fault: str, when: tuple[int, int]) -> bool:
    """Whether a bad cell has a part in a trip by a cell's voltage: by the sample nearest to it, it is the cell that is
    too high or too low.
    """
    if flaw.kind not in BAD_CELLS or not fault.startswith("cell_"):
        return True
    at, step = when
    volts = spoken.trace.volts[at, min(step // spoken.pace.every, spoken.trace.volts.shape[1] - 1)]
    worst = volts.argmax() if fault == "cell_overvoltage_protection" else volts.argmin()
    return int(worst) == (flaw.cell or 0)


def _shared(flaw: Flaw) -> bool:
    return KINDS[flaw.kind].scope == "stack" or KINDS[flaw.kind].stacked


def _counter(spoken: Spoken, key: tuple[int, int], ts: int, value: int) -> dict[str, object]:
    plan, (at, bit) = spoken.plan, key
    fault = chemistry.protections(chemistry.CHEMISTRIES[plan.chemistry])[bit].fault
    number = plan.first + at
    return {
        **identity(plan, number),
        "seq": spoken.day * 100_000 + 60_000 + 5_000 * (bit % 8) // 5 + value % 500 + bit * 500,
        **place(plan, number),
        "date": spoken.date,
        "ts": ts,
        "name": f"trips_{fault.removesuffix('_protection')}",
        "value": value,
    }
