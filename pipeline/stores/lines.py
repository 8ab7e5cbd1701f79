"""InfluxDB's line protocol (design A.6) from frames, as columns and not line by line.

What line protocol would swallow without a word is repaired here: an empty tag would move the point to another series,
so it becomes `-`; a backslash would eat the separator behind it, so it becomes `/`; NaN and infinity are left out, and
so is a line without a field. Names of measurements, tags and fields are ours and are refused unless they are plain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

import polars as pl

from cellherd.faults import catalogue
from cellherd.settings import Site
from pipeline.limits import HOUR
from pipeline.schema import CELL_COLUMNS, MODULE_DAY, PLACE, SCALAR_COLUMNS, TEMP_COLUMNS

_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
_MODULE = ("installer", "site", "stack", "module")
_DAY_NUMBERS = tuple(name for name in MODULE_DAY if name not in (*PLACE, "day", "code_version"))
_EDGE_FIELDS = ("version", "online", "depth", "oldest_ms", "drops", "polls_ok", "polls_bad", "crc_bad")

Sites: TypeAlias = Mapping[str, Site]
"""The registry's sites by id: they tell the installer and the time zone."""


def lines(measurement: str, tags: Sequence[str], frame: pl.DataFrame) -> bytes:
    """One line a row, newline at each end: `tags` as tags, `ts` (UTC ms) as time, every other column as a field.

    Integers become `i`, floats floats, strings strings; null is left out. Raises ValueError for an odd name.
    """
    fields = [name for name in frame.columns if name not in (*tags, "ts") and frame[name].null_count() < len(frame)]
    for name in (measurement, *tags, *fields):
        if not _PLAIN.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a name in line protocol: only a-z, 0-9 and _, a letter first")
    if not fields or frame.is_empty():
        return b""
    shapes = {name: _shape(frame[name]) for name in fields}
    sure = {name: shape for name, shape in shapes.items() if _is_said(frame[name])}
    maybe = [pl.format(f",{form}", text).fill_null("") for name, (form, text) in shapes.items() if name not in sure]
    if not sure:  # then a line may have no field at all, and the first one brings a comma
        said = pl.concat_str(maybe).str.slice(1)
        maybe = [pl.when(said != "").then(said)]
    body = ",".join(form for form, _ in sure.values()) + "{}" * len(maybe)
    told = frame.with_columns(_heads(measurement, sorted(tags), frame).alias(""))
    text = told.select(pl.format(f"{{}} {body} {{}}\n", "", *(text for _, text in sure.values()), *maybe, "ts"))
    return _joined(text.to_series().drop_nulls())


def _joined(texts: pl.Series) -> bytes:
    """One after the other, as the texts of Arrow's older arrays lie in memory; written as CSV they took as long again
    as half of making them.
    """
    if texts.is_empty():
        return b""
    _, _, content = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
    return bytes(content)


def _heads(measurement: str, tags: Sequence[str], frame: pl.DataFrame) -> pl.Series:
    """Measurement and tags of each row; worked out once for each series, of which there are few."""
    if not tags:
        return pl.repeat(measurement, len(frame), eager=True)
    head = pl.concat_str([pl.lit(measurement), *map(_tag, tags)], separator=",")
    known = frame.select(tags).unique().with_columns(head=head)
    return frame.select(tags).join(known, on=tags, how="left", nulls_equal=True, maintain_order="left")["head"]


def _tag(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.replace_all(r"[\\\r\n\t]", "/").str.replace_all(r"([,= ])", r"\$1")
    return pl.concat_str(pl.lit(f"{name}="), pl.when(text != "").then(text).otherwise(pl.lit("-")))


def _shape(values: pl.Series) -> tuple[str, pl.Expr]:
    """`name=value` with a `{}` in it, and the text that belongs there: null where there is no value."""
    name, column = values.name, pl.col(values.name)
    if values.dtype in (pl.Int8, pl.Int16):
        return f"{name}={{}}i", pl.lit(_short_texts()).gather(column)
    if values.dtype in _INTEGERS:
        return f"{name}={{}}i", column.cast(pl.String)
    if values.dtype == pl.String:
        odd = values.str.contains(r'[\\"\r\n]').any()
        text = column.str.replace_all(r'([\\"])', r"\$1").str.replace_all(r"[\r\n]+", " ") if odd else column
        return f'{name}="{{}}"', text
    return f"{name}={{}}", pl.when(column.is_finite()).then(column.cast(pl.Float64)).cast(pl.String)


def _is_said(values: pl.Series) -> bool:
    """Whether each row has a value that can be told."""
    return bool(values.is_finite().all(ignore_nulls=False)) if values.dtype.is_float() else not values.null_count()


@cache
def _short_texts() -> pl.Series:
    """Each 16-bit integer's text at the place it counts to, from the end where it is negative: to look one up takes a
    third of writing it.
    """
    return pl.int_range(2**16, eager=True).cast(pl.UInt16).reinterpret(signed=True).cast(pl.String)


def module_lines(readings: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `module`: scalars, cells, temperatures; minimum, maximum, mean, spread of cells; the warmest."""
    cells = [name for name in CELL_COLUMNS if readings[name].null_count() < len(readings)]
    own = [name for name in SCALAR_COLUMNS if name not in ("cell_min_mv", "cell_max_mv")]
    kept = ("ts", *_MODULE, "kind", *own, *CELL_COLUMNS, *TEMP_COLUMNS, "faults", "clk")
    hot = pl.coalesce(pl.max_horizontal(TEMP_COLUMNS), "temp_max_dc").cast(pl.Int64)
    told = placed(readings, sites).select(*kept, **_of_cells(cells), temp_hot_dc=hot)
    return lines("module", (*_MODULE, "kind"), told)


def _of_cells(cells: list[str]) -> dict[str, pl.Expr]:
    """What the cells show counts; where a device does not show them, what it says of them."""
    said = {name: pl.col(name) for name in ("cell_min_mv", "cell_max_mv")}
    if not cells:
        return said
    wide = [pl.col(name).cast(pl.Int32) for name in cells]  # Polars sums Int16 within 16 bits
    low, high = (extreme(cells).cast(pl.Int32) for extreme in (pl.min_horizontal, pl.max_horizontal))
    return {
        "cell_min_mv": pl.coalesce(low, said["cell_min_mv"]),
        "cell_max_mv": pl.coalesce(high, said["cell_max_mv"]),
        "cell_mean_mv": pl.mean_horizontal(wide),
        "cell_spread_mv": (high - low).cast(pl.Float64),
    }


def fault_lines(events: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `fault` of events: active 1 when a fault enters, 0 when it leaves; notes are not for dashboards."""
    told = events.filter(pl.col("phase").is_in(["enter", "leave"])).with_columns(
        active=(pl.col("phase") == "enter").cast(pl.Int8), text=_title()
    )
    kept = ("ts", *_MODULE, "fault", "active", "priority", "cell", "value", "code", "text")
    return lines("fault", (*_MODULE, "fault"), placed(told, sites).select(kept))


def finding_lines(findings: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `finding`, at noon UTC of its local `day`; the cell is a tag, `-` for a whole module.

    What cannot be told yet has no number, so that no dashboard shows one.
    """
    known = pl.col("status") != "not_observable"
    told = at_noon(findings).with_columns(
        *(pl.when(known).then(pl.col(name)) for name in ("value", "lo", "hi")),
        text=_title(),
        unit=pl.col("value_unit").fill_null(""),
        cell_no=pl.col("cell").cast(pl.Int64) + 1,
    )
    tags = (*_MODULE, "analysis", "pattern", "cell")
    fields = ("status", "text", "priority", "value", "lo", "hi", "threshold", "unit", "confidence", "score", "cell_no")
    return lines("finding", tags, placed(told, sites).select("ts", *tags, *fields))


def module_day_lines(days: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `module_day`: the table's numbers, at noon UTC of the local `day`."""
    frame = placed(at_noon(days), sites)
    return lines("module_day", _MODULE, frame.select("ts", *_MODULE, *_DAY_NUMBERS))


def edge_lines(health: pl.DataFrame, sites: Sites) -> bytes:
    """Measurement `edge` of a frame with ts, site, edge and any of the measurement's fields."""
    fields = [name for name in _EDGE_FIELDS if name in health.columns]
    tags = ("installer", "site", "edge")
    return lines("edge", tags, placed(health, sites).select("ts", *tags, *fields))


def server_lines(counts: pl.DataFrame) -> bytes:
    """Measurement `server`: what our own side counts; integers all, no tag."""
    return lines("server", (), counts)


def placed(frame: pl.DataFrame, sites: Sites) -> pl.DataFrame:
    """The frame with `installer`, who looks after its `site`."""
    installers = {name: site.installer for name, site in sites.items()}
    known = pl.col("site").replace_strict(installers, default=None, return_dtype=pl.String)
    return frame.with_columns(installer=known)


def at_noon(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with `ts`, noon UTC (ms) of its `day`: GROUP BY time(1d) and every calendar then agree."""
    return frame.with_columns(ts=pl.col("day").cast(pl.Datetime("ms")).dt.epoch("ms") + 12 * HOUR)


def _title() -> pl.Expr:
    titles = {name: fault.title for name, fault in catalogue().items()}
    return pl.col("fault").replace_strict(titles, default=pl.col("fault"), return_dtype=pl.String)
