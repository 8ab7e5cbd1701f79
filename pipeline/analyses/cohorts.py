"""Who can a module fairly be compared with? Same model, age and climate; where these are too few, a wider circle."""

from __future__ import annotations

import polars as pl

from pipeline.limits import Cohorts

CIRCLES = (("model", "age", "climate"), ("model", "age"), ("model",), ("chemistry",), ())
"""From the closest to everybody."""


def cohorts(units: pl.LazyFrame, limits: Cohorts) -> pl.LazyFrame:
    """The units (site, unit, model, age_days, temp_dc, chemistry) with `cohort`, the name of the closest circle of at
    least `least` modules, its size `cohort_n`, and all the `circles` that it lies in.

    What is not known of a module counts as one value of its own.
    """
    ages = limits.age_days
    climate = pl.when(pl.col("temp_dc") < 100).then(pl.lit("cold")).when(pl.col("temp_dc") > 250).then(pl.lit("warm"))
    placed = units.with_columns(
        pl.col("model", "chemistry").fill_null("?"),
        age=_age(ages),
        climate=climate.otherwise(pl.lit("mild")),
    )
    named = placed.with_columns(_name(circle).alias(f"in_{n}") for n, circle in enumerate(CIRCLES))
    sized = named.with_columns(pl.len().over(f"in_{n}").alias(f"of_{n}") for n in range(len(CIRCLES)))
    fits = [(pl.col(f"of_{n}") >= limits.least, n) for n in range(len(CIRCLES) - 1)]
    last = len(CIRCLES) - 1
    cohort = pl.coalesce(*(pl.when(fit).then(f"in_{n}") for fit, n in fits), f"in_{last}")
    size = pl.coalesce(*(pl.when(fit).then(f"of_{n}") for fit, n in fits), f"of_{last}")
    circles = pl.concat_list(f"in_{n}" for n in range(len(CIRCLES)))
    return sized.with_columns(cohort=cohort, cohort_n=size, circles=circles).select(
        [*units.collect_schema().names(), "cohort", "cohort_n", "circles"]
    )


def _name(circle: tuple[str, ...]) -> pl.Expr:
    parts = [pl.concat_str(pl.lit(f"{name}="), pl.col(name)) for name in circle]
    return pl.concat_str(parts, separator=" ") if parts else pl.lit("all")


def _age(edges: tuple[int, ...]) -> pl.Expr:
    """In how many of the edges (days) the module's age lies beyond."""
    beyond = pl.sum_horizontal((pl.col("age_days") > days).cast(pl.Int32) for days in edges)
    return pl.when(pl.col("age_days").is_not_null()).then(beyond.cast(pl.String)).otherwise(pl.lit("?"))
