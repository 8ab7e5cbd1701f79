"""Outboxes for tests: a clock that is set by hand, readings that can be told apart, and a look at every row."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from cellherd.clock import Quality
from collectors.entries import About, Batch, Entry, Numbered
from collectors.outbox import Outbox

NOW = 1_790_000_000_000
BOOT = "0badcafe"
MIB = 2**20


@dataclass
class HandClock:
    ts: int = NOW
    bt: int = 1_000_000
    boot_name: str = BOOT
    clk: Quality = "ntp"

    def wall(self) -> int:
        return self.ts

    def boot(self) -> int:
        return self.bt

    def boot_id(self) -> str:
        return self.boot_name

    def quality(self) -> Quality:
        return self.clk

    def go(self, ms: int) -> None:
        self.ts += ms
        self.bt += ms


def reading(value: int, module: str = "m1", *, ts: int = NOW, urgent: bool = False) -> Entry:
    """A reading whose voltage tells which one it is."""
    about = About("s1", module, "module", "jbd", "", ts, ts - NOW + 1_000_000, "ntp", BOOT)
    cells = [3300 + (value * 7919 + 31 * i) % 23 for i in range(16)]
    return Entry(
        about, {"voltage_mv": value, "cell_mv": cells, "raw": {"fill": Random(value).randbytes(100).hex()}}, urgent
    )


def record(name: str, module: str = "m1") -> Entry:
    about = About("s1", module, "module", "jbd", "counter", NOW, 1_000_000, "ntp", BOOT)
    return Entry(about, {"name": name, "value": 1}, urgent=True)


def outbox(folder: Path, cap: int = 64 * MIB, clock: HandClock | None = None) -> Outbox:
    return Outbox(folder / "outbox.db", clock or HandClock(), cap)


def seqs(rows: Iterable[Numbered]) -> list[int]:
    return [row.seq for row in rows]


def bodies(box: Outbox, rows: Iterable[Numbered]) -> list[dict[str, Any]]:
    """The bodies of these rows that still wait."""
    return [body for row in rows for _, body in box.read(Batch(row.epoch, (row.seq,), row.about))]


def everything(path: Path) -> Counter[int]:
    """How often each reading stands in the file, by its voltage, receipt or not."""
    db = sqlite3.connect(path)
    try:
        return Counter(json.loads(body)["voltage_mv"] for (body,) in db.execute("select body from row where event=''"))
    finally:
        db.close()
