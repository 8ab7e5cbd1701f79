"""A module's faults through one run of readings: what enters after its hold time, what leaves after its own."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import lru_cache

from cellherd.faults import UNKNOWN, catalogue
from pipeline.limits import MINUTE
from pipeline.live.events import LATE_MS, Event, cause_of, cuts_of, numbers_of, window
from pipeline.live.features import Run, Sample
from pipeline.live.levels import JUMP, SEEN_TWICE, Level, levels
from pipeline.live.profile import Profile, brand_of, interface_of
from pipeline.live.state import Episode, Module, Waiting

GONE_MS = MINUTE
"""A device's flag that is gone for less is the same episode."""
CELL = {
    "cell_overvoltage_warning": ("hi", "hi_at", "ov_trip_mv"),
    "cell_overvoltage_protection": ("hi", "hi_at", "ov_trip_mv"),
    "cell_undervoltage_warning": ("lo", "lo_at", "uv_trip_mv"),
    "cell_undervoltage_protection": ("lo", "lo_at", "uv_trip_mv"),
    "cell_extreme_voltage_lockout": ("worst", "far_at", ""),
    "cell_imbalance_warning": ("spread", "far_at", "imbalance_trip_mv"),
    "cell_imbalance_protection": ("spread", "far_at", ""),
    "cell_group_failing": ("off", "far_at", "failing_trip_mv"),
    "sense_wire_fault": ("lo", "lo_at", ""),
    "pack_overvoltage_warning": ("voltage_mv", "", "pack_high_trip_mv"),
    "pack_overvoltage_protection": ("voltage_mv", "", "pack_high_trip_mv"),
    "pack_undervoltage_warning": ("voltage_mv", "", "pack_low_trip_mv"),
    "pack_undervoltage_protection": ("voltage_mv", "", "pack_low_trip_mv"),
}
"""Of a fault that the device reports: the sample's value and cell, and the profile's limit."""
OTHER = {
    "charge_overcurrent": ("current_ma", "mA", "charge_ma"),
    "discharge_overcurrent": ("current_ma", "mA", "discharge_ma"),
    "charge_overtemperature": ("tmax", "0.1 degC", "hot_charge_trip_dc"),
    "discharge_overtemperature": ("tmax", "0.1 degC", "hot_trip_dc"),
    "charge_undertemperature": ("tmin", "0.1 degC", "cold_trip_dc"),
    "discharge_undertemperature": ("tmin", "0.1 degC", ""),
    "low_soc": ("soc_pm", "0.1 %", ""),
}
"""The same by the beginning of the fault's name."""
FALSE_TRIP_PM = 500
EXPLAINED = {"afe_fault": "cell_extreme_voltage_lockout"}
"""What does not enter while the other stands: cells that sank below their limit and on to 0 V are read rightly."""


def hold_faults(
    module: Module, run: Run, profile: Profile, *, hole: bool, kept: AbstractSet[str] = frozenset()
) -> Iterator[Event]:
    """Enter and leave events of a run; changes `module`. After a hole in the readings every hold begins anew.

    Faults in `kept` stand by a rule that looks farther back than one reading.
    """
    if hole:
        module.waiting.clear()
        module.clearing.clear()
    device = device_faults(run.faults)
    tripped = _tripped(run.trip)
    wanted = device if not tripped else device | tripped.keys()
    for fault in [name for name in module.waiting if name not in wanted]:
        del module.waiting[fault]
    for fault in sorted(wanted - module.standing.keys()) if wanted else ():
        if fault not in device and EXPLAINED.get(fault) in module.standing:
            continue
        yield from _rise(module, run, profile, fault, tripped.get(fault) if fault not in device else None)
    if module.standing:
        yield from _fall(module, run, device, kept)


@lru_cache(4096)
def device_faults(text: str | None) -> frozenset[str]:
    """What the device says stands; an id that the catalogue does not know is a code without meaning."""
    return frozenset(name if name in catalogue() else UNKNOWN for name in (text or "").split())


@lru_cache(65536)
def _tripped(mask: int) -> dict[str, Level]:
    found = (level for i, level in enumerate(levels()) if mask >> i & 1)
    return {level.fault: level for level in found if level.fault != JUMP}


@lru_cache(65536)
def _cleared(mask: int) -> frozenset[str]:
    return frozenset(level.fault for i, level in enumerate(levels()) if mask >> i & 1)


@lru_cache(4096)
def _release_ms(fault: str) -> int:
    return next((level.release_ms for level in levels() if level.fault == fault), GONE_MS)


def hold_of_flag(fault: str) -> int:
    """A protection counts at once; a mere warning must be said by two readings."""
    return SEEN_TWICE if catalogue()[fault].severity in ("warning", "info") else 0


def _rise(module: Module, run: Run, profile: Profile, fault: str, level: Level | None) -> Iterator[Event]:
    began = module.waiting.get(fault)
    if began is None:
        late = run.arrival - run.first.ts > LATE_MS
        began = Waiting(run.first.ts, run.first, run.cells, run.temps, level is None, late, run.identity)
    if run.last.ts - began.since < (level.hold_ms if level else hold_of_flag(fault)):
        module.waiting[fault] = began
        return
    module.waiting.pop(fault, None)
    yield entered(module, profile, fault, began, level, until=run.last.ts)


def entered(  # noqa: PLR0913 - what stood how long, and by which rule
    module: Module, profile: Profile, fault: str, began: Waiting, level: Level | None, *, until: int = 0
) -> Event:
    """Let a fault enter: it stands from now on."""
    sample = began.sample
    value, limit, unit, cell = (
        _level_numbers(sample, profile, level) if level else _flag_numbers(sample, profile, fault)
    )
    cuts = cuts_of(fault, sample.charge_on, sample.discharge_on)
    origin = "device" if began.device else "derived"
    module.standing[fault] = Episode(began.since, origin, fault, cuts, cell, began.late)
    module.clearing.pop(fault, None)
    evidence = window(began.since, max(until, began.since)) | {"numbers": numbers_of(sample, began.cells, began.temps)}
    if catalogue()[fault].severity in ("protection", "lockout"):
        evidence["cause"] = cause_of(fault, sample)
    if "overcurrent_protection" in fault and value is not None and limit:
        evidence["false_trip"] = abs(value) * 1000 < limit * FALSE_TRIP_PM
    return Event(
        module.place, module.unit, module.kind, "enter", fault, began.since, began.since, origin, cuts, began.late,
        vendor=brand_of(module.known.driver) or None if began.device else None,
        interface=(interface_of(module.known.driver) or None) if began.device else None, code=None, cell=cell,
        value=value, threshold=limit, value_unit=unit if value is not None else None, evidence=evidence,
        identity=began.identity,
    )  # fmt: skip


def _level_numbers(
    sample: Sample, profile: Profile, level: Level
) -> tuple[float | None, float | None, str, int | None]:
    value = getattr(sample, level.value) if level.value else None
    name = level.limit
    limit = _limit(profile, name) if name.startswith("p_") else getattr(sample, name) if name else None
    return value, limit, level.unit, getattr(sample, level.cell) if level.cell else None


def _limit(profile: Profile, name: str) -> float | None:
    bare = name.removeprefix("p_")
    return next(
        (getattr(profile, one) or None for one in (bare, f"{bare}_mv", f"{bare}_dc") if hasattr(profile, one)), None
    )


def _flag_numbers(sample: Sample, profile: Profile, fault: str) -> tuple[float | None, float | None, str, int | None]:
    if fault in CELL:
        value, cell, limit = CELL[fault]
        at = getattr(sample, cell) if cell else None
        return getattr(sample, value), (getattr(profile, limit) or None) if limit else None, "mV", at
    for begin, (value, unit, limit) in OTHER.items():
        if fault.startswith(begin):
            return getattr(sample, value), (getattr(profile, limit) or None) if limit else None, unit, None
    return None, None, "", None


def _fall(module: Module, run: Run, device: frozenset[str], kept: AbstractSet[str]) -> Iterator[Event]:
    cleared = _cleared(run.clear)
    for fault, episode in list(module.standing.items()):
        if episode.origin == "device":
            gone = run.faults is not None and fault not in device
        elif fault in _OWN_END:
            continue
        else:
            gone = fault in cleared and fault not in device
        if not gone or fault in kept:
            module.clearing.pop(fault, None)
            continue
        since = module.clearing.setdefault(fault, run.first.ts)
        if run.last.ts - since >= (_release_ms(fault) if episode.origin == "derived" else GONE_MS):
            yield left(module, fault, since, run)


_OWN_END = frozenset({
    "soc_stuck", "early_charge_cutoff", "top_of_charge_drift", "cell_capacity_mismatch", "cell_reading_erratic",
    "repeat_lockout", "firmware_outdated", "data_stale", "comm_degraded", "module_missing", "comm_lost", "deep_sleep",
    "comm_lost_can", "comm_lost_rs485", "parallel_reconnect_hazard",
})  # fmt: skip
"""Derived faults that leave by a rule of their own, not by a level."""


def left(module: Module, fault: str, ts: int, run: Run | None, **evidence: object) -> Event:
    """Let a fault leave."""
    episode = module.standing.pop(fault)
    module.clearing.pop(fault, None)
    module.left[fault] = ts
    late = run is not None and run.arrival - ts > LATE_MS
    numbers = numbers_of(run.last, [], []) if run else {}
    reset = {"release": "probable_manual_reset"} if any(abs(at - ts) <= GONE_MS for at in module.resets) else {}
    told = {"after_ms": ts - episode.since, "numbers": numbers} | reset | evidence
    identity = run.identity if run else None
    return Event(
        module.place, module.unit, module.kind, "leave", fault, ts, episode.since, episode.origin, episode.cuts, late,
        cell=episode.cell, evidence=told, identity=identity,
    )  # fmt: skip
