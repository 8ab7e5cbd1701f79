"""A whole day of a fleet in the archive: weight, compaction, thinning and scans: python -m tests.bench.day

1,000 modules at 5 s are 17.28 million readings. They come in 96 appends in the order of time, as from the ingester, are
compacted, scanned and thinned to one a minute; each step runs in a process of its own, so that its memory is its own.
Every column of the table is filled but for cells and sensors that a pack of 16 has not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from datetime import date
from time import monotonic, process_time
from typing import Any

import numpy as np
import polars as pl
from typer import echo

from pipeline.schema import CELL_COLUMNS, READING, TEMP_COLUMNS
from pipeline.stores.archive import Archive
from pipeline.stores.upkeep import compact, thin

DAY = date(2026, 6, 1)
MIDNIGHT = 1_780_272_000_000
PERIOD_MS, HELPINGS, SPREAD_MV = 5_000, 96, 0.6
CELLS, TEMPS = CELL_COLUMNS[:16], TEMP_COLUMNS[:4]


def readings(modules: int, helping: int, dice: np.random.Generator) -> pl.DataFrame:
    """One helping in the order of time: load that wanders, cells with an ADC's noise around their pack's level."""
    turns = 86_400_000 // PERIOD_MS // HELPINGS
    n = modules * turns
    turn, module = np.divmod(np.arange(n), modules)
    turn += helping * turns
    load = (20_000 * np.sin(turn / 2_000 + module) + dice.normal(0, 400, n)).astype(np.int32)
    level = 3_300 + module % 40 + load // 1_000
    cells = {name: (level + dice.normal(0, SPREAD_MV, n).round()).astype(np.int16) for name in CELLS}
    temps = {name: (250 + module % 30 + turn // 2_000 + i).astype(np.int16) for i, name in enumerate(TEMPS)}
    wide = np.stack(list(cells.values()))
    soc = 500 + 400 * np.sin(turn / 2_000 + module)
    told: dict[str, Any] = {
        "seq": turn * 16 + module % 16 + 1, "ts": MIDNIGHT + turn * PERIOD_MS + module % 5_000,
        "arrival_ts": MIDNIGHT + turn * PERIOD_MS + 5_000 + dice.integers(0, 900, n), "voltage_mv": wide.sum(axis=0),
        "current_ma": load, "soc_pm": soc, "soh_pm": 990, "remaining_mah": soc * 100, "full_mah": 100_000,
        "cycles": 300 + module % 50, "cell_min_mv": wide.min(axis=0), "cell_max_mv": wide.max(axis=0),
        "cell_min_at": wide.argmin(axis=0), "cell_max_at": wide.argmax(axis=0), "temp_min_dc": temps["t00"],
        "temp_max_dc": temps["t03"], "mos_temp_dc": temps["t01"] + 20, "charge_on": 1, "discharge_on": 1,
        "balancing": 0, "power_in_w": 0, "power_out_w": 0,
    }  # fmt: skip
    names = pl.DataFrame({"m": module}).select(
        stream=pl.format("{}", (pl.col("m") // 16).cast(pl.String).str.zfill(32)), epoch=pl.lit("0123456789abcdef"),
        edge=pl.format("pi{}", pl.col("m") // 16), site=pl.format("site{}", pl.col("m") // 16), stack=pl.lit("s1"),
        module=pl.format("m{}", pl.col("m")), unit=pl.format("LFP-{}", pl.col("m")), kind=pl.lit("module"),
        date=pl.lit(DAY), clk=pl.lit("ntp"), driver=pl.lit("jbd"), faults=pl.lit(""),
        raw=pl.lit('{"alarm":"0000","state":"03"}'), extra=pl.lit('{"heater":0}'),
    )  # fmt: skip
    numbers = {**told, **cells, **temps}
    columns = {name: pl.lit(value) if np.isscalar(value) else pl.Series(value) for name, value in numbers.items()}
    frame = names.with_columns(**columns)
    absent = [pl.lit(None, kind).alias(name) for name, kind in READING.items() if name not in frame.columns]
    return frame.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in READING.items())


def fill(archive: Archive, modules: int) -> int:
    dice, rows = np.random.default_rng(7), 0
    for helping in range(HELPINGS):
        frame = readings(modules, helping, dice)
        archive.append("reading", frame, app_id="bench", version=helping + 1)
        rows += frame.height
    return rows


def spread(archive: Archive, _modules: int) -> int:
    """Spread and extremes of each module over 16 cells."""
    cells = [pl.col(name) for name in CELLS]
    low, high = pl.min_horizontal(cells), pl.max_horizontal(cells)
    wide = archive.scan("reading", (DAY, DAY)).select("unit", low=low, high=high, width=high - low)
    asked = wide.group_by("unit").agg(pl.min("low"), pl.max("high"), mean=pl.mean("width"), widest=pl.max("width"))
    return asked.collect(engine="streaming").height


def deviation(archive: Archive, _modules: int) -> int:
    """Mean deviation of each cell from its pack's mean."""
    mean = sum(pl.col(name).cast(pl.Int32) for name in CELLS) / len(CELLS)
    apart = archive.scan("reading", (DAY, DAY)).select("unit", *(pl.col(name) - mean for name in CELLS))
    return apart.group_by("unit").agg(pl.all().mean()).collect(engine="streaming").height


STEPS = {
    "fill": fill,
    "compact": lambda archive, _: compact(archive, "reading", DAY),
    "spread": spread,
    "deviation": deviation,
    "thin": lambda archive, _: thin(archive, DAY),
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--modules", type=int, default=1000)
    asked.add_argument("--step")
    asked.add_argument("--uri")
    told = asked.parse_args()
    if told.step:
        print(json.dumps(measured(Archive(told.uri), told.step, told.modules)))
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(f"{folder}/archive")
        for step in STEPS:
            command = [
                sys.executable,
                "-m",
                "tests.bench.day",
                "--step",
                step,
                "--uri",
                archive.uri,
                "--modules",
                str(told.modules),
            ]
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(run.stdout)
            table = "reading_60s" if step == "thin" else "reading"
            rows = archive.scan(table).select(pl.len()).collect().item()
            each = sum(archive.sizes(table)) / rows
            echo(f"{step:10} {figures['wall']:6.1f} s  CPU {figures['cpu']:6.1f} s  {figures['mb']:5.0f} MB  "
                 f"{rows} rows of {table}, {each:.2f} B each")  # fmt: skip


def measured(archive: Archive, step: str, modules: int) -> dict[str, float]:
    begin, spent = monotonic(), process_time()
    STEPS[step](archive, modules)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": monotonic() - begin, "cpu": process_time() - spent, "mb": most}


if __name__ == "__main__":
    main()
