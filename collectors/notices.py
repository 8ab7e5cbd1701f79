"""What is told of a module beside its readings: who it is, its counters and log, and whether it is stuck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from cellherd.reading import LogEntry, Measured, as_info

FROZEN_AFTER = 20
"""Readings with the very same cells, while current flows, after which a BMS counts as stuck."""
FLOWS_MA = 1000
FLOWS_PM = 20
"""Current that must move some cell's millivolt: 1 A, or 0.02 C where the capacity is known."""
LOG_KEPT = 1000

Notice = tuple[Literal["info", "counter", "log", "gap", "edge"], dict[str, object]]


@dataclass(slots=True)
class Notices:
    """What is known of one module."""

    info: dict[str, object] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    log: dict[LogEntry, None] = field(default_factory=dict)
    same: int = 0
    frozen: bool = False
    cells: tuple[int | None, ...] = ()
    relayed: bool = False
    """Whether a cloud or a bridge stands between: it may repeat old values for hours, cells or none."""

    def of(self, measured: Measured, *, daily: bool = False) -> Iterator[Notice]:
        """Everything that changed; with `daily` also who it is, changed or not."""
        yield from self._identity(measured, daily=daily)
        for name, value in measured.counters.items():
            if self.counters.get(name) != value:
                self.counters[name] = value
                yield "counter", {"name": name, "value": value}
        for entry in measured.log:
            if entry not in self.log:
                self.log[entry] = None
                yield "log", {"device_ts": entry.device_ts, "code": entry.code, "text": entry.text, "hex": entry.hex}
        for old in list(self.log)[: -max(LOG_KEPT, len(measured.log))]:
            del self.log[old]

    def _identity(self, measured: Measured, *, daily: bool) -> Iterator[Notice]:
        before, serial = self.info, self.info.get("serial")
        self.info = {**self.info, **as_info(measured)}
        limits, self.limits = self.limits, {**self.limits, **measured.limits}
        if serial is not None and self.info["serial"] != serial:
            yield "edge", {"code": "identity_changed", "text": f"serial {serial} became {self.info['serial']}"}
        if (daily and self.info) or self.info != before or self.limits != limits:
            yield "info", self.info | ({"limits": self.limits} if self.limits else {})

    def stuck(self, measured: Measured) -> Iterator[Notice]:
        """Said once when a BMS repeats itself while current flows, and once when its cells move again."""
        limit = measured.full_mah * FLOWS_PM // 1000 if measured.full_mah else FLOWS_MA
        flows = abs(measured.current_ma or 0) > limit
        now = measured.cell_mv or (_moving(measured) if self.relayed else ())
        repeats = flows and bool(now) and now == self.cells
        self.cells = now
        self.same = self.same + 1 if repeats else 0
        if self.same >= FROZEN_AFTER and not self.frozen:
            self.frozen = True
            yield "edge", {"code": "data_frozen", "text": f"{self.same} equal readings while current flows"}
        elif self.frozen and not repeats and flows:
            self.frozen = False
            yield "edge", {"code": "data_moving", "text": "readings change again"}


def _moving(measured: Measured) -> tuple[int | None, ...]:
    """What cannot stand still together while current flows, where there are no cells; () if that is not said."""
    if measured.voltage_mv is None or measured.current_ma is None:
        return ()
    more = (measured.soc_pm, measured.remaining_mah, measured.cell_min_mv, measured.cell_max_mv, measured.power_out_w)
    return (measured.voltage_mv, measured.current_ma, *more)
