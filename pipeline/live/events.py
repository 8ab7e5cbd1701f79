"""Events as the archive keeps them (design A.4), with ids that a second telling cannot change, and their evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

import polars as pl

from cellherd.faults import catalogue
from pipeline.limits import HOUR, MINUTE
from pipeline.live.features import Sample
from pipeline.live.state import Place
from pipeline.schema import EVENT

Phase = Literal["enter", "leave", "note"]
LATE_MS = HOUR
"""What arrives longer than this after it happened is history: an event, but nobody is told (guarantee G11)."""
LOOK_BACK_MS = 10 * MINUTE
CLASS = {
    "cell_voltage": "voltage", "pack_voltage": "voltage", "soc": "voltage", "temperature": "temperature",
    "current": "current", "balance": "spread", "comm": "communication", "stack": "spread", "config": "communication",
}  # fmt: skip
"""The five causes of a lockout, by the fault's category; what fits none is told by the numbers."""


@dataclass(frozen=True, slots=True)
class Event:
    """A fault that enters or leaves, or a note about one. `ts` is when it began or ended, not when it was certain."""

    place: Place
    unit: str
    kind: str
    phase: Phase
    fault: str
    ts: int
    since: int
    origin: str
    cuts: str
    late: bool = False
    vendor: str | None = None
    interface: str | None = None
    code: str | None = None
    cell: int | None = None
    value: float | None = None
    threshold: float | None = None
    value_unit: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    identity: tuple[str, str, int] | None = None

    @property
    def episode(self) -> str:
        """The same for the enter, the leave and the notes of one episode."""
        return _name(self.place, self.fault, "episode", self.since)

    @property
    def event_id(self) -> str:
        """The same whenever and by whomever the event is found again, live or in a replay."""
        code = f"{self.phase}|{self.code}" if self.phase == "note" else self.phase
        return _name(self.place, self.fault, code, self.ts)

    @property
    def alerts(self) -> bool:
        """Whether a person may be told: neither history nor a benign state."""
        return not self.late and catalogue()[self.fault].priority < 4

    def row(self) -> dict[str, Any]:
        """The archive's columns."""
        site, edge, stack, module = self.place
        fault = catalogue()[self.fault]
        stream, epoch, seq = self.identity or (None, None, None)
        evidence = {**self.evidence, **({"late": True} if self.late else {})}
        return {
            "event_id": self.event_id, "edge": edge, "site": site, "stack": stack or None, "module": module or None,
            "unit": self.unit or None, "kind": self.kind, "date": datetime.fromtimestamp(self.ts / 1000, UTC).date(),
            "ts": self.ts, "phase": self.phase, "episode": self.episode, "fault": self.fault,
            "severity": fault.severity, "priority": fault.priority, "cuts": self.cuts, "origin": self.origin,
            "vendor": self.vendor, "interface": self.interface, "code": self.code, "cell": self.cell,
            "value": self.value, "threshold": self.threshold, "value_unit": self.value_unit,
            "evidence": json.dumps(evidence, separators=(",", ":"), sort_keys=True), "stream": stream, "epoch": epoch,
            "seq": seq,
        }  # fmt: skip


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of events as a table of the archive."""
    return pl.DataFrame(rows, schema=EVENT, orient="row")


def cuts_of(fault: str, charge_on: int | None, discharge_on: int | None) -> str:
    """Which path a fault cuts: by the device's own path flags where one is off, else as the catalogue says."""
    usual = catalogue()[fault].cuts
    if usual == "none":
        return usual
    off = {"charge": charge_on == 0, "discharge": discharge_on == 0}
    if all(off.values()):
        return "both"
    return next((side for side, is_off in off.items() if is_off), usual)


def cause_of(fault: str, sample: Sample) -> str:
    """The class of cause of a lockout: by its category, else by the numbers just before."""
    if known := CLASS.get(catalogue()[fault].category):
        return known
    if (sample.tmin is not None and sample.tmin <= 0) or (sample.tmax is not None and sample.tmax >= 450):
        return "temperature"
    if sample.spread is not None and sample.spread >= 100:
        return "spread"
    return "voltage" if sample.lo is not None and not 2600 < sample.lo < 3600 else "unknown"


def numbers_of(sample: Sample, cells: list[int | None], temps: list[int | None]) -> dict[str, Any]:
    """What the reading said, for the evidence: only what the device says, without what follows from it."""
    names = ("voltage_mv", "current_ma", "soc_pm", "lo", "hi", "spread", "tmin", "tmax", "charge_on", "discharge_on")
    told = {name: value for name in names if (value := getattr(sample, name)) is not None}
    return told | ({"cell_mv": cells} if cells else {}) | ({"temp_dc": temps} if temps else {})


def window(since: int, upto: int) -> dict[str, Any]:
    """Where in the archive the readings around an event stand: ten minutes before until it was certain."""
    return {"table": "reading", "from_ts": since - LOOK_BACK_MS, "to_ts": upto}


def _name(place: Place, fault: str, what: str, ts: int) -> str:
    site, _edge, stack, module = place
    return sha256("|".join((site, stack, module, fault, what, str(ts))).encode()).hexdigest()[:32]
