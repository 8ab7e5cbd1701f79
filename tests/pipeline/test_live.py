"""The live engine, scenario by scenario: the right fault, side and cell, and silence where it is due."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cellherd.faults import catalogue
from pipeline.limits import HOUR
from pipeline.live import engine
from pipeline.live.events import Event
from pipeline.live.features import Run
from pipeline.live.levels import JUMP, levels
from pipeline.live.profile import Profile
from pipeline.live.state import Episode, Module
from tests.pipeline.fleets import frame
from tests.pipeline.scenes import Play, flag_steps, play, rows, scenes, telemetry_ids

DERIVED = scenes("derived.toml")


def told(event: Event) -> list[Any]:
    return [event.phase, event.fault, event.cuts, -1 if event.cell is None else event.cell]


@pytest.mark.parametrize("name", sorted(DERIVED))
def test_the_engine_sees_what_is_there_and_nothing_else(name: str) -> None:
    scene = DERIVED[name]
    events = play(scene).events
    expected, also = scene.get("expect", []), scene.get("also", [])
    heard = [told(event) for event in events if catalogue()[event.fault].priority < 4 or expected]
    assert [one for one in heard if one[1] not in also] == expected


CUT = {"cell_group_failing": 7, "a_cell_of_ecoflow_has_failed_after_three_balance_sessions": 13,
       "repeat_lockout": 5, "early_charge_cutoff": 37, "overheating_without_load": 40,
       "soc_stuck": 50, "cell_reading_erratic": 50, "temperature_sensor_frozen_as_the_warmest": 100,
       "charge_undertemperature_protection": 3}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CUT))
def test_it_makes_no_difference_how_readings_are_cut_into_batches(name: str) -> None:
    whole, cut = play(DERIVED[name]).events, play(DERIVED[name], CUT[name]).events
    assert whole
    assert {event.event_id for event in whole} == {event.event_id for event in cut}


@pytest.mark.parametrize("fault", sorted(telemetry_ids()))
def test_what_a_device_says_enters_and_leaves_with_its_side_and_cell(fault: str) -> None:
    steps, side, cell = flag_steps(fault)
    heard = [told(event) for event in play({"step": steps}).events if event.fault == fault]
    assert heard == [["enter", fault, side, cell], ["leave", fault, side, cell]]


def test_the_side_is_what_the_switches_say() -> None:
    steps = [{"for_s": 60}, {"for_s": 60, "faults": "temperature_sensor_fault", "charge_on": 0}]
    assert [event.cuts for event in play({"step": steps}).events] == ["charge"]


def test_every_rule_has_a_scenario() -> None:
    shown = {one[1] for scene in DERIVED.values() for one in scene.get("expect", [])}
    assert {level.fault for level in levels()} - {JUMP} <= shown


def test_old_readings_make_history_and_no_alert() -> None:
    shown = Play()
    steps = [{"for_s": 60}, {"for_s": 120, "faults": "cell_overvoltage_protection", "charge_on": 0}]
    shown.show(reading=frame({**row, "arrival_ts": row["ts"] + 2 * HOUR} for row in rows(steps)))
    assert [(event.late, event.alerts) for event in shown.events] == [(True, False)]


def test_a_reading_that_comes_late_or_twice_changes_nothing() -> None:
    shown, all_of_it = Play(), list(rows([{"for_s": 300}, {"for_s": 60, "faults": "cell_overvoltage_protection"}]))
    shown.show(reading=frame(all_of_it[20:]))
    before = shown.modules
    shown.show(reading=frame(all_of_it))
    assert shown.late == len(all_of_it)
    assert len(shown.events) == 1
    assert shown.modules == before


def test_a_bad_clock_starts_no_hold_but_hides_no_flag() -> None:
    steps = [{"for_s": 3600, "odd": {"6": -120}, "clk": "bad"}]
    assert play({"step": steps}).events == []
    flagged = [{"for_s": 60, "clk": "bad", "faults": "cell_overvoltage_protection"}]
    assert [event.fault for event in play({"step": flagged}).events] == ["cell_overvoltage_protection"]


def test_a_reset_by_hand_is_noted_and_resets_that_lead_nowhere_are_counted() -> None:
    trip = {"faults": "cell_overvoltage_protection", "charge_on": 0}
    fine = {"faults": "", "charge_on": 1}
    steps = [{"for_s": 60}, {"for_s": 60, **trip}, {"for_s": 120, "silent_s": 90, **fine}, {"for_s": 60, **trip}]
    events = play({"step": steps}).events
    assert [(e.phase, e.fault) for e in events] == [
        ("enter", "cell_overvoltage_protection"), ("note", "cell_overvoltage_protection"),
        ("leave", "cell_overvoltage_protection"), ("enter", "cell_overvoltage_protection"), ("enter", "repeat_lockout"),
    ]  # fmt: skip
    assert events[2].evidence["release"] == "probable_manual_reset"
    assert (events[-1].evidence["resets_24_h"], events[-1].evidence["stop_resetting"]) == (1, True)


def test_a_counter_proves_trips_between_two_polls() -> None:
    count = {"table": "device_counter", "name": "trips_cell_overvoltage"}
    steps = [{"for_s": 60}, {"record": {**count, "value": 4}}, {"for_s": 60}, {"record": {**count, "value": 7}}]
    note, repeat = play({"step": steps}).events
    assert (note.phase, note.fault, note.evidence["missed"]) == ("note", "cell_overvoltage_protection", 3)
    assert (repeat.phase, repeat.fault, repeat.value) == ("enter", "repeat_lockout", 3)


def test_the_log_of_a_device_tells_what_no_poll_saw() -> None:
    entry = {
        "table": "device_log",
        "code": "17",
        "text": "Cell overcharge protection",
        "hex": "00",
        "device_ts": 30_000,
    }
    steps = [{"for_s": 60, "driver": "jk_ble"}, {"record": entry}]
    assert [(e.phase, e.fault, e.code) for e in play({"step": steps}).events] == [
        ("note", "cell_overvoltage_protection", "17")
    ]


def test_a_module_that_the_rules_stumble_over_is_left_as_it_was_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Play()
    steps = list(rows([{"for_s": 60}, {"for_s": 60, "faults": "cell_overvoltage_protection"}]))
    beside = [{**row, "module": "m2", "unit": "u2"} for row in steps]
    shown.show(reading=frame([*steps[:6], *beside[:6]]))
    before, step = shown.modules["barn", "s1", "m1"], engine.step

    def stumbles(module: Module, run: Run, profile: Profile) -> Iterator[Event]:
        module.standing["afe_fault"] = Episode(0, "device", "afe_fault", "both")
        if module.place[3] == "m1":
            raise ZeroDivisionError
        return step(module, run, profile)

    monkeypatch.setattr(engine, "step", stumbles)
    shown.show(reading=frame([*steps[6:], *beside[6:]]))
    assert shown.modules["barn", "s1", "m1"] == before
    assert [(event.place[3], event.fault) for event in shown.events] == [("m2", "cell_overvoltage_protection")]
