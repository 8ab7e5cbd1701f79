"""Every question asked of a real InfluxDB, and answered by Polars from the same points: both must say the same."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import polars as pl

from cellherd.errors import CellherdError
from dashboards.answering import Shown, answer
from dashboards.datasets import Bucket, Dataset
from dashboards.points import Points

CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Server:
    """An InfluxDB that answers InfluxQL, and the names of the two databases there."""

    url: str
    databases: Mapping[Bucket, str]
    token: str = ""

    def ask(self, bucket: Bucket, influxql: str) -> list[dict[str, Any]]:
        """The answer's series. Raises CellherdError with what the server has against the question."""
        address = f"{self.url}/query?{urlencode({'db': self.databases[bucket], 'epoch': 'ms'})}"
        if not address.startswith(("http://", "https://")):
            raise CellherdError(f"{self.url} is no address of an InfluxDB; write it as http://127.0.0.1:8086")
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        request = Request(address, urlencode({"q": influxql}).encode(), headers)  # noqa: S310 - http and https only, see above
        try:
            with urlopen(request, timeout=60) as reply:  # noqa: S310 - as above
                said = json.load(reply)
        except HTTPError as error:
            with error:
                said = error.read().decode(errors="replace").strip()[:300]
            raise CellherdError(f"InfluxDB at {self.url} refuses {influxql!r}: {said}") from None
        except (URLError, OSError, ValueError) as error:
            raise CellherdError(f"InfluxDB at {self.url} does not answer: {error}") from None
        result = said["results"][0]
        if "error" in result:
            raise CellherdError(f"InfluxDB refuses {influxql!r}: {result['error']}")
        return list(result.get("series", []))


def table(dataset: Dataset, series: list[dict[str, Any]]) -> pl.DataFrame:
    """InfluxDB's answer as one table: `ts`, tags and columns, without rows that say nothing.

    A count of a field that no row has is null there, and 0 here.
    """
    rows = [
        {**one.get("tags", {}), **dict(zip(["ts", *one["columns"][1:]], values, strict=True))}
        for one in series
        for values in one["values"]
    ]
    if not rows:
        return pl.DataFrame()
    counts = [c.name for c in dataset.ask.columns if c.how == "count"]
    frame = pl.from_dicts(rows, infer_schema_length=None).with_columns(pl.col(counts).fill_null(0))
    values = [name for name in frame.columns if name not in {"ts", *dataset.ask.by}]
    seen = [pl.col(n) > 0 if n in counts else pl.col(n).is_not_null() for n in values]
    return frame.filter(pl.any_horizontal(seen))


def faults(dataset: Dataset, server: Server, points: Points | None, shown: Shown) -> Iterator[str]:
    """What is wrong with a data set's answer, in words; nothing where all is well."""
    try:
        told = table(dataset, server.ask(dataset.bucket, shown.filled(dataset.influxql)))
    except CellherdError as error:
        yield str(error)
        return
    if told.is_empty():
        yield from () if dataset.may_be_empty else ("no rows",)
        return
    wanted = {c.name for c in dataset.ask.columns if not c.field.startswith("/")}
    if absent := sorted(wanted - set(told.columns)):
        yield f"no column {', '.join(absent)}"
    yield from _implausible(dataset, told)
    if points is not None:
        yield from differences(dataset, told, answer(dataset.ask, points, shown))


def _implausible(dataset: Dataset, told: pl.DataFrame) -> Iterator[str]:
    for name, (low, high) in dataset.within.items():
        values = [value for value in told[name].to_list() if value is not None] if name in told.columns else []
        wrong = [value for value in values if not isinstance(value, int | float) or not low <= value <= high]
        if wrong:
            yield f"{name} = {wrong[0]!r}, which is not between {low:g} and {high:g}"


def differences(dataset: Dataset, influx: pl.DataFrame, polars: pl.DataFrame) -> Iterator[str]:
    """Where the two forms of a question disagree."""
    if influx.height != polars.height:
        yield f"InfluxQL gives {influx.height} rows, Polars {polars.height}"
        return
    names = [name for name in influx.columns if name != "ts" and name in polars.columns]
    mine, theirs = (_sorted(frame, dataset, names) for frame in (polars, influx))
    for at, (left, right) in enumerate(zip(mine, theirs, strict=True)):
        if bad := [name for name in names if not _same(left[name], right[name])]:
            yield f"row {at}: {bad[0]} is {right[bad[0]]!r} by InfluxQL and {left[bad[0]]!r} by Polars"
            return


def _sorted(frame: pl.DataFrame, dataset: Dataset, names: list[str]) -> list[dict[str, Any]]:
    keys = ["ts", *dataset.ask.by] if dataset.ask.every else [*dataset.ask.by]
    order = keys or [name for name in ("ts",) if name in frame.columns]
    rest = [name for name in names if name not in order]
    return frame.sort([*order, *rest], nulls_last=True).to_dicts()


def _same(left: object, right: object) -> bool:
    if isinstance(left, bool | int | float) and isinstance(right, bool | int | float):
        return math.isclose(left, right, rel_tol=CLOSE, abs_tol=CLOSE)
    return left == right
