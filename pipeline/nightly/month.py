"""The month behind a night, out of the daily tables: how each cell stands among its neighbours."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import polars as pl

from pipeline.analyses.balanced import balanced
from pipeline.analyses.cell_month import cell_month
from pipeline.analyses.charge_ends import early_ends, idle_balancers
from pipeline.analyses.fillings import fillings
from pipeline.analyses.gaps_of_charge import gaps_of_charge
from pipeline.analyses.ledger import UNIT, ledger
from pipeline.analyses.mismatch import mismatch
from pipeline.analyses.patterns import patterns
from pipeline.chemistry import Chemistry
from pipeline.limits import Limits
from pipeline.nightly.estimates import with_today

if TYPE_CHECKING:
    from pipeline.nightly.store import Store, Tables


def out_of_step(
    store: Store, day: date, tables: Tables, sites: tuple[str, ...], kind: tuple[Limits, Chemistry]
) -> pl.DataFrame:
    """Findings on the cells of modules; `tables` are the day's own. Readings are not looked at again."""
    limits, chemistry = kind
    back = (day, sites, timedelta(days=limits.mismatch.days))
    past = {name: with_today(store, name, tables, back).collect().lazy() for name in
            ("module_day", "cell_day", "crossing", "anchor", "spread_hist")}  # fmt: skip
    modules = tables["module_day"].lazy()
    cells = past["cell_day"].select(*UNIT, "cell").unique()
    passed = fillings(ledger(past["crossing"], past["module_day"]), cells, limits.mismatch).collect().lazy()
    worked = balanced(past["cell_day"], limits.mismatch).collect().lazy()
    gaps = gaps_of_charge(passed, worked, modules.select(*UNIT, "nominal_mah"), limits.mismatch)
    warm = past["module_day"].group_by(UNIT).agg(warmer_k=pl.col("warmer_dc").median() / 10)
    month = cell_month(gaps, worked, past["anchor"], day, limits).join(warm, on=UNIT, how="left")
    judged = patterns(month, limits.mismatch).collect().lazy()
    idle = idle_balancers(judged, past["spread_hist"], limits.mismatch)
    early = early_ends(past["anchor"], limits.mismatch, chemistry)
    return mismatch(judged, idle, early, modules, limits.mismatch).collect()
