"""The form of a finding: its identity, what the catalogue says of its fault, and numbers instead of prose."""

from __future__ import annotations

import json
from hashlib import sha256
from math import isfinite

import polars as pl

from cellherd.faults import catalogue
from pipeline.schema import FINDING

IDENTITY = ("analysis", "pattern", "unit", "cell", "day")


def finding(frame: pl.LazyFrame, analysis: str) -> pl.LazyFrame:
    """Bring an analysis's answer into the table's columns; severity and priority follow from its `fault`."""
    named = frame.with_columns(analysis=pl.lit(analysis)).drop("severity", "priority", strict=False)
    known = named.join(_meanings(), on="fault", how="left", maintain_order="left")
    have = known.collect_schema()
    return known.select(
        (pl.col(name) if name in have else pl.lit(None)).cast(kind).alias(name) for name, kind in FINDING.items()
    )


def identified(findings: pl.LazyFrame) -> pl.LazyFrame:
    """Give each finding its id, which is the same however often the night is worked through."""
    words = pl.concat_str((pl.col(name).cast(pl.String).fill_null("-") for name in IDENTITY), separator="|")
    return findings.with_columns(finding_id=words.map_elements(_digest, return_dtype=pl.String))


def as_json(value: pl.Expr) -> pl.Expr:
    """A struct, or a list of them, as JSON text without its nulls."""
    return value.map_elements(_dumps, return_dtype=pl.String)


def reason(name: str | pl.Expr, value: pl.Expr, unit: str, threshold: pl.Expr | float | None = None) -> pl.Expr:
    """One reason as pipeline/words.py tells it: an id that reads as words, a number, its unit and its limit."""
    limit = threshold if isinstance(threshold, pl.Expr) else pl.lit(threshold)
    number, beyond = value.cast(pl.Float64), limit.cast(pl.Float64)
    said = pl.lit(name) if isinstance(name, str) else name
    return pl.struct(id=said, value=number, threshold=beyond, value_unit=pl.lit(unit))


def _meanings() -> pl.LazyFrame:
    rows = [(f.id, f.severity, f.priority) for f in catalogue().values()]
    return pl.LazyFrame(rows, schema=["fault", "severity", "priority"], orient="row")


def _digest(words: str) -> str:
    return sha256(words.encode()).hexdigest()[:32]


def _dumps(value: object) -> str:
    return json.dumps(_said(value.to_list() if isinstance(value, pl.Series) else value), separators=(",", ":"))


def _said(value: object) -> object:
    if isinstance(value, dict):
        return {key: said for key, inner in value.items() if (said := _said(inner)) is not None}
    if isinstance(value, list):
        return [_said(inner) for inner in value if inner is not None]
    if isinstance(value, float):
        return (int(value) if value.is_integer() else value) if isfinite(value) else None
    return value
