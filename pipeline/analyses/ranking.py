"""Which modules are unlike others of their kind, and in what? A score from robust distances, with its reasons."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.features import FEATURES, UNIT
from pipeline.analyses.findings import as_json, finding, reason
from pipeline.limits import Cohorts

_BAD = {name: 1.0 if feature.bad == "high" else -1.0 for name, feature in FEATURES.items()}
_FLOOR = {name: feature.floor for name, feature in FEATURES.items()}
_WEIGHT = {name: feature.weight for name, feature in FEATURES.items()}


def distances(features: pl.LazyFrame, units: pl.LazyFrame, limits: Cohorts) -> pl.LazyFrame:
    """Features (site, unit, feature, value) with `middle` (the cohort's median), `z` and `part` of the score (0..1).

    z = (value - median) / max(1.4826 MAD, floor), only towards the bad side; a feature that fewer than `least` modules
    of the cohort have tells nothing.
    """
    values = features.join(units.select(*UNIT, "cohort", "circles"), on=UNIT)
    value = pl.col("value")
    circles = (
        values.explode("circles")
        .group_by(cohort="circles", feature="feature")
        .agg(middle=value.median(), mad=(value - value.median()).abs().median(), n=pl.len())
    )
    rows = values.join(circles, on=["cohort", "feature"]).with_columns(
        bad=_of(_BAD), floor=_of(_FLOOR), weight=_of(_WEIGHT)
    )
    z = pl.col("bad") * (value - pl.col("middle")) / pl.max_horizontal(1.4826 * pl.col("mad"), "floor")
    part = pl.col("weight") * ((pl.col("z") - limits.from_z) / limits.over_z).clip(0.0, 1.0)
    compared = rows.filter((pl.col("n") >= limits.least) & pl.col("weight").is_not_null()).drop("circles")
    return compared.with_columns(z=z).with_columns(part=part)


def ranking(distances: pl.LazyFrame, units: pl.LazyFrame, limits: Cohorts) -> pl.LazyFrame:
    """A finding's row a unit: value = score 0..100 = 100 (1 - prod(1 - part)), with the `told` largest reasons.

    Its status is ok: that a module is unlike others is a reason to look at it first, not a fault. `rank_fleet` and
    `rank_site` stand in the evidence; ties are broken by the larger distance.
    """
    ordered = distances.sort(*UNIT, "part", "z", descending=[False, False, True, True])
    why = reason_of(pl.col("feature"), pl.col("value"), pl.col("middle"))
    scored = ordered.group_by(UNIT, maintain_order=True).agg(
        score=100 * (1 - (1 - pl.col("part")).product()),
        far=pl.col("z").max(),
        whys=why.filter(pl.col("part") > 0).head(limits.told),
        n=pl.len(),
    )
    known = units.join(scored, on=UNIT, how="left").with_columns(
        pl.col("score").fill_null(0.0), pl.col("far").fill_null(0.0), pl.col("n").fill_null(0)
    )
    order = pl.struct(-pl.col("score"), -pl.col("far"), "site", "unit")
    ranked = known.with_columns(rank_fleet=order.rank("ordinal"), rank_site=order.rank("ordinal").over("site"))
    return finding(ranked.sort("rank_fleet").select(*UNIT, **_verdict()), "ranking")


def reason_of(name: pl.Expr, value: pl.Expr, middle: pl.Expr) -> pl.Expr:
    """A reason with the cohort's median as its `threshold`."""
    units = name.replace_strict({n: f.unit for n, f in FEATURES.items()}, default="", return_dtype=pl.String)
    said = reason("", value, "", middle).struct
    return pl.struct(id=name, value=said.field("value"), typical=said.field("threshold"), value_unit=units)


def _of(table: dict[str, float]) -> pl.Expr:
    return pl.col("feature").replace_strict(table, default=None, return_dtype=pl.Float64)


def _verdict() -> dict[str, pl.Expr]:
    seen = pl.col("n") > 0
    return {
        "pattern": pl.lit("cohort"),
        "status": pl.when(seen).then(pl.lit("ok")).otherwise(pl.lit("not_observable")),
        "fault": pl.lit(None, pl.String),
        "value": pl.col("score"),
        "value_unit": pl.lit("%"),
        "confidence": (pl.col("n") / (pl.col("n") + 3)).cast(pl.Float64),
        "score": pl.col("score"),
        "rank": pl.col("rank_site"),
        "reasons": as_json(pl.col("whys").fill_null([])),
        "action": as_json(pl.concat_list(pl.lit(None, pl.String)).list.drop_nulls()),
        "evidence": as_json(
            pl.struct(
                table=pl.lit("module_day cell_day spread_hist finding"),
                cohort="cohort",
                cohort_n="cohort_n",
                features="n",
                rank_fleet="rank_fleet",
                rank_site="rank_site",
            )
        ),
    }
