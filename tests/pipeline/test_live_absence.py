"""What the clock tells of silence, by kind, and what a stack tells as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.live.absence import Link, tick
from pipeline.live.events import Event
from pipeline.live.features import Sample
from pipeline.live.profile import Known
from pipeline.live.state import Group, Module, Place

NOW = 1_790_000_000_000
MINUTE = 60_000


def module(name: str, silent_ms: int = 0, driver: str = "jbd", kind: str = "module", **said: Any) -> Module:
    known: dict[str, Any] = dict.fromkeys(Sample._fields)
    known |= {"voltage_mv": 52800, "current_ma": 0, "soc_pm": 500, "lo": 3300, "charge_on": 1, "discharge_on": 1}
    capacity = said.pop("capacity_mah", 100_000)
    last = Sample(**known | {"ts": NOW - silent_ms} | said)
    place = ("barn", "e1", "s1", name)
    return Module(place, f"u{name}", kind, Known(driver, capacity_mah=capacity), last=last, arrival=NOW - silent_ms)


def watch(modules: list[Module], link: Link | None = None, minutes: int = 0) -> list[Event]:
    """Ticks every 5 s for so many minutes; the modules that talk go on talking."""
    groups: dict[Place, Group] = {}
    heard: list[Event] = []
    for now in range(NOW, NOW + minutes * MINUTE + 1, 5000):
        for one in modules:
            if NOW - one.arrival < 5000 or one.arrival > NOW:
                one.arrival = now
        changed, events = tick(modules, groups, {"e1": link or Link(now)}, (now, NOW - 86_400_000))
        groups |= {group.place: group for group in changed}
        heard += events
    return heard


SILENT = 11 * MINUTE
CASES: list[tuple[str, list[Module], Link | None, list[tuple[str, str]]]] = [
    ("all talk", [module("m1"), module("m2")], None, []),
    ("one module of a stack", [module("m1"), module("m2", SILENT)], None, [("module_missing", "m2")]),
    ("the gateway", [module("m1", SILENT), module("m2", SILENT)], None, [("comm_lost_rs485", "")]),
    ("the only module", [module("m1", SILENT, "pylontech_can")], None, [("comm_lost_can", "m1")]),
    ("over the air", [module("m1", SILENT, "victron_venus")], None, [("comm_lost", "m1")]),
    ("it was empty", [module("m1", SILENT, lo=2700, soc_pm=10)], None, [("deep_sleep", "m1")]),
    ("the site, by its last will", [module("m1", SILENT)], Link(NOW - 40_000, online=False),
     [("collector_offline", "")]),
    ("the site, by silence", [module("m1", SILENT)], Link(NOW - 4 * MINUTE), [("collector_offline", "")]),
    ("the bank only", [module("m1"), module("bank", SILENT, kind="bank")], None, [("stack_master_missing", "bank")]),
    ("unlike modules", [module("m1"), module("m2", capacity_mah=74_000)], None, [("mixed_stack_mismatch", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("modules", "link", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_silence_is_told_by_its_kind_and_once(
    modules: list[Module], link: Link | None, expected: list[tuple[str, str]]
) -> None:
    assert [(e.fault, e.place[3]) for e in watch(modules, link) if e.phase == "enter"] == expected


def test_a_module_that_sleeps_is_not_lost() -> None:
    asleep = module("m1", SILENT)
    asleep.slept = NOW - SILENT + 1
    assert watch([asleep]) == []


def test_a_server_that_was_down_itself_waits_before_it_calls_others_silent() -> None:
    assert tick([module("m1", SILENT)], {}, {"e1": Link(NOW)}, (NOW, NOW - 1000))[1] == []


def test_who_talks_again_is_back() -> None:
    lost = module("m1", SILENT)
    groups, events = tick([lost], {}, {"e1": Link(NOW)}, (NOW, 0))
    lost.arrival = NOW + 1000
    _, back = tick([lost], {group.place: group for group in groups}, {"e1": Link(NOW)}, (NOW + 1000, 0))
    assert [event.phase for event in (*events, *back)] == ["enter", "leave"]
    assert events[0].episode == back[0].episode


def test_modules_apart_and_an_open_switch_before_another_voltage() -> None:
    apart = [module("m1", soc_pm=300), module("m2", soc_pm=500)]
    assert [event.fault for event in watch(apart, minutes=24 * 60 + 1)] == ["module_imbalance"]


def test_packs_that_a_station_charges_one_after_the_other_may_be_apart_for_a_day() -> None:
    packs = [module("main", driver="ecoflow", soc_pm=1000), module("extra", driver="ecoflow", soc_pm=200)]
    packs[1].known = Known("ecoflow", capacity_mah=40_000)
    assert watch(packs, minutes=60) == []


def test_stations_and_inverters_are_not_held_against_modules() -> None:
    others = [module(kind, kind=kind, soc_pm=100) for kind in ("station", "inverter", "shunt", "bank")]
    assert watch([module("m1", soc_pm=900), *others], minutes=30) == []
    open_one = module("m2", voltage_mv=51_000, charge_on=0, discharge_on=0)
    events = watch([module("m1"), open_one], minutes=2)
    assert [(event.fault, event.place[3], event.value) for event in events] == [
        ("parallel_reconnect_hazard", "m2", 1800)
    ]
