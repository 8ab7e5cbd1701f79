"""How long will it last, and will it hold until the warranty ends? An interval, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.methods.forecast import Course, life
from pipeline.methods.margin import Standing, health_in, until
from pipeline.methods.regression import Floats

END, BEYOND, FEWEST = 0.80, 3.0, 8
"""Health at the end of life; how many times the observed span a forecast may reach; siblings that it needs."""
YOUNGEST = 0.25
COLUMNS = ("p10", "p50", "p90", "warranty_years", "warranty_left", "at_end_p10", "at_end_p50", "at_end_p90", "p_breach")
UNKNOWN = dict.fromkeys(COLUMNS)


@dataclass(frozen=True, slots=True)
class Terms:
    """A warranty as it stands for one module: health that is promised, and years until it ends."""

    health: float
    years: float


def lives(rows: pl.DataFrame, courses: dict[tuple[str, str], Course], ended: list[Course]) -> pl.DataFrame:
    """A row a module of `leaning` rows that know soh, soh_sigma, age_days, and the warranty's percent, years, cycles
    and mwh: years to 80 % (p10, p50, p90), `why` it is censored, and the standing at the warranty's end.

    `courses` has each module's own age and loss, `ended` those of siblings that have come to 80 %: with eight of
    them the forecast is corrected by what became of them, else it follows from level and slope alone.
    """
    told = [{**{k: row[k] for k in UNIT}, **_life(row, courses.get((row["site"], row["unit"])), ended)}
            for row in rows.to_dicts()]  # fmt: skip
    strings = dict.fromkeys((*UNIT, "why", "by"), pl.String)
    return pl.DataFrame(told, schema={**strings, **dict.fromkeys(COLUMNS, pl.Float64)})


def _life(row: dict[str, float], own: Course | None, ended: list[Course]) -> dict[str, object]:
    """The numbers of one module; null where it cannot be told."""
    if row["soh"] is None or row["shrunk_error"] is None or not np.isfinite([row["shrunk"], row["shrunk_error"]]).all():
        return {**UNKNOWN, "why": "no_trend_yet", "by": None}
    years = max(row["age_days"] / 365, YOUNGEST)
    now = Standing(row["soh"], row["soh_sigma"], row["shrunk"], row["shrunk_error"], years)
    told, by = _quantiles(until(now, END)), "slope"
    corrected = life(own.age, own.loss, 1 - END, ended) if own and len(ended) >= FEWEST else None
    if corrected:
        told, by = [max(0.0, t - own.age[-1]) for t in (corrected.p10, corrected.p50, corrected.p90)], "siblings"  # type: ignore[union-attr] # corrected only where own is
    far = not np.isfinite(told[1]) or told[1] * 365 > BEYOND * row["span_days"]
    few = row["siblings"] < FEWEST and by == "slope"
    why = "no_loss_to_go_by" if not np.isfinite(told[1]) else "too_far_beyond_what_was_seen" if far else None
    why = why or ("too_few_like_modules" if few else None)
    ends = dict.fromkeys(("p10", "p50", "p90")) if why else dict(zip(("p10", "p50", "p90"), told, strict=True))
    return {**UNKNOWN, **ends, **_promised(row, now), "why": why, "by": by}


def _promised(row: dict[str, float], now: Standing) -> dict[str, float]:
    terms = _terms(row)
    if terms is None:
        return {}
    health = health_in(now, terms.years)
    p10, p50, p90 = (float(q) for q in np.quantile(health, [0.1, 0.5, 0.9]))
    breach = float(np.mean((health < terms.health) | (until(now, terms.health) <= terms.years)))
    return dict(zip(COLUMNS[3:], (terms.years, terms.health, p10, p50, p90, breach), strict=True))


def _terms(row: dict[str, float]) -> Terms | None:
    """The first of the warranty's ends at the use so far; None without a warranty, or after its end."""
    if row["percent"] is None:
        return None
    used = {"cycles": row["used_cycles"], "mwh": row["used_mwh"]}
    ends = [(row[f"warranty_{k}"] - u) / (u / row["use_years"]) for k, u in used.items() if row[f"warranty_{k}"] and u]
    ends += [row["term_years"] - row["age_days"] / 365] if row["term_years"] is not None else []
    return Terms(row["percent"] / 100, min(ends)) if ends and min(ends) > 0 else None


def _quantiles(draws: Floats) -> list[float]:
    return [float(np.quantile(draws, q, method="nearest")) for q in (0.1, 0.5, 0.9)]
