"""How fast does a module lose capacity, and how sure is that? Weekly medians, a median slope, an honest interval."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from pipeline.analyses.ledger import UNIT
from pipeline.methods.knee import knee
from pipeline.methods.regression import Fit, Floats, better, least_squares, t_quantile
from pipeline.methods.slope import mann_kendall, theil_sen, year_on_year

WEEKS, APART, YEAR = 8, 18.0, 365.0
"""Weeks before a slope is told, days between two of its pairs at least, days of a year."""
WANDERS = 0.0012
"""By which health at a record's end is wrong beside its begin although every week agrees with the next: the current's
offset, marks that move with the seasons. Measured on simulated fleets as what slopes over 63 to 170 days err by beyond
their scatter: so much at a reading a minute, and as much as a week scatters where readings are rarer, for both come of
what flows between them. So it is never less than one week's scatter."""
EXPLAINS = 10.0
"""How much better (BIC) than a line alone temperature and current must explain the weeks to have a say in the interval.
Warmth and time say nearly the same over half a year: what explains nothing makes it wide all the same."""
SEASONS = 104
"""Weeks from which a year is compared with the one before."""
MONTHS = 12
LOOKS_BACK, NEEDED = 48, 16.0
"""Months in which a knee is looked for, and how much better (BIC) than a line it must be: over a whole life a knee is
told only when a tenth of the life lies behind it, and every look is one more chance to be wrong."""
WEEK_YEAR = 52 * 7
TOLD = ("method", "weeks", "span_days", "slope", "error", "lo", "hi", "p", "knee_days", "knee_loss", "unseen")


def weekly(seen: pl.LazyFrame, day: date) -> pl.LazyFrame:
    """(site, unit, at, soh, temp_dc, current_ma): medians of whole weeks back from `day`, `at` days to their middle."""
    back = (pl.lit(day) - pl.col("day")).dt.total_days() // 7
    weeks = seen.filter((pl.col("day") <= day) & (pl.col("method") == "crossings")).group_by(*UNIT, back=back)
    medians = weeks.agg(pl.col("soh", "temp_dc", "current_ma").median())
    return medians.with_columns(at=-7.0 * pl.col("back") - 3).sort(*UNIT, "at").drop("back")


def trends(weeks: pl.DataFrame) -> pl.DataFrame:
    """A row a module of `weekly` that has eight: slope, error, lo, hi, unseen (share a year), p, knee. Anchors: none.

    `unseen` is the part of the error that no scatter shows, and that like modules have alike.
    """
    rows = [
        {**dict(zip(UNIT, key, strict=True)), **_trend(group)}
        for key, group in weeks.group_by(UNIT, maintain_order=True)
        if group.height >= WEEKS
    ]
    kinds = {**dict.fromkeys((*UNIT, "method"), pl.String), "weeks": pl.Int64}
    return pl.DataFrame(rows, schema={**kinds, **dict.fromkeys(TOLD[2:], pl.Float64)} | kinds)


def _trend(weeks: pl.DataFrame) -> dict[str, float | int | str | None]:
    at, soh = weeks["at"].to_numpy(), weeks["soh"].to_numpy()
    bent = bend(at, soh)
    after = at >= bent[0] if bent and np.count_nonzero(at >= bent[0]) >= WEEKS else np.ones(len(at), bool)
    kept = weeks if after.all() else weeks.filter(pl.Series(after))
    slope, lo, hi, alike, method = _slope(at[after], soh[after], kept)
    knee_days, knee_loss = (-bent[0], 1 - bent[1]) if bent else (None, None)
    numbers = (
        len(at),
        at[-1] - at[0] + 7,
        slope,
        (hi - lo) / 3.92,
        lo,
        hi,
        mann_kendall(soh),
        knee_days,
        knee_loss,
        alike,
    )
    return dict(zip(TOLD, (method, *numbers), strict=True))


def _slope(at: Floats, soh: Floats, weeks: pl.DataFrame) -> tuple[float, float, float, float, str]:
    span = float(at[-1] - at[0]) + 7
    if len(at) >= SEASONS:
        slope, lo, hi = year_on_year(at, soh, block=4, year=WEEK_YEAR)
        scale = YEAR / WEEK_YEAR
        return slope * scale, lo * scale, hi * scale, unseen(span), "year_on_year"
    slope = YEAR * theil_sen(at, soh, APART)
    fit = _explained(at, soh, weeks)
    if fit is None:
        return slope, float("nan"), float("nan"), unseen(span), "weekly"
    middle = slope if len(fit.coefficients) == 2 else YEAR * float(fit.coefficients[1])
    alike = unseen(span, (fit.residual / fit.freedom) ** 0.5)
    reach = _reach(fit, alike)
    return slope, min(slope, middle - reach), max(slope, middle + reach), alike, "weekly"


def _reach(fit: Fit, alike: float) -> float:
    """Half of the 95 % interval, share a year: of errors that last for weeks, and of what no scatter shows."""
    scatter = float(fit.covariance[1, 1]) * fit.lasting * YEAR**2
    return t_quantile(0.975, fit.freedom) * float(np.sqrt(scatter + alike**2))


def unseen(span_days: float, scatter: float = 0.0) -> float:
    """Standard error, share a year, of a slope over so many days, of weeks that scatter so, that like modules have
    alike and no scatter shows.
    """
    return max(WANDERS, scatter) * YEAR / span_days


def _explained(at: Floats, soh: Floats, weeks: pl.DataFrame) -> Fit | None:
    """A line, with what temperature and current add where they surely do; what does not vary, or says the same as
    time, adds nothing.
    """
    line = np.column_stack([np.ones_like(at), at])
    temp, amps = (weeks[name].fill_null(strategy="mean").to_numpy() for name in ("temp_dc", "current_ma"))
    more = np.column_stack([line, (temp - 200) / 100, amps / 10_000])
    usable = np.isfinite(more).all() and (more[:, 2:].std(axis=0) > 1e-3).all()
    alone, full = least_squares(line, soh), least_squares(more, soh) if usable and len(at) > len(more.T) + 2 else None
    return full if alone and full and better(alone, full) > EXPLAINS else alone


def bend(at: Floats, soh: Floats) -> tuple[float, float] | None:
    """(days, health) at the knee of the monthly medians of the last four years, where it is beyond doubt."""
    months = np.unique(at // 30.4)[-LOOKS_BACK:]
    if len(months) < MONTHS:
        return None
    x, y = (np.array([np.median(v[at // 30.4 == m]) for m in months]) for v in (at, soh))
    found = knee(x, y, NEEDED)
    return (found.at, float(np.interp(found.at, x, y))) if found and found.accepted else None
