"""The Polars form of a question: answered from tables as InfluxQL would answer it from the same points."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from dashboards.asking import INTERVAL, Ask, Column, Where
from dashboards.points import Points

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SELECTORS = {"last", "max", "min"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person looks at: from when to when (UTC ms), the width of a pixel, and the values of the variables; a
    value that is not chosen is every one.
    """

    start: int
    end: int
    width: str = "10m"
    chosen: dict[str, str] = field(default_factory=dict)

    def filled(self, influxql: str) -> str:
        """InfluxQL with Grafana's variables filled in."""
        text = influxql.replace("${__to}", str(self.end)).replace("${__from}", str(self.start))
        text = text.replace(INTERVAL, self.width)
        text = text.replace("$timeFilter", f"time >= {self.start}ms AND time <= {self.end}ms")
        text = re.sub(r"\$\{(\w+):regex\}", lambda m: re.escape(self.chosen.get(m[1], "")) or ".*", text)
        return re.sub(r"\$(\w+)", lambda m: self.chosen.get(m[1], ""), text)

    def span(self, ask: Ask) -> tuple[int, int]:
        """First and last ms of what a question is about."""
        middle = (self.start + self.end + 1) // 2
        if ask.half:
            return (self.start, middle - 1) if ask.half == "first" else (middle, self.end)
        return self.end - milliseconds(ask.back) + 1 if ask.back else self.start, self.end


def milliseconds(width: str) -> int:
    """`10m` as milliseconds."""
    return int(width[:-1]) * SECONDS[width[-1]] * 1000


def answer(ask: Ask, points: Points, shown: Shown) -> pl.DataFrame:
    """The answer: `ts` (UTC ms), the tags asked by, and the columns. Empty buckets are left out."""
    if not isinstance(ask.of, str):
        source = pl.concat([answer(inner, points, shown) for inner in ask.asks], how="diagonal_relaxed")
    elif (table := points.get(ask.of)) is not None:
        source = table.filter(pl.col("ts").is_between(*shown.span(ask)))
    else:
        return pl.DataFrame(schema={"ts": pl.Int64, **dict.fromkeys((*ask.by, *(c.name for c in ask.columns)))})
    for where in ask.where:
        source = source.filter(_holds(where, shown)) if where.name in source.columns else source.clear()
    rows = _grouped(ask, source.with_columns(_missing(ask, source)), shown)
    if ask.fill == "previous" and ask.every:
        rows = _carried(ask, rows, shown)
    return rows.sort("ts", descending=True).head(ask.newest) if ask.newest else rows


def _carried(ask: Ask, rows: pl.DataFrame, shown: Shown) -> pl.DataFrame:
    """Each bucket without a value has that of the one before."""
    width = milliseconds(shown.width if ask.every == INTERVAL else ask.every)
    first = shown.start // width * width
    grid = pl.DataFrame({"ts": range(first, shown.end + 1, width)}, schema={"ts": pl.Int64})
    every = grid.join(rows.select(ask.by).unique(), how="cross")
    names = [column.name for column in ask.columns]
    filled = every.join(rows, on=["ts", *ask.by], how="left").sort("ts")
    return filled.with_columns(pl.col(names).forward_fill().over(list(ask.by))).drop_nulls(names)


def _missing(ask: Ask, source: pl.DataFrame) -> list[pl.Expr]:
    """Fields that nobody has ever written are null."""
    named = {n for c in ask.columns for n in (c.field, c.other) if n and not n.startswith("/")} | set(ask.by)
    return [pl.lit(None, pl.Float64).alias(name) for name in sorted(named - set(source.columns))]


def _holds(where: Where, shown: Shown) -> pl.Expr:
    value: Any = where.value
    if isinstance(value, str) and value.startswith("$"):
        value = shown.chosen.get(value[1:], ".*" if where.is_ == "=~" else "")
        value = re.escape(value) if value != ".*" else value
    column = pl.col(where.name)
    if where.is_ == "=~":
        return column.str.contains(f"^{value}$")
    plain = value.replace("\\", "") if isinstance(value, str) else value
    return {"=": column == plain, "!=": column != plain, ">": column > plain, "<": column < plain}[where.is_]


def _grouped(ask: Ask, rows: pl.DataFrame, shown: Shown) -> pl.DataFrame:
    rows = rows.sort("ts")
    if all(column.how == "raw" for column in ask.columns):
        wanted = rows.select("ts", *ask.by, *(_plain(c) for c in ask.columns if c.name not in ask.by))
        return wanted.filter(~pl.all_horizontal(pl.exclude("ts", *ask.by).is_null()))
    if ask.columns[0].how == "elapsed":
        return _elapsed(ask, rows)
    width = milliseconds(shown.width if ask.every == INTERVAL else ask.every) if ask.every else 0
    keys = list(ask.by)
    if width:
        rows, keys = rows.with_columns(bucket=pl.col("ts") // width * width), ["bucket", *keys]
    chosen = next((c for c in ask.columns if c.how in SELECTORS), None)
    one = chosen if any(c.how == "raw" for c in ask.columns) else None
    told = [_chosen(column, one) if one else _column(column, rows) for column in ask.columns]
    flat = [expression for some in told for expression in some]
    at = pl.col("ts").filter(pl.col(chosen.field).is_not_null()).last() if chosen and not width else pl.col("ts").min()
    grouped = rows.group_by(keys, maintain_order=True).agg(*flat, ts_=at) if keys else rows.select(*flat, ts_=at)
    stamped = grouped.with_columns(ts=pl.col("bucket") if width else pl.col("ts_").cast(pl.Int64)).drop("ts_")
    ordered = stamped.select("ts", *ask.by, pl.exclude("ts", "bucket", *ask.by))
    counted = {c.name for c in ask.columns if c.how == "count"}
    seen = [
        pl.col(n) > 0 if n in counted else pl.col(n).is_not_null() for n in ordered.columns if n not in {"ts", *ask.by}
    ]
    return ordered.filter(pl.any_horizontal(seen)) if seen else ordered


def _plain(column: Column) -> pl.Expr:
    value = pl.col(column.field)
    return (value + column.plus if column.plus else value).alias(column.name)


def _elapsed(ask: Ask, rows: pl.DataFrame) -> pl.DataFrame:
    column = ask.columns[0]
    minutes = (
        ((pl.col("ts") - pl.col("ts").shift(1)) // 60_000).over(list(ask.by))
        if ask.by
        else pl.col("ts").diff() // 60_000
    )
    told = rows.filter(pl.col(column.field).is_not_null()).with_columns((minutes / column.over).alias(column.name))
    return told.select("ts", *ask.by, column.name).drop_nulls(column.name)


def _chosen(column: Column, chosen: Column) -> list[pl.Expr]:
    """Of the one point that a selector chooses: the last with the field, or the first with its extreme."""
    field_ = pl.col(chosen.field)
    if chosen.how == "last":
        value = pl.col(column.field).filter(field_.is_not_null()).last()
    else:
        value = pl.col(column.field).sort_by(field_, descending=chosen.how == "max", nulls_last=True).first()
    return [(value if column.over == 1 else value / column.over).alias(column.name)]


def _percentile(values: pl.Expr, n: int) -> pl.Expr:
    """The nearest rank as InfluxDB has it; none where there are too few values for it."""
    rank = (n / 100 * values.count() + 0.5).floor().cast(pl.Int64) - 1
    known = values.drop_nulls().sort().get(rank.clip(0), null_on_oob=True)
    return pl.when(rank >= 0).then(known)


def _column(column: Column, rows: pl.DataFrame) -> list[pl.Expr]:
    if column.field.startswith("/"):
        matching = [name for name in rows.columns if re.search(column.field.strip("/"), name)]
        return [e for name in matching for e in _column(Column(f"{column.how}_{name}", column.how, name), rows)]
    values = pl.col(column.field)
    told = {
        "count": values.count(),
        "spread": values.max() - values.min(),
        "last": values.drop_nulls().last(),
        "share": 100 * values.sum() / pl.col(column.other or column.field).sum() if column.how == "share" else values,
        "power": values.mean() * pl.col(column.other or column.field).mean() if column.how == "power" else values,
        "bit": values.drop_nulls().last().cast(pl.Int64) & int(column.over) if column.how == "bit" else values,
        "percentile": _percentile(values, column.n),
        "sum": pl.when(values.count() > 0).then(values.sum()),
    }
    value = told[column.how] if column.how in told else getattr(values, column.how)()
    return [(value if column.over == 1 else value / column.over).alias(column.name)]
