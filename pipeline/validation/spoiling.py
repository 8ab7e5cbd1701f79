"""Readings of sound modules, spoilt as field devices spoil them, and the truth of it.

For the bits of data quality by which no flaw of the simulator shows. Every third module stays sound, every third has
four spoilt days of five, each by one of `DAILY`, and every third has a current sensor whose zero is off for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.limits import HOUR
from pipeline.quality import Quality
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS, Schema
from pipeline.simulation.fleet import Day
from pipeline.simulation.plan import FleetPlan
from pipeline.simulation.readings import place
from pipeline.simulation.seeds import stream

SPOILT: Schema = {"site": pl.String, "unit": pl.String, "day": pl.Date, "bit": pl.String, "shows": pl.Boolean}
"""Truth: a spoilt day of a module, and whether its bit is asked for on it."""
SHARE = 0.8
"""Of the days of a module that is spoilt by the day."""
ZERO_A, ASKED_MA, SETTLED = (0.35, 1.5), 350.0, 7
"""Offsets that are planted; from which total one is asked for, and after how many days of a summer."""

Draw: TypeAlias = np.random.Generator
Mask: TypeAlias = NDArray[np.bool_]
Columns: TypeAlias = Mapping[str, pl.Expr | pl.Series | None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A sound module's day, and the stretch of it in which its readings are to be spoilt."""

    rows: pl.DataFrame
    within: Mask
    draw: Draw

    @property
    def full_mah(self) -> float:
        """What the module holds."""
        return float(self.rows["full_mah"][0])

    @property
    def period_ms(self) -> float:
        """From one reading to the next."""
        return float(np.median(np.diff(self.rows["ts"].to_numpy())))

    @property
    def current_ma(self) -> NDArray[np.float64]:
        """What flows, within the stretch."""
        return self.rows["current_ma"].to_numpy()[self.within].astype(np.float64)

    def told(self, **columns: NDArray[Any] | int | None) -> pl.DataFrame:
        """The rows with these columns within the stretch."""
        mask = pl.Series(self.within)
        said = {
            name: pl.when(mask).then(pl.lit(pl.Series(value)) if isinstance(value, np.ndarray) else pl.lit(value))
            for name, value in columns.items()
        }
        kinds = self.rows.schema
        return self.rows.with_columns(
            then.otherwise(pl.col(name)).cast(kinds[name]).alias(name) for name, then in said.items()
        )

    def still(self, *names: str) -> dict[str, int | None]:
        """These columns as they are when the stretch begins."""
        return dict(zip(names, self.rows.filter(self.within).select(names).row(0), strict=True))


Spoil: TypeAlias = Callable[[Piece], tuple[pl.DataFrame, bool]]
"""The spoilt rows, and whether it is to be asked for: by what was so, and never by what is shown."""


def counter_stands(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """The state of charge stands; asked for where 6 % of the capacity went in or out meanwhile. Where it stands at
    full or empty, where a quarter of it left that end: sound ones hold to it for a while.
    """
    passed, still = np.cumsum(piece.current_ma) * piece.period_ms / HOUR, piece.still("soc_pm", "remaining_mah")
    away = {1000: passed.max() - passed[-1], 0: passed[-1] - passed.min()}.get(still["soc_pm"] or 0)
    far = np.ptp(passed) > 0.06 * piece.full_mah if away is None else away > 0.25 * piece.full_mah
    return piece.told(**still), bool(far)


def counter_is_set(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """From one reading to the next the state of charge is set by 6 to 20 %, where there is room for it."""
    soc = piece.rows["soc_pm"].to_numpy()
    at = int(np.argmax(piece.within)) or 1
    by = 10 * int(piece.draw.integers(6, 21)) * (1 if soc[at] < 500 else -1)
    later = np.arange(len(soc)) >= at
    return replace(piece, within=later).told(soc_pm=np.clip(soc + by, 0, 1000)), True


def thermometer_breaks(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """A wire off (-40 degC), a short (86 to 150 degC), a sensor that is 14 to 40 K off all
    day, or one that leaps by 7 to 40 K."""
    draw, name = piece.draw, TEMP_COLUMNS[piece.draw.integers(4)]
    felt, how = piece.rows[name].to_numpy(), draw.integers(4)
    if how < 2:
        return piece.told(**{name: (-400, 10 * int(draw.integers(86, 151)))[how]}), True
    sign = 1 if draw.random() < 0.5 else -1
    if how == 2:
        whole = replace(piece, within=np.ones_like(piece.within))
        return whole.told(**{name: felt + sign * 10 * int(draw.integers(14, 41))}), True
    leaps = piece.within & (draw.random(len(felt)) < 0.2)
    leaps[np.argmax(piece.within)] = True
    return replace(piece, within=leaps).told(**{name: felt + sign * 10 * int(draw.integers(7, 41))}), True


def sum_does_not_fit(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """A cell is read 0.6 to 3 % of the module's voltage too low, or the module's voltage is that much off."""
    draw, volts = piece.draw, piece.rows["voltage_mv"].to_numpy()
    off = draw.uniform(0.006, 0.03)
    if draw.random() < 0.5:
        return piece.told(voltage_mv=np.round(volts * (1 + off * (1 if draw.random() < 0.5 else -1)))), True
    name = _one_of(piece)
    return piece.told(**{name: np.round(piece.rows[name].to_numpy() - off * volts)}), True


def cell_out_of_range(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """A cell reads 0 V, 5 V or what else none has; every other BMS adds its cells up for the module's voltage."""
    draw, name = piece.draw, _one_of(piece)
    wrong = (0, 5000, int(draw.uniform(0, 1450)), int(draw.uniform(4050, 6000)))[draw.integers(4)]
    if draw.random() < 0.5:
        return piece.told(**{name: wrong}), True
    volts = piece.rows["voltage_mv"].to_numpy() - piece.rows[name].to_numpy() + wrong
    return piece.told(**{name: wrong, "voltage_mv": volts}), True


def current_reads_zero(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """No current is read, and so none is counted; asked for where, after half an hour of it, what truly flows changed
    by 0.05 C within five minutes.
    """
    mah, five = piece.current_ma[round(1_800_000 / piece.period_ms) :], max(1, round(300_000 / piece.period_ms))
    shows = len(mah) > five and bool((np.abs(mah[five:] - mah[:-five]) > 0.05 * piece.full_mah).any())
    return piece.told(current_ma=0, **piece.still("soc_pm", "remaining_mah")), shows


def cells_come_and_go(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """One to three cells are missing, all the while or now and then."""
    draw, cells = piece.draw, _cells(piece)
    gone = draw.choice(cells, size=min(int(draw.integers(1, 4)), len(cells) - 1), replace=False)
    often = piece.within & (draw.random(piece.rows.height) < draw.uniform(0.1, 1.0))
    often[np.argmax(piece.within)] = True
    return replace(piece, within=often).told(**dict.fromkeys(gone)), True


def cells_freeze(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """Voltages stand, in every other case the current too; asked for where 0.03 C flow over 25 readings on end."""
    names = [*_cells(piece), "voltage_mv", "cell_min_mv", "cell_max_mv"]
    current = piece.current_ma
    if piece.draw.random() < 0.5:
        names.append("current_ma")
        current = np.full_like(current, current[0])
    flows = np.flatnonzero(np.diff(np.r_[0, np.abs(current) > 0.03 * piece.full_mah, 0]))
    longest = int(np.diff(flows.reshape(-1, 2), axis=1).max(initial=0))
    return piece.told(**piece.still(*names)), longest >= 25


def pace_changes(piece: Piece) -> tuple[pl.DataFrame, bool]:
    """Every third to twentieth reading is left of the stretch, at most a quarter of an hour apart; asked for where two
    hours at least have each pace.
    """
    most = max(3, min(20, round(900_000 / piece.period_ms)))
    kept = np.arange(piece.rows.height) % int(piece.draw.integers(3, most + 1)) == 0
    hours = np.array([piece.within.sum(), (~piece.within).sum()]) * piece.period_ms / HOUR
    return piece.rows.filter(pl.Series(~piece.within | kept)), bool(hours.min() >= 2)


def _cells(piece: Piece) -> list[str]:
    return [name for name in CELL_COLUMNS if piece.rows[name][0] is not None]


def _one_of(piece: Piece) -> str:
    cells = _cells(piece)
    return cells[piece.draw.integers(len(cells))]


@dataclass(frozen=True, slots=True)
class Daily:
    """What spoils a day, for the shortest to the longest time, h; 0 h: a single reading."""

    bit: Quality
    spoil: Spoil
    hours: tuple[float, float]


DAILY = (
    Daily(Quality.STUCK_SOC, counter_stands, (2.0, 24.0)),
    Daily(Quality.SOC_JUMP, counter_is_set, (0.0, 0.0)),
    Daily(Quality.T_OUT, thermometer_breaks, (0.0, 6.0)),
    Daily(Quality.V_SUM, sum_does_not_fit, (0.0, 6.0)),
    Daily(Quality.V_OUT, cell_out_of_range, (0.0, 6.0)),
    Daily(Quality.I_ZERO, current_reads_zero, (1.5, 12.0)),
    Daily(Quality.N_CELLS, cells_come_and_go, (0.0, 6.0)),
    Daily(Quality.FROZEN, cells_freeze, (1.0, 12.0)),
    Daily(Quality.RATE, pace_changes, (2.0, 22.0)),
)


def spoilt(days: Iterable[Day], plan: FleetPlan) -> Iterator[Day]:
    """The days with spoilt readings, and `spoilt` among their truth."""
    for number, day in enumerate(days):
        modules = {str(unit): rows for (unit,), rows in day.readings.group_by("unit", maintain_order=True)}
        offsets = dict(day.truth["module"].select("unit", "offset_ma").iter_rows())
        told: list[dict[str, object]] = []
        for at in plan.numbers:
            unit = place(plan, at)["unit"]
            if unit not in modules or at % 3 == 0:
                continue
            draw = stream(plan.seed, "spoilt", at, number)
            if at % 3 == 1 and draw.random() < SHARE:
                modules[unit], what = _spoilt_day(modules[unit], draw, DAILY[(at // 3 + number) % len(DAILY)])
            elif at % 3 == 2:
                modules[unit], what = _zero_off(modules[unit], (plan, at, number), offsets[unit])
            else:
                continue
            told.append(what | {"site": place(plan, at)["site"], "unit": unit, "day": day.date})
        truth = {**day.truth, "spoilt": pl.DataFrame(told, schema=SPOILT)}
        yield replace(day, readings=pl.concat(modules.values()), truth=truth)


def _spoilt_day(rows: pl.DataFrame, draw: Draw, one: Daily) -> tuple[pl.DataFrame, dict[str, object]]:
    ts = rows["ts"].to_numpy()
    begin, long = draw.uniform(ts[0], ts[-1]), draw.uniform(*one.hours) * HOUR
    begin = max(float(ts[0]), min(begin, ts[-1] - long))
    within = (ts >= begin) & (ts < begin + long)
    within[np.searchsorted(ts, begin)] = True
    piece = Piece(rows, within, draw)
    spoilt_rows, shows = one.spoil(piece)
    return spoilt_rows, {"bit": one.bit.name, "shows": shows}


def _zero_off(
    rows: pl.DataFrame, which: tuple[FleetPlan, int, int], own_ma: float
) -> tuple[pl.DataFrame, dict[str, object]]:
    """A current sensor's zero is off, by as much on every day and beside what it was off before."""
    plan, at, day = which
    once = stream(plan.seed, "zero", at)
    off = 1000 * once.uniform(*ZERO_A) * (1 if once.random() < 0.5 else -1)
    finer = stream(plan.seed, "finer", at, day).uniform(-50, 50, rows.height)
    shows = day >= SETTLED and abs(off + own_ma) >= ASKED_MA
    asked = {"bit": Quality.I_OFFSET.name, "shows": shows}
    return rows.with_columns(shown(pl.col("current_ma") + pl.Series(finer) + off)), asked


def shown(current: pl.Expr) -> pl.Expr:
    """A current as a BMS shows it, in tenths of an ampere."""
    return ((current / 100).round() * 100).cast(pl.Int32).alias("current_ma")
