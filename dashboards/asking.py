"""A question to the measurements (design A.6), as data: written once, it becomes InfluxQL here and Polars next door.

InfluxQL runs on InfluxDB 1, 2 (with a DBRP mapping) and 3. `$timeFilter`, `$__interval`, `$__from` and `$__to` are
Grafana's; `$site` and its like are the dashboard's choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

How = Literal[
    "raw", "mean", "max", "min", "last", "sum", "count", "median", "spread", "percentile", "elapsed", "share", "power",
    "bit",
]  # fmt: skip
"""Functions of InfluxQL, but for three: `share` is 100 sum(field) / sum(other), `power` mean(field) mean(other), `bit`
1 where the last mask has the bit `over`, else 0."""
INTERVAL = "$__interval"
MIDDLE = "${__from}ms + (${__to}ms - ${__from}ms) / 2"
"""Of the time that is shown."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the answer: a function of a field, divided by `over` or with `plus` added.

    A field /pattern/ gives as many columns as match.
    """

    name: str
    how: How
    field: str
    over: float = 1
    other: str = ""
    n: int = 0
    plus: int = 0

    def influxql(self) -> str:
        """The column as text; a pattern cannot be named or divided."""
        if self.field.startswith("/"):
            return f"{self.how}({self.field})"
        field, divided = (
            f'"{self.field}"',
            f" + {self.plus}" if self.plus else "" if self.over == 1 else f" / {_number(self.over)}",
        )
        told = {
            "raw": field,
            "percentile": f"percentile({field}, {self.n})",
            "elapsed": f"elapsed({field}, 1m)",
            "share": f'100 * sum({field}) / sum("{self.other}")',
            "power": f'mean({field}) * mean("{self.other}")',
            "bit": f"(last({field}) & {_number(self.over)})",
        }.get(self.how, f"{self.how}({field})")
        return f'{told}{divided} AS "{self.name}"' if told + divided != f'"{self.name}"' else told


@dataclass(frozen=True, slots=True)
class Where:
    """A condition; `value` is a number, a text, or `$variable`, which may stand for many where `=~` compares."""

    name: str
    is_: Literal["=", "=~", ">", "<", "!="]
    value: str | float

    def influxql(self) -> str:
        """The condition as text; the regular expressions are whole."""
        if self.is_ == "=~":
            shown = f"${{{str(self.value)[1:]}:regex}}" if str(self.value).startswith("$") else self.value
            return f'"{self.name}" =~ /^{shown}$/'
        value = f"'{self.value}'" if isinstance(self.value, str) else _number(self.value)
        return f'"{self.name}" {self.is_} {value}'


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `of` is a measurement, another question, or several whose rows are taken together; `back` a time
    before the end of what is shown, or `half` of it, in place of all of it; `every` a width of time; `newest` so many
    rows, the newest first.
    """

    of: str | Ask | tuple[Ask, ...]
    columns: tuple[Column, ...]
    where: tuple[Where, ...] = ()
    by: tuple[str, ...] = ()
    every: str = ""
    fill: Literal["null", "none", "previous"] = "null"
    back: str = ""
    half: Literal["", "first", "second"] = ""
    newest: int = 0

    def influxql(self) -> str:
        """The question as Grafana sends it."""
        source = f'"{self.of}"' if isinstance(self.of, str) else ", ".join(f"({of.influxql()})" for of in self.asks)
        columns = ", ".join(column.influxql() for column in self.columns)
        where = " AND ".join([condition.influxql() for condition in self.where] + self._times())
        parts = [f"SELECT {columns} FROM {source}", f"WHERE {where}" if where else ""]  # noqa: S608 - our own words; Grafana escapes its variables
        return " ".join(filter(None, [*parts, *self._groups()]))

    @property
    def asks(self) -> tuple[Ask, ...]:
        """The questions that it is asked of; none where it is asked of a measurement."""
        return (self.of,) if isinstance(self.of, Ask) else () if isinstance(self.of, str) else self.of

    def _times(self) -> list[str]:
        if self.asks and not self.every:
            return []
        if self.half:
            return [f"$timeFilter AND time {'<' if self.half == 'first' else '>='} {MIDDLE}"]
        return [f"time > ${{__to}}ms - {self.back} AND time <= ${{__to}}ms" if self.back else "$timeFilter"]

    def _groups(self) -> Iterator[str]:
        groups = [f"time({self.every})"] if self.every else []
        groups += [f'"{tag}"' for tag in self.by]
        if groups:
            yield f"GROUP BY {', '.join(groups)}"
        if self.every:
            yield f"fill({self.fill})"
        if self.newest:
            yield f"ORDER BY time DESC LIMIT {self.newest}"

    def variables(self) -> set[str]:
        """Names of the dashboard's variables that it needs."""
        inner = {name for ask in self.asks for name in ask.variables()}
        return inner | {str(w.value)[1:] for w in self.where if str(w.value).startswith("$")}


def _number(value: float) -> str:
    """As InfluxQL reads it: it knows no exponents."""
    return str(int(value)) if float(value).is_integer() else f"{value:f}".rstrip("0")


def choices(measurement: str, tag: str, *above: str) -> str:
    """The question behind a variable: values of a tag, within what is chosen above it."""
    where = " AND ".join(Where(name, "=~", f"${name}").influxql() for name in above)
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}"' + (f" WHERE {where}" if where else "")
