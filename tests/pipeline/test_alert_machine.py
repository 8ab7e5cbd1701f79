"""The state machine of alerts: each rule in one story, with a clock by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cellherd.settings_people import Route
from pipeline.alerts.hiding import OFFLINE, PLATFORM, REPEAT
from pipeline.alerts.rules import Rules, rules_of
from pipeline.alerts.state import Action, Silence
from tests.fakes.fleet_by_hand import fleet
from tests.pipeline.herd import HOUR, MINUTE, SECOND, START, Herd, signal

WARNING = "cell_overvoltage_warning"
LOST = "comm_lost_rs485"


def told(herd: Herd) -> list[tuple[str, int]]:
    """Kinds of all turns, and how many members each is about."""
    return [(turn.kind, len(turn.members)) for turn in herd.turns]


def test_a_trouble_is_told_once_and_resolved_after_it_has_been_gone_for_long_enough() -> None:
    herd = Herd()
    herd.enter()
    assert herd.wait(6 * SECOND, SECOND) == ["raised"]
    assert herd.wait(HOUR) == []
    herd.leave()
    assert herd.wait(4 * MINUTE) == []
    assert herd.wait(2 * MINUTE) == ["resolved"]
    assert herd.wait(HOUR) == []


def test_what_returns_while_it_is_clearing_was_never_gone() -> None:
    herd = Herd()
    herd.enter()
    herd.wait(MINUTE)
    herd.leave()
    herd.wait(2 * MINUTE)
    assert herd.enter() + herd.wait(HOUR) == []
    assert herd.one().state == "firing"


def test_a_trip_that_is_over_at_once_is_told_all_the_same() -> None:
    herd = Herd()
    herd.enter()
    herd.leave()
    assert herd.wait(10 * MINUTE) == ["raised", "resolved"]


def test_modules_of_a_site_with_one_cause_are_one_message_and_latecomers_are_told_together() -> None:
    herd = Herd()
    for n in range(4):
        herd.enter(where=f"farm/s1/m{n}")
    herd.enter(where="barn/s1/m1")
    herd.wait(10 * SECOND, SECOND)
    assert sorted(told(herd)) == [("raised", 1), ("raised", 4)]
    herd.enter(where="farm/s1/m7")
    herd.enter(where="farm/s1/m8")
    herd.wait(2 * MINUTE)
    assert told(herd)[2:] == [("again", 2)]


def test_a_module_that_fails_long_after_is_an_alert_of_its_own() -> None:
    herd = Herd()
    herd.enter()
    herd.wait(HOUR)
    herd.enter(where="farm/s1/m2")
    herd.wait(MINUTE)
    assert len({turn.alert.id for turn in herd.turns}) == 2


def test_a_silent_collector_hides_what_is_behind_it_and_a_line_that_stays_lost_is_told_after_it() -> None:
    herd = Herd()
    herd.enter(LOST)
    herd.wait(100 * SECOND)
    herd.enter(OFFLINE, "farm")
    herd.wait(10 * MINUTE)
    assert [turn.alert.family for turn in herd.turns] == [OFFLINE]
    herd.leave(OFFLINE, "farm")
    herd.wait(MINUTE)
    assert [turn.alert.family for turn in herd.turns] == [OFFLINE, LOST]


def test_a_line_that_comes_back_within_its_hold_is_not_told() -> None:
    herd = Herd()
    herd.enter(LOST)
    herd.wait(MINUTE)
    herd.leave(LOST)
    assert herd.wait(HOUR) == []
    assert not [alert for alert in herd.alerts.values() if alert.open]


def test_a_trip_hides_the_warnings_of_its_module_only() -> None:
    herd = Herd()
    herd.step(signal("enter"), signal("enter", WARNING), signal("enter", WARNING, "farm/s1/m2"))
    herd.wait(MINUTE)
    assert sorted((t.alert.family, m.cause.module) for t in herd.turns for m in t.members) == [
        ("cell_overvoltage_protection", "m1"),
        (WARNING, "m2"),
    ]


def test_many_sites_at_once_are_one_outage_of_the_platform_and_those_that_stay_away_are_told_after_it() -> None:
    herd = Herd(Rules(sites=10))
    for n in range(5):
        herd.enter(OFFLINE, f"site{n}")
    herd.wait(10 * MINUTE)
    assert [turn.alert.family for turn in herd.turns] == [PLATFORM]
    for n in range(4):
        herd.leave(OFFLINE, f"site{n}")
    herd.wait(10 * MINUTE)
    assert [(t.alert.family, t.kind, t.alert.site) for t in herd.turns[1:]] == [
        (OFFLINE, "raised", "site4"),
        (PLATFORM, "resolved", ""),
    ]


def test_a_few_sites_one_after_the_other_are_no_outage() -> None:
    herd = Herd(Rules(sites=10))
    for n in range(5):
        herd.enter(OFFLINE, f"site{n}")
        herd.wait(11 * MINUTE)
    assert [turn.alert.family for turn in herd.turns] == [OFFLINE] * 5


def test_what_keeps_coming_is_told_once_as_chattering_and_resolved_when_it_has_been_quiet_for_long() -> None:
    herd = Herd()
    for _ in range(20):
        herd.enter()
        herd.wait(MINUTE)
        herd.leave()
        herd.wait(10 * MINUTE)
    kinds = [turn.kind for turn in herd.turns]
    assert kinds == ["raised", "resolved"] * 6 + ["chattering"]
    assert herd.wait(7 * HOUR) == ["resolved"]


def test_eight_modules_that_trip_together_do_not_chatter() -> None:
    herd = Herd()
    herd.step(*(signal("enter", where=f"farm/s1/m{n}") for n in range(8)))
    assert herd.wait(MINUTE) == ["raised"]


def test_a_repeat_lockout_tells_each_return_even_to_those_who_acknowledged_it() -> None:
    herd = Herd()
    herd.step(signal("enter"), signal("enter", REPEAT))
    herd.wait(MINUTE)
    assert [turn.alert.family for turn in herd.turns] == [REPEAT]
    herd.step(actions=[Action("ack", herd.turns[0].alert.id, "anna")])
    herd.step(signal("note", REPEAT, times_24_h=4))
    herd.wait(2 * MINUTE)
    assert [turn.kind for turn in herd.turns] == ["raised", "changed", "again"]
    assert herd.turns[-1].alert.state == "firing"


def test_a_note_about_what_was_missed_is_told_and_does_not_stand_for_ever() -> None:
    herd = Herd()
    herd.step(signal("note"))
    assert herd.wait(10 * MINUTE) == ["raised", "resolved"]


def chained(**more: Any) -> Rules:
    return Rules(routes=(Route(priority=2, escalate=["ben", "chief"], escalate_after_min=30, **more),))


def test_what_nobody_acknowledges_goes_to_the_next_and_the_one_after() -> None:
    herd = Herd(chained())
    herd.enter()
    herd.wait(2 * HOUR)
    assert [(turn.kind, turn.why) for turn in herd.turns] == [
        ("raised", ""),
        ("escalated", "ben"),
        ("escalated", "chief"),
    ]


@pytest.mark.parametrize("state", ["acked", "snoozed"])
def test_what_somebody_took_on_goes_to_nobody_else(state: str) -> None:
    herd = Herd(chained())
    herd.enter()
    herd.wait(MINUTE)
    choice: Any = "ack" if state == "acked" else "snooze"
    assert herd.step(actions=[Action(choice, herd.one().id, "anna", herd.now + 5 * HOUR)]) == ["changed"]
    assert herd.wait(4 * HOUR) == []
    assert herd.one().state == state
    herd.leave()
    assert herd.wait(10 * MINUTE) == ["resolved"]


def test_a_snooze_ends_and_what_still_stands_is_told_again() -> None:
    herd = Herd()
    herd.enter()
    herd.wait(MINUTE)
    herd.step(actions=[Action("snooze", herd.one().id, "anna", herd.now + HOUR)])
    assert herd.wait(2 * HOUR) == ["again"]
    assert herd.turns[-1].why == "snooze_over"


def test_an_acknowledgement_twice_is_one() -> None:
    herd = Herd()
    herd.enter()
    herd.wait(MINUTE)
    ack = Action("ack", herd.one().id, "anna")
    assert herd.step(actions=[ack, ack]) == ["changed"]


def test_planned_work_keeps_back_and_what_still_stands_after_it_is_told() -> None:
    herd = Herd()
    herd.silences = [Silence("w", START, START + HOUR, "farm", "s1")]
    herd.enter()
    herd.enter(where="farm/s1/m2")
    herd.enter(where="farm/s2/m1")
    herd.wait(30 * MINUTE)
    assert [m.cause.stack for t in herd.turns for m in t.members] == ["s2"]
    herd.leave(where="farm/s1/m2")
    herd.wait(HOUR)
    assert [m.cause.module for t in herd.turns[1:] for m in t.members] == ["m1"]


def test_a_balancing_window_hides_what_balancing_makes_and_nothing_else() -> None:
    at = {"begin": "2026-03-14T00:00:00+01:00", "end": "2026-03-15T00:00:00+01:00"}
    rules = rules_of(fleet(window=[{"site": "farm", "kind": "balancing", **at}]))
    herd = Herd(rules)
    herd.now = rules.silences[0].begin
    herd.enter("cell_imbalance_warning")
    herd.enter("discharge_overtemperature_protection")
    herd.wait(MINUTE)
    assert [turn.alert.family for turn in herd.turns] == ["discharge_overtemperature_protection"]


def test_turns_of_a_trouble_that_comes_back_go_on_counting() -> None:
    herd = Herd()
    for _ in range(2):
        herd.enter()
        herd.wait(MINUTE)
        herd.leave()
        herd.wait(10 * MINUTE)
    assert len({turn.key for turn in herd.turns}) == 4
