from __future__ import annotations

import polars as pl

from pipeline.analyses.worklist import worklist
from pipeline.schema import FINDING


def ranked(*rows: tuple[str, str, int, float, float]) -> list[tuple[str, float | None, int | None]]:
    """(unit, score, rank) of findings given as (unit, status, priority, value, confidence); the threshold is 100."""
    names = ("unit", "status", "priority", "value", "confidence")
    said = [dict(zip(names, row, strict=True)) | {"site": "barn", "threshold": 100.0} for row in rows]
    return worklist(pl.LazyFrame(said, schema=FINDING)).select("unit", "score", "rank").collect().rows()


def test_what_must_be_done_now_comes_before_what_is_merely_large() -> None:
    assert ranked(("a", "finding", 3, 200, 1), ("b", "finding", 1, 100, 1), ("c", "finding", 2, 150, 1)) == [
        ("a", 40, 3),
        ("b", 50, 2),
        ("c", 52.5, 1),
    ]


def test_the_surer_finding_comes_first_and_what_is_none_has_no_rank() -> None:
    assert ranked(("a", "finding", 1, 200, 0.5), ("b", "finding", 1, 200, 1), ("c", "ok", 1, 900, 1)) == [
        ("a", 50, 2),
        ("b", 100, 1),
        ("c", None, None),
    ]
