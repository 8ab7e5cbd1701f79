"""What `fleet-module` asks: one module, its cells, faults and verdict."""

from __future__ import annotations

from cellherd.reading import CELLS, TEMPS
from dashboards.asking import INTERVAL, Ask, Column
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import (
    A_NIGHT,
    AMPERES,
    DEGREES,
    MILLIVOLTS,
    MODULE,
    NONE_NEEDED,
    NUMBERS,
    ONE,
    PERCENT,
    STACK,
    URGENCY,
    WORDS,
    curve,
    fault_log,
    latest,
    one,
    raw,
)

CELL_NAMES = {f"mean_c{i:02}": f"cell {i + 1}" for i in range(CELLS)}
"""What InfluxQL calls the columns of a pattern, and what a person does, who counts from 1."""
# By the last mask: the most of each bit needs a question within a question, which took InfluxDB 1.6 six seconds for two
# days of readings every 10 s; this takes 0.06 s.
BALANCED = tuple(Column(f"cell {i + 1}", "bit", "balancing", 1 << i) for i in range(CELLS))
SENSORS = tuple(Column(f"sensor {i + 1}", "mean", f"t{i:02}", 10) for i in range(TEMPS))

ASKED = named(
    Dataset(
        "cells",
        curve(one("cells", "mean", "/^c[0-9][0-9]$/")),
        "mvolt",
        "Every cell's voltage. A cell that leaves the bundle is the story.",
        ONE,
    ),
    Dataset(
        "spread",
        curve(one("spread", "max", "cell_spread_mv")),
        "mvolt",
        "Highest minus lowest cell, the worst of each moment.",
        ONE,
        within={"spread": MILLIVOLTS},
    ),
    Dataset(
        "spread_soc",
        Ask(
            "module",
            (*one("SOC", "mean", "soc_pm", 10), *one("spread", "max", "cell_spread_mv")),
            MODULE,
            every=INTERVAL,
            fill="none",
        ),
        "mvolt",
        "Highest minus lowest cell against the charge at which it was seen. Wide near full: a cell holds more or "
        "less charge than the others; near empty alone: it has less capacity; at every charge while current flows: "
        "resistance.",
        "readings with cell voltages at many states of charge",
        table=True,
        within={"SOC": PERCENT, "spread": MILLIVOLTS},
    ),
    Dataset(
        "balancing",
        curve(BALANCED),
        "none",
        "Cells that the BMS balanced, by the last reading of each moment shown. "
        "Cells that it left alone all the time have no row, but for the first.",
        "a BMS that says which cells it balances",
        within={"cell 1": (0, 1)},
    ),
    Dataset(
        "current",
        curve(one("current", "mean", "current_ma", 1000)),
        "amp",
        "Current of the module; charging is above zero.",
        ONE,
        within={"current": AMPERES},
    ),
    Dataset(
        "soc",
        curve(one("SOC", "mean", "soc_pm", 10)),
        "percent",
        "State of charge as the BMS reports it.",
        ONE,
        within={"SOC": PERCENT},
    ),
    # A pattern cannot be divided, so each sensor is named; panels hide those that a module does not have.
    Dataset(
        "temperatures",
        curve(SENSORS),
        "celsius",
        "Every sensor that the BMS reads.",
        ONE,
        within={"sensor 1": DEGREES},
    ),
    Dataset(
        "faults",
        Ask("fault", one("active", "last", "active"), MODULE, ("fault",), INTERVAL, "previous"),
        "none",
        "Faults that stand, one row each, from entering to leaving.",
        NONE_NEEDED,
        may_be_empty=True,
    ),
    fault_log("fault_log", MODULE),
    Dataset(
        "last_seen",
        Ask("module", one("voltage", "last", "voltage_mv", 1000), MODULE),
        "volt",
        "Voltage of the last reading; empty where nothing came in the chosen time.",
        ONE,
        within={"voltage": (0, 1000)},
    ),
    Dataset(
        "stack_currents",
        curve(one("current", "mean", "current_ma", 1000), STACK, ("module",)),
        "amp",
        "Current of each module of the stack. "
        "Parallel modules share it; one that takes less is weak, or badly connected.",
        ONE,
        within={"current": AMPERES},
    ),
    Dataset(
        "module_verdict",
        latest((Column("urgency", "last", "urgency"), *raw(*WORDS, *NUMBERS)), MODULE),
        "none",
        "What the last night found, in words. Health stands with its 95 % interval.",
        A_NIGHT,
        table=True,
        bucket="nightly",
        within={"urgency": URGENCY},
    ),
)
