"""What an edge tells beside readings: what a device says of itself, its counters and log, frozen data, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cellherd.faults import brand, catalogue
from pipeline.limits import DAY, MINUTE
from pipeline.live.events import LATE_MS, Event, cuts_of
from pipeline.live.levels import number
from pipeline.live.profile import brand_of, counted_fault, older, profile_of
from pipeline.live.repeats import repeats
from pipeline.live.state import Episode, Module

Row = Mapping[str, Any]
FAILED = ("timeout", "crc")
"""Reasons of a gap that are polls without a good answer."""
BESIDE_MS = 2 * MINUTE
"""An entry of the device's log so near to an episode of ours is that episode."""


def take(module: Module, table: str, row: Row) -> Iterator[Event]:
    """Events of one record; changes `module`."""
    yield from _TAKE[table](module, row)


def _info(module: Module, row: Row) -> Iterator[Event]:
    known = module.known
    said = {
        "model": row["model"], "cells": row["n_cells"], "capacity_mah": row["nominal_mah"], "limits": row["limits"],
    }  # fmt: skip
    module.known = replace(known, **{name: value for name, value in said.items() if value})
    module.firmware = row["firmware"] or module.firmware
    floors = profile_of(module.known).firmware_floor
    name = "".join(module.known.model.lower().split())
    floor = next((least for model, least in floors.items() if model in name), "")
    fault = "firmware_outdated"
    if floor and older(module.firmware, floor):
        if fault not in module.standing:
            evidence = {"firmware": module.firmware, "at_least": floor, "model": module.known.model}
            yield _enter(module, fault, row, evidence)
    elif fault in module.standing:
        yield _leave(module, fault, row)


def _counter(module: Module, row: Row) -> Iterator[Event]:
    """A trip counter that moved by more than the engine saw proves episodes between two polls."""
    name, value, ts = row["name"], row["value"], row["ts"]
    fault = counted_fault(module.known.driver, name)
    before, since = module.counters.get(name, (None, 0))
    module.counters[name] = (value, ts)
    if fault is None or before is None or value <= before:
        return
    seen = sum(since < at <= ts for at in module.entered.get(fault, ()))
    missed = value - before - seen
    if missed <= 0:
        return
    evidence = {"counter": name, "from": before, "to": value, "seen": seen, "missed": missed, "since": since}
    note = _event(module, "note", fault, row, evidence)
    yield note
    yield from repeats(module, note, missed=missed)


def _log(module: Module, row: Row) -> Iterator[Event]:
    """An entry of the device's own log that no episode of ours explains."""
    word = brand(brand_of(module.known.driver)).get("log") if brand_of(module.known.driver) else None
    code = word.values.get(row["code"]) if word else None
    ts = row["device_ts"]
    if code is None or not code.fault or code.released or catalogue()[code.fault].priority == 4:
        return
    if ts is None or not row["ts"] - DAY <= ts <= row["ts"] + MINUTE:
        return  # the device's clock is wrong, or the entry is older than our watch
    episode = module.standing.get(code.fault)
    seen = module.entered.get(code.fault, []) + ([episode.since] if episode else [])
    if any(abs(at - ts) <= BESIDE_MS for at in seen):
        return
    note = _event(module, "note", code.fault, {**row, "ts": ts}, {"log": row["text"], "hex": row["hex"]}, row["code"])
    yield note
    yield from repeats(module, note)


def _edge(module: Module, row: Row) -> Iterator[Event]:
    fault = "data_stale"
    if row["code"] == "data_frozen" and fault not in module.standing:
        yield _enter(module, fault, row, {"text": row["text"]})
    elif row["code"] == "data_moving" and fault in module.standing:
        yield _leave(module, fault, row)


def _gap(module: Module, row: Row) -> Iterator[Event]:
    """Polls without a good answer, against those with one, since the window began."""
    ts = row["ts"]
    if row["reason"] == "sleeping":
        module.slept = max(module.slept, ts)
    begun, good, bad = module.polls
    bad += row["slots"] if row["reason"] in FAILED else 0
    module.polls = (begun or ts, good, bad)
    yield from weigh(module, ts, row)


def weigh(module: Module, ts: int, row: Row | None = None) -> Iterator[Event]:
    """Judge a link when a window of polls is whole: too few good answers, or enough of them again."""
    fault, polls = "comm_degraded", module.polls
    module.polls, share = _weighed(polls, ts)
    if share is None:
        return
    at = row or {"ts": ts, "stream": None, "epoch": None, "seq": None}
    bad = share < number(fault, "good_answers_pm")
    if bad and fault not in module.standing:
        evidence = {"good": polls[1], "bad": polls[2], "from_ts": polls[0], "to_ts": ts}
        yield _enter(module, fault, at, evidence, value=float(share))
    elif not bad and fault in module.standing:
        yield _leave(module, fault, at)


def _weighed(polls: tuple[int, int, int], ts: int) -> tuple[tuple[int, int, int], int | None]:
    begun, good, bad = polls
    whole = ts - begun >= 1000 * number("comm_degraded", "for_s") and good + bad >= number(
        "comm_degraded", "least_polls"
    )
    return ((ts, 0, 0), good * 1000 // (good + bad)) if whole else (polls, None)


def _event(  # noqa: PLR0913, PLR0917 - the code is only a log entry's
    module: Module, phase: Any, fault: str, row: Row, evidence: Mapping[str, Any], code: str | None = None
) -> Event:
    last = module.last
    cuts = cuts_of(fault, last.charge_on if last else None, last.discharge_on if last else None)
    derived = fault in ("data_stale", "comm_degraded", "firmware_outdated")
    episode = module.standing.get(fault)
    identity = (row["stream"], row["epoch"], row["seq"]) if row["stream"] else None
    return Event(
        module.place, module.unit, module.kind, phase, fault, row["ts"], episode.since if episode else row["ts"],
        "derived" if derived else "device", cuts, row.get("arrival_ts", row["ts"]) - row["ts"] > LATE_MS,
        vendor=None if derived else brand_of(module.known.driver) or None, code=code or evidence.get("counter"),
        evidence=evidence, identity=identity,
    )  # fmt: skip


def _enter(module: Module, fault: str, row: Row, evidence: Mapping[str, Any], value: float | None = None) -> Event:
    event = _event(module, "enter", fault, row, evidence)
    module.standing[fault] = Episode(row["ts"], "derived", fault, event.cuts)
    if value is None:
        return event
    return replace(event, value=value, threshold=float(number(fault, "good_answers_pm")), value_unit="0.1 %")


def _leave(module: Module, fault: str, row: Row) -> Event:
    event = _event(module, "leave", fault, row, {"after_ms": row["ts"] - module.standing[fault].since})
    del module.standing[fault]
    return event


_TAKE = {
    "device_info": _info, "device_counter": _counter, "device_log": _log, "edge_event": _edge, "gap": _gap,
}  # fmt: skip
