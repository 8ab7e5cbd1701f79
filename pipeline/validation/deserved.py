"""What a simulated fleet's people should be told, by the simulator's own truth, and what they may be told.

A lockout has to be told, as it began, by its own id or by the repeat lockout that counts it. A planted flaw may show as
the faults below; where a fault is the only right word for a flaw, the flaw has to be told by it. Everything else that
is told is unneeded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl

from pipeline.alerts.hiding import REPEAT
from pipeline.limits import DAY, MINUTE
from pipeline.live.holds import GONE_MS

MOVED_K = 5.0
"""A day's range of temperature in which a sensor that stands still has to show."""
OFF = 0.1
"""So far off the shown state of charge is at a day's worst moment where a fault of it is right."""
SLACK_MS = 20 * MINUTE
"""Between a trip and its message: the batch, the machine's minute, the period."""
SILENT_MS = 15 * MINUTE
"""A silence that has to be told: a module missing (10 min) and its hold (2 min), and a batch's corner."""
APART = (
    "cell_imbalance_warning", "cell_group_failing", "top_of_charge_drift", "cell_capacity_mismatch",
    "early_charge_cutoff", "early_discharge_cutoff", "module_imbalance",
)  # fmt: skip
SILENCE = (
    "comm_lost", "comm_lost_can", "comm_lost_rs485", "comm_degraded", "module_missing", "stack_link_fault",
    "deep_sleep", "collector_offline",
)  # fmt: skip
SHARING = ("module_imbalance", "mixed_stack_mismatch", "parallel_reconnect_hazard", *SILENCE)
SOC = ("soc_drift", "soc_stuck", "soc_jump", "soc_zero", "module_imbalance", "early_charge_cutoff")
TOP = ("top_of_charge_drift", "early_charge_cutoff")
MAY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("low_capacity", "high_resistance", "leak", "imbalance"), APART),
    "balancer_off": (*APART, "balancing_inactive"),
    "wire_jumps": ("cell_reading_erratic", "sense_wire_fault"),
    "soc_drift": SOC,
    "sensor_stuck": ("temperature_sensor_fault", "temperature_spread_protection"),
    **dict.fromkeys(("gaps", "comm_bursts"), SILENCE),
    **dict.fromkeys(("missing_module", "module_mismatch", "mixed_stack", "bad_connection", "reconnect"), SHARING),
    **dict.fromkeys(("charger_high", "deaf", "reset_chain"), TOP),
    "idle_drain": (
        "deep_sleep",
        "low_soc_warning",
        "low_soc_cutoff",
        "early_discharge_cutoff",
        "cell_extreme_voltage_lockout",
    ),
    "cold_garage": (
        "charge_undertemperature_warning",
        "discharge_undertemperature_warning",
        "cell_extreme_voltage_lockout",
    ),
    "hot_room": ("charge_overtemperature_warning", "discharge_overtemperature_warning"),
}
"""Faults that may be told of a module, or of its stack, with this flaw. Lockouts are known by themselves."""
MUST = {
    "sensor_stuck": ("temperature_sensor_fault",),
    "wire_jumps": ("cell_reading_erratic", "sense_wire_fault"),
    "soc_drift": ("soc_drift", "soc_stuck", "soc_jump", "soc_zero"),
    "mixed_stack": ("mixed_stack_mismatch",),
    "comm_bursts": ("comm_degraded",),
    "balancer_off": ("balancing_inactive",),
}
"""Flaws that have to be told live, and by what; other flaws of cells are the nights' to find."""
Where = tuple[str, str]
"""Site and module; module "" = the whole stack."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something that has to be told of a module between two times (UTC ms), by one of these faults; first is its id."""

    where: Where
    begin: int
    end: int
    by: tuple[str, ...]


@dataclass(slots=True)
class Truth:
    """What was so: `lockouts` and `silences` as (begin, end) by place, `flaws` as (kind, since)."""

    lockouts: dict[tuple[Where, str], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    silences: dict[Where, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    flaws: dict[Where, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    warmed: set[Where] = field(default_factory=set)
    misread: set[tuple[Where, int]] = field(default_factory=set)

    def day(self, infos: pl.DataFrame, gaps: pl.DataFrame, truth: Mapping[str, pl.DataFrame]) -> None:
        """Take a day in."""
        self.names |= {(site, unit): name for site, unit, name in infos.select("site", "unit", "module").iter_rows()}
        for site, unit, fault, begin, end in (
            truth["lockout"].select("site", "unit", "fault", "start", "end").iter_rows()
        ):
            self.lockouts[(site, self.names[site, unit]), fault].append((begin, end))
        warmed = truth["module"].filter(pl.col("temp_range_c") >= MOVED_K).select("site", "unit")
        self.warmed |= {(site, self.names[site, unit]) for site, unit in warmed.iter_rows()}
        off = truth["module"].filter(pl.col("soc_off") >= OFF).select("site", "unit", "day")
        self.misread |= {((site, self.names[site, unit]), _midnight(day)) for site, unit, day in off.iter_rows()}
        for site, module, begin, end in gaps.select("site", "module", "from_ts", "to_ts").iter_rows():
            spans = self.silences[site, module]
            if spans and begin <= spans[-1][1]:
                spans[-1] = (spans[-1][0], end)  # over midnight
            else:
                spans.append((begin, end))
        for site, module, kind, onset in truth["flaw"].select("site", "module", "kind", "onset").iter_rows():
            self.flaws[site, module].append((kind, _midnight(onset)))

    def deserved(self, where: Where, fault: str, at: int) -> bool:
        """Whether it was right to tell this at this time."""
        known = self.repeats(where) if fault == REPEAT else self._spans(where, fault)
        if any(begin <= at <= end + SLACK_MS for begin, end in known):
            return True
        site, module = where
        silences = [span for place, spans in self.silences.items() if place[0] == site for span in spans]
        if fault in SILENCE and any(begin <= at <= end + DAY for begin, end in silences):
            return True
        if fault in SOC and any(where == place and day <= at < day + 2 * DAY for place, day in self.misread):
            return True
        alike = [w for w in self.flaws if w[0] == site and (module in {"", w[1]} or fault in SHARING)]
        return any(since <= at and fault in MAY.get(kind, ()) for w in alike for kind, since in self.flaws[w])

    def _spans(self, where: Where, fault: str) -> Sequence[tuple[int, int]]:
        return self.lockouts.get((where, fault), ())

    def repeats(self, where: Where) -> list[tuple[int, int]]:
        """Lockouts that came again by the windows of the catalogue: within 10 min, 3 in 24 h, 5 in 7 days.

        One that is gone for less than a minute is the same (docs/live.md): the BMS tries again by itself.
        """
        found = []
        for (place, _), lockouts in self.lockouts.items():
            if place != where:
                continue
            spans = list(_episodes(lockouts))
            for nth, (begin, end) in enumerate(spans):
                before = spans[:nth]
                day, week = (sum(begin - span < at for at, _ in before) for span in (DAY, 7 * DAY))
                if (before and begin - before[-1][1] <= 10 * MINUTE) or day >= 2 or week >= 4:
                    found.append((begin, end))
        return found

    def due(self, begin: int, end: int) -> Iterator[Due]:
        """All that had to be told and began between two times."""
        for (where, fault), spans in self.lockouts.items():
            yield from (Due(where, a, b, (fault, REPEAT)) for a, b in spans if begin <= a < end)
        for where in {where for where, _ in self.lockouts}:
            yield from (Due(where, a, b, (REPEAT,)) for a, b in self.repeats(where) if begin <= a < end)
        for where, spans in self.silences.items():
            lasting = [(a, b) for a, b in spans if b - a >= SILENT_MS and begin <= a and a + SILENT_MS < end]
            yield from (Due(where, a, b, ("module_missing", "comm_lost", "deep_sleep")) for a, b in lasting)
        for where, flaws in self.flaws.items():
            shown = [kind for kind, since in flaws if kind in MUST and since <= begin]
            yield from (Due(where, begin, end, MUST[kind]) for kind in shown if self._shows(where, kind))

    def _shows(self, where: Where, kind: str) -> bool:
        """A sensor that stands still shows where it became warmer or colder."""
        return kind != "sensor_stuck" or where in self.warmed


def _episodes(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """In order, and those less than a minute apart as one."""
    ordered = sorted(spans)
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(ordered), start=1) if b[0] - a[1] >= GONE_MS)]
    yield from ((ordered[a][0], ordered[b - 1][1]) for a, b in pairwise([*starts, len(ordered)]))


def _midnight(day: object) -> int:
    return round(datetime.fromisoformat(str(day)).replace(tzinfo=UTC).timestamp() * 1000)
