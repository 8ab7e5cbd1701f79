"""Where a module stands on its curve must not depend on how many cells it has."""

from __future__ import annotations

import polars as pl

from pipeline.analyses.curve import mean_mv


def test_the_mean_of_many_cells_does_not_overflow_their_column() -> None:
    cells = [f"c{i:02}" for i in range(48)]
    said = pl.DataFrame({name: [3300] for name in (*cells, "cell_min_mv", "cell_max_mv")}).cast(pl.Int16)
    assert said.select(mean_mv(cells)).item() == 3300
