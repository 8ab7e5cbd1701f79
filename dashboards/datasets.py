"""What the panels ask of InfluxDB, one name a question: InfluxQL, unit and meaning (measurements: design A.6).

InfluxQL runs on InfluxDB 1, 2 (with a DBRP mapping) and 3. `$site`, `$stack` and `$module` are the dashboard's choice;
`$timeFilter` and `$__interval` are Grafana's. `mean` because one pixel stands for many readings.
"""

from __future__ import annotations

from dataclasses import dataclass

from cellherd.reading import CELLS, TEMPS

EVERY = "GROUP BY time($__interval) fill(null)"
SENSORS = ", ".join(f'mean("t{i:02}") / 10 AS "sensor {i + 1}"' for i in range(TEMPS))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A question: its InfluxQL, Grafana's name of the unit, what it means, and whether it answers with a table."""

    name: str
    influxql: str
    unit: str
    meaning: str
    table: bool = False


def _of_module(what: str, measurement: str, how: str = "") -> str:
    chosen = "\"site\" = '$site' AND \"stack\" = '$stack' AND \"module\" = '$module' AND $timeFilter"
    return f'SELECT {what} FROM "{measurement}" WHERE {chosen} {how}'.strip()  # noqa: S608 - our own words; Grafana escapes its variables


def _curve(name: str, what: str, unit: str, meaning: str) -> Dataset:
    return Dataset(name, _of_module(what, "module", EVERY), unit, meaning)


_ALL = (
    _curve(
        "cells", "mean(/^c[0-9][0-9]$/)", "mvolt", "Every cell's voltage. A cell that leaves the bundle is the story."
    ),
    _curve(
        "spread", 'max("cell_spread_mv") AS "spread"', "mvolt", "Highest minus lowest cell, the worst of each moment."
    ),
    _curve(
        "current", 'mean("current_ma") / 1000 AS "current"', "amp", "Current of the module; charging is above zero."
    ),
    _curve("soc", 'mean("soc_pm") / 10 AS "SOC"', "percent", "State of charge as the BMS reports it."),
    # A pattern cannot be divided, so each sensor is named; panels hide those that a module does not have.
    _curve("temperatures", SENSORS, "celsius", "Every sensor that the BMS reads."),
    Dataset(
        "faults",
        _of_module('last("active")', "fault", 'GROUP BY time($__interval), "fault" fill(previous)'),
        "none",
        "Faults that stand, one row each, from entering to leaving.",
    ),
    Dataset(
        "fault_log",
        _of_module('"active", "text", "code", "cell", "value"', "fault", "ORDER BY time DESC LIMIT 200"),
        "none",
        "The last 200 times that a fault came or went; `code` is the maker's own.",
        table=True,
    ),
    Dataset(
        "last_seen",
        _of_module('last("voltage_mv") / 1000 AS "voltage"', "module"),
        "volt",
        "Voltage of the last reading; empty where nothing came in the chosen time.",
    ),
)
DATASETS = {dataset.name: dataset for dataset in _ALL}

CELL_NAMES = {f"mean_c{i:02}": f"cell {i + 1}" for i in range(CELLS)}
"""What InfluxQL calls the columns of a pattern, and what a person does, who counts from 1."""


def choices(tag: str, *above: str) -> str:
    """The question behind a variable: values of a tag, within what is chosen above it."""
    where = " AND ".join(f"\"{name}\" = '${name}'" for name in above)
    return f'SHOW TAG VALUES FROM "module" WITH KEY = "{tag}"' + (f" WHERE {where}" if where else "")
