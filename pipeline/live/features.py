"""Readings to runs: all that looks at every single reading, done for many modules at once.

Most readings say what the one before said. Those that a module gives in a row with the same faults, the same levels
tripped and cleared, direction, path flags, whole percent and whole degrees (warmest and coldest) become one
`Run`, with its first and last reading. Only runs are looked at one by one, and it makes no difference where a run is
cut into two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from pipeline.limits import MINUTE
from pipeline.live.levels import levels
from pipeline.schema import CELL_COLUMNS, TEMP_COLUMNS

STEP_MS = 2 * MINUTE
"""Current is added up, and SOC compared, over no longer time than this between two readings."""
IDLE_MA = 500
PLAUSIBLE_DC = (-400, 1200)
_KINDS = ("module", "station")


class Sample(NamedTuple):
    """One reading in short: what rules compare and events keep. None: the device does not say."""

    ts: int
    voltage_mv: int | None
    current_ma: int | None
    soc_pm: int | None
    lo: int | None
    hi: int | None
    med: int | None
    lo_at: int | None
    hi_at: int | None
    far_at: int | None
    off: int | None
    spread: int | None
    worst: int | None
    jump: int | None
    soc_step: int | None
    tmin: int | None
    tmax: int | None
    tspread: int | None
    t_off: int | None
    cell_sum: int | None
    charge_on: int | None
    discharge_on: int | None
    balancing: int | None


class Run(NamedTuple):
    """Readings in a row that say the same. `charge` is what flowed in, mA times ms; `no` counts modules of a batch."""

    no: int
    trip: int
    clear: int
    faults: str | None
    dir: int
    bad_clock: bool
    first: Sample
    last: Sample
    cells: list[int | None]
    temps: list[int | None]
    charge: int
    n: int
    arrival: int
    identity: tuple[str, str, int]
    until: tuple[str, str, int, int]
    """Stream, epoch, seq and arrival of the last reading."""


_SAMPLE = Sample._fields
_KEY = ("no", "trip", "clear", "faults", "dir", "pct", "deg", "cold", "charge_on", "discharge_on", "bad_clock", "leaps")


def runs(readings: pl.DataFrame, modules: pl.DataFrame) -> tuple[list[Run], pl.DataFrame]:
    """Runs by module and time, and the rows left out because they come late or again (see docs/live.md).

    `modules` has a row for each place in the readings: `no`, its limits `p_...` and its last reading `last_...`.
    """
    rows = readings.join(modules, on=["site", "stack", "module"], how="left", maintain_order="left")
    same = pl.col("epoch") == pl.col("last_epoch")
    later = pl.when(same.fill_null(value=False)).then(pl.col("seq") > pl.col("last_seq"))
    newer = later.otherwise(pl.col("ts") > pl.col("last_ts")).fill_null(value=True)
    late = rows.filter(~newer)
    rows = rows.filter(newer).sort("no", "ts", "seq")
    again = (pl.col("epoch") == pl.col("epoch").shift(1)) & (pl.col("seq") == pl.col("seq").shift(1))
    rows = rows.filter(~again.fill_null(value=False))
    if rows.is_empty():
        return [], late
    return list(_runs(_compared(_told(_measured(rows))))), late


def _measured(rows: pl.DataFrame) -> pl.DataFrame:
    """Cells and temperatures of each reading, put in order."""
    cells = [name for name in CELL_COLUMNS if rows[name].null_count() < len(rows)]
    temps = [name for name in TEMP_COLUMNS if rows[name].null_count() < len(rows)]
    none = pl.lit(None, pl.List(pl.Int32))
    zero = pl.col("p_zero_is_missing")
    told = [pl.when(~(zero & (pl.col(name) == 0))).then(pl.col(name).cast(pl.Int32)) for name in cells]
    rows = rows.with_columns(
        cells=pl.concat_list(told) if told else none,
        temps=pl.concat_list([pl.col(name).cast(pl.Int32) for name in temps]) if temps else none,
    ).with_columns(ordered=pl.col("cells").list.drop_nulls().list.sort(), temps_ordered=_plausible(temps))
    return rows.with_columns(*_of_cells(), *_of_temps()).with_columns(*_of_spread())


def _plausible(names: list[str]) -> pl.Expr:
    if not names:
        return pl.lit(None, pl.List(pl.Int32))
    kept = [pl.when(pl.col(name).is_between(*PLAUSIBLE_DC)).then(pl.col(name).cast(pl.Int32)) for name in names]
    return pl.concat_list(kept).list.drop_nulls().list.sort()


def _of_cells() -> list[pl.Expr]:
    ordered, n = pl.col("ordered"), pl.col("ordered").list.len().cast(pl.Int32)
    own = n > 0
    at = [pl.col("cells").list.arg_min().cast(pl.Int32), pl.col("cells").list.arg_max().cast(pl.Int32)]
    return [
        pl.when(own).then(ordered.list.first()).otherwise(pl.col("cell_min_mv").cast(pl.Int32)).alias("lo"),
        pl.when(own).then(ordered.list.last()).otherwise(pl.col("cell_max_mv").cast(pl.Int32)).alias("hi"),
        pl.when(own).then(at[0]).otherwise(pl.col("cell_min_at").cast(pl.Int32)).alias("lo_at"),
        pl.when(own).then(at[1]).otherwise(pl.col("cell_max_at").cast(pl.Int32)).alias("hi_at"),
        ordered.list.get(n // 2, null_on_oob=True).alias("med"),
        ordered.list.get(1, null_on_oob=True).alias("lo2"),
        ordered.list.get(-2, null_on_oob=True).alias("hi2"),
        pl.when(own).then(ordered.list.sum()).alias("cell_sum"),
        ((n > 0) & (n == pl.col("cells").list.len())).alias("whole"),
    ]


def _of_temps() -> list[pl.Expr]:
    ordered, n = pl.col("temps_ordered"), pl.col("temps_ordered").list.len().cast(pl.Int32)
    low, high = ordered.list.first(), ordered.list.last()
    middle = ordered.list.get(n // 2, null_on_oob=True)
    said = [pl.col(name).cast(pl.Int32) for name in ("temp_min_dc", "temp_max_dc")]
    believed = [pl.when(one.is_between(*PLAUSIBLE_DC)).then(one) for one in said]
    many = n >= 3
    return [
        pl.coalesce(low, believed[0]).alias("tmin"),
        pl.coalesce(high, believed[1]).alias("tmax"),
        pl.when(many).then(pl.max_horizontal(high - middle, middle - low)).alias("t_off"),
        (n < pl.col("temps").list.drop_nulls().list.len().cast(pl.Int32)).fill_null(value=False).alias("t_odd"),
    ]


def _of_spread() -> list[pl.Expr]:
    above, below = pl.col("hi") - pl.col("med"), pl.col("med") - pl.col("lo")
    is_low = below >= above
    worst_low = pl.col("p_extreme_low") - pl.col("lo") >= pl.col("hi") - pl.col("p_extreme_high")
    return [
        (pl.col("hi") - pl.col("lo")).alias("spread"),
        pl.max_horizontal(above, below).alias("off"),
        pl.when(is_low).then(pl.col("hi") - pl.col("lo2")).otherwise(pl.col("hi2") - pl.col("lo")).alias("others"),
        pl.when(pl.col("med").is_null() | is_low).then("lo_at").otherwise("hi_at").alias("far_at"),
        pl.when(worst_low).then("lo").otherwise("hi").alias("worst"),
        (pl.col("tmax") - pl.col("tmin")).alias("tspread"),
        (pl.col("hi") == 0).fill_null(value=False).alias("dead"),
        pl.coalesce("med", (pl.col("lo") + pl.col("hi")) // 2)
        .is_between(pl.col("p_middle_low"), pl.col("p_middle_high")).fill_null(value=False).alias("flat"),
    ]  # fmt: skip


def _told(rows: pl.DataFrame) -> pl.DataFrame:
    """What a reading says against the one before, and the direction of its current."""
    follows = pl.col("no") == pl.col("no").shift(1)

    def before(name: str, last: str) -> pl.Expr:
        return pl.when(follows.fill_null(value=False)).then(pl.col(name).shift(1)).otherwise(pl.col(last))

    dead_band = pl.max_horizontal(pl.lit(IDLE_MA), pl.col("p_capacity") // 200)
    current = pl.col("current_ma")
    rows = rows.with_columns(
        dt=pl.col("ts") - before("ts", "last_ts"),
        ma_before=before("current_ma", "last_ma"),
        dir=pl.when(current > dead_band).then(1).when(current < -dead_band).then(-1).when(current.is_not_null()).then(0)
        .otherwise(2).cast(pl.Int8),
        rest=(current.abs() * 20 <= pl.col("p_capacity")).fill_null(value=False),
        soc_step=pl.col("soc_pm").cast(pl.Int32) - before("soc_pm", "last_soc"),
        spread_step=pl.col("spread") - before("spread", "last_spread"),
        bad_clock=pl.col("clk") == "bad",
    )  # fmt: skip
    near = pl.col("dt").is_between(0, STEP_MS)
    quiet = near & ((current - pl.col("ma_before")).abs() * 30 <= pl.col("p_capacity"))
    within = pl.col("dt").is_between(0, 60_000)
    flows = near & pl.col("dir").is_in([1, -1])
    full = (pl.col("soc_pm") >= 990) & (pl.col("hi") >= pl.col("p_full"))
    empty = (pl.col("soc_pm") <= 50) & (pl.col("lo") <= pl.col("p_empty"))
    corrects = full | empty
    return rows.with_columns(
        charge=pl.when(flows).then((current + pl.col("ma_before")) * pl.col("dt") // 2).fill_null(0).cast(pl.Int64),
        soc_step=pl.when(within & ~corrects.fill_null(value=False)).then("soc_step").fill_null(0),
        jump=pl.when(quiet & pl.col("flat") & ~pl.col("p_noisy")).then("spread_step").fill_null(0),
        reasoned=((pl.col("tmin") <= pl.col("p_cold_release")) | (pl.col("tmax") >= pl.col("p_hot_charge_release"))
                  | (pl.col("soc_pm") >= 990) | (pl.col("soc_pm") <= 50) | (pl.col("hi") >= pl.col("p_ov_release"))
                  | (pl.col("lo") <= pl.col("p_uv_release"))).fill_null(value=False),
    )  # fmt: skip


def _compared(rows: pl.DataFrame) -> pl.DataFrame:
    """Each reading's masks: bit i is levels()[i] tripped, or cleared."""
    ours = pl.col("kind").is_in(_KINDS) & ~pl.col("bad_clock")
    mute = pl.col("faults").is_null()

    def mask(exprs: list[pl.Expr]) -> pl.Expr:
        bits = [pl.when(expr).then(pl.lit(1 << i, pl.Int64)).otherwise(0) for i, expr in enumerate(exprs)]
        return pl.sum_horizontal(bits)

    trips = [ours & (level.trip if level.beside_flags else level.trip & mute) for level in levels()]
    clears = [ours & (level.clear if level.beside_flags else level.clear | ~mute) for level in levels()]
    return rows.with_columns(
        trip=mask(trips),
        clear=mask(clears),
        pct=pl.col("soc_pm") // 10,
        deg=pl.col("tmax").cast(pl.Int32) // 10,
        cold=pl.col("tmin").cast(pl.Int32) // 10,
        leaps=pl.col("jump").sign(),
    )


def _runs(rows: pl.DataFrame) -> Iterator[Run]:
    changed = pl.any_horizontal([pl.col(name).ne_missing(pl.col(name).shift(1)) for name in _KEY])
    rows = rows.with_columns(
        begins=changed | (pl.col("dt") > pl.col("p_hole")).fill_null(value=False), total=pl.col("charge").cum_sum()
    ).with_columns(pl.int_range(pl.len()).alias("row"), ends=pl.col("begins").shift(-1).fill_null(value=True))
    rows = rows.with_columns(begins=pl.col("begins") | (pl.col("row") == 0))
    first, last = rows.filter("begins"), rows.filter("ends")
    charge = last["total"] - first["total"] + first["charge"]
    count = last["row"] - first["row"] + 1
    key = ("no", "trip", "clear", "faults", "dir", "bad_clock")
    return (
        Run(*told, Sample._make(begun), Sample._make(ended), *lists, q, n, arrival, identity, until)  # type: ignore[call-arg]
        for told, begun, ended, lists, q, n, arrival, identity, until in zip(
            first.select(key).iter_rows(), first.select(_SAMPLE).iter_rows(), last.select(_SAMPLE).iter_rows(),
            first.select("cells", "temps").iter_rows(), charge, count, first["arrival_ts"],
            first.select("stream", "epoch", "seq").iter_rows(),
            last.select("stream", "epoch", "seq", "arrival_ts").iter_rows(), strict=True,
        )
    )  # fmt: skip
