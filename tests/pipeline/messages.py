"""Reading messages as an edge packs them, for tests and benches: slow walks of a pack, repeatable by seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from cellherd import topics, wire
from cellherd.wire import Line, Source
from pipeline.journal.entry import Entry

T0 = 1_763_700_000_000
"""2025-11-21 04:40 UTC."""
PERIOD = 5_000
EDGE_OF = 16
"""Modules of one edge."""


def source(number: int = 0, *, clk: str = "ntp", kind: str = "module") -> Source:
    return Source(f"{number // EDGE_OF:032x}", "0123456789abcdef", f"m{number}", kind, "jbd", "01234567", clk)


def message(number: int, turn: int, n: int) -> bytes:
    """The `turn`-th `n` readings of a module: a battery at moderate load, ADC noise of 0.6 mV; seq counts per edge."""
    dice = random.Random(f"{number} {turn}")
    seq, begin = (turn * EDGE_OF + number % EDGE_OF) * n + 1, T0 + turn * n * PERIOD
    rows = [_row(dice, 3300 + number % 40) for _ in range(n)]
    lines = [Line(seq + i, begin + i * PERIOD, 1000 + i * PERIOD, row) for i, row in enumerate(rows)]
    return wire.pack(source(number), lines, sent_ts=begin, sent_bt=1000)


def _row(dice: random.Random, level: int) -> dict[str, object]:
    cells = [level + round(dice.gauss(0, 0.6)) for _ in range(16)]
    return {
        "voltage_mv": sum(cells), "current_ma": 12_000 + 10 * round(dice.gauss(0, 5)), "soc_pm": 700, "soh_pm": 990,
        "remaining_mah": 70_000, "full_mah": 100_000, "cycles": 321, "mos_temp_dc": 251, "charge_on": 1,
        "discharge_on": 1, "balancing": 0, "cell_mv": cells, "temp_dc": [250, 251, 252, 250], "faults": [],
        "raw": {"alarm": "0000", "state": "03"}, "extra": {"heater": 0},
    }  # fmt: skip


def entries(n: int, count: int, modules: int = 200) -> Iterator[Entry]:
    """`count` messages of `n` readings from a fleet, each module in turn."""
    for index in range(count):
        number, turn = index % modules, index // modules
        topic = topics.readings(f"pi{number // EDGE_OF}", "s1", f"m{number}")
        yield Entry(topic, message(number, turn, n), T0 + 86_400_000, "home", f"unit{number}")
