"""The notifier on disk with a clock by hand and a channel that only notes: who hears what, when, by which way."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cellherd.config import FleetConfig
from pipeline.alerts import ledger
from pipeline.alerts.channel import Message, NotSent
from pipeline.alerts.notifier import Notifier
from pipeline.alerts.outbox import Outbox
from pipeline.alerts.people import told_of
from pipeline.alerts.sender import Sender
from pipeline.alerts.telling import Teller
from pipeline.live.events import Event, Phase
from pipeline.live.store import queue_events
from tests.fakes.fleet_by_hand import finding, fleet
from tests.pipeline.herd import HOUR, MINUTE, SECOND, TRIP

DAY = 24 * HOUR
ANNA = {"id": "anna", "tz": "Europe/Berlin", "telegram": "1", "mail": "anna@x.example", "digest": None}
BEN = {"id": "ben", "mail": "ben@x.example", "digest": None}
MILD = "cell_overvoltage_warning"


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass
class HandClock:
    """A clock that stands still until it is moved."""

    now: int

    def wall(self) -> int:
        return self.now

    def boot(self) -> int:
        return self.now

    def boot_id(self) -> str:
        return "00000000"

    def quality(self) -> Any:
        return "ntp"


@dataclass
class Notes:
    """A channel that notes what it sends, or refuses with what it was given."""

    edits: bool
    refusal: NotSent | None = None
    sent: list[tuple[str, str, str]] = field(default_factory=list)

    def send(self, address: str, message: Message) -> str:
        if self.refusal:
            raise self.refusal
        self.sent.append((address, message.kind, message.subject))
        return str(len(self.sent))

    def edit(self, address: str, reference: str, message: Message) -> str:
        self.send(address, message)
        return reference


@dataclass
class House:
    """A notifier and its two channels."""

    database: sqlite3.Connection
    fleet: FleetConfig
    clock: HandClock
    ways: dict[Any, Notes] = field(default_factory=lambda: {"telegram": Notes(edits=True), "mail": Notes(edits=False)})

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.notifier = Notifier(self.database, self.fleet, self.clock, frozenset({"telegram"}))

    def event(self, phase: Phase, fault: str = TRIP, module: str = "m1") -> None:
        place, now = ("farm", "farm-pi", "s1", module), self.clock.now
        with ledger.transaction(self.database):
            queue_events(self.database, [Event(place, "u", "module", phase, fault, now, now, "device", "both")], now)

    def wait(self, ms: int, each: int = 10 * SECOND) -> None:
        """Let time pass, with all that is to be done in it."""
        end = self.clock.now + ms
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + each)
            self.notifier.step()
            self.notifier.summaries()
            self.notifier.mornings()
            for name, way in self.ways.items():
                Sender(name, way, Outbox(self.database), self.fleet, self.clock).send_due()

    def heard(self, way: str) -> list[tuple[str, str]]:
        """Addresses and kinds of what left by a channel."""
        return [(address, kind) for address, kind, _ in self.ways[way].sent]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with ledger.opened(tmp_path) as opened:
        yield opened


def house(database: sqlite3.Connection, now: str = "2026-03-14T12:00:00+01:00", **more: Any) -> House:
    people = more.pop("person", [ANNA, BEN])
    route = more.pop("route", [{"priority": 3, "people": ["anna"]}])
    return House(database, fleet(person=people, route=route, **more), HandClock(at(now)))


def test_state_and_messages_change_together_or_not_at_all(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house(database)
    here.event("enter")
    with monkeypatch.context() as broken:
        broken.setattr(Teller, "tell", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            here.notifier.step()
    assert ledger.alerts(database) == {}
    assert len(ledger.inputs(database)[0]) == 1
    here.restart()
    here.wait(MINUTE)
    assert here.heard("telegram") == [("1", "raised")]


def test_what_came_and_went_while_the_channel_was_away_is_told_by_the_other_way(database: sqlite3.Connection) -> None:
    here = house(database)
    here.ways["telegram"].refusal = NotSent("away")
    here.event("enter")
    here.wait(MINUTE)
    here.event("leave")
    here.wait(30 * MINUTE)
    assert here.heard("mail")[:1] == [("anna@x.example", "raised")]
    assert ("anna@x.example", "resolved") in here.heard("mail")


def test_a_trip_that_ends_before_its_message_could_be_tried_is_told_with_its_end(database: sqlite3.Connection) -> None:
    here = house(database)
    here.event("enter")
    here.notifier.step()
    here.event("leave")
    for _ in range(60):  # nobody sends meanwhile
        here.clock.now += 10 * SECOND
        here.notifier.step()
    here.wait(MINUTE)
    assert here.heard("telegram") == [("1", "raised"), ("1", "resolved")]


QUIET = {**ANNA, "quiet": ["22:00:00", "07:00:00"]}


def test_quiet_hours_are_the_recipients_and_what_may_wake_them_does(database: sqlite3.Connection) -> None:
    here = house(database, "2026-03-14T23:30:00+01:00", person=[QUIET, BEN])
    here.event("enter", MILD)
    here.event("enter", TRIP, "m2")
    here.wait(7 * HOUR, MINUTE)
    assert [subject for _, _, subject in here.ways["telegram"].sent if "m2" not in subject] == []
    here.wait(HOUR, MINUTE)
    assert len(here.heard("telegram")) == 2


def test_what_waits_for_morning_and_is_over_by_then_disturbs_nobody(database: sqlite3.Connection) -> None:
    here = house(database, "2026-03-14T23:30:00+01:00", person=[QUIET, BEN])
    here.event("enter", MILD)
    here.wait(HOUR, MINUTE)
    here.event("leave", MILD)
    here.wait(12 * HOUR, MINUTE)
    assert here.heard("telegram") == []


def test_who_is_on_holiday_is_stood_in_for(database: sqlite3.Connection) -> None:
    away = [{"first": "2026-03-10", "last": "2026-03-14", "stands_in": "ben"}]
    here = house(database, person=[{**ANNA, "away": away}, BEN])
    here.event("enter")
    here.wait(MINUTE)
    assert (here.heard("telegram"), here.heard("mail")) == ([], [("ben@x.example", "raised")])


def test_a_recipient_who_cannot_be_reached_at_all_is_named_to_the_caretaker(database: sqlite3.Connection) -> None:
    here = house(database, alerts={"caretaker": "ben"}, person=[{"id": "anna", "telegram": "1"}, BEN])
    here.ways["telegram"].refusal = NotSent("the bot was blocked", final=True)
    here.event("enter")
    here.wait(MINUTE)
    assert [address for address, _ in here.heard("mail")] == ["ben@x.example"]


def test_what_nobody_acknowledges_goes_to_the_next_person(database: sqlite3.Connection) -> None:
    here = house(database, route=[{"priority": 2, "people": ["anna"], "escalate": ["ben"], "escalate_after_min": 30}])
    here.event("enter")
    here.wait(29 * MINUTE)
    assert here.heard("mail") == []
    here.wait(2 * MINUTE)
    assert here.heard("mail") == [("ben@x.example", "escalated")]


def test_too_many_messages_in_an_hour_become_a_summary(database: sqlite3.Connection) -> None:
    here = house(database, alerts={"flood_per_hour": 3})
    known = [TRIP, "cell_undervoltage_protection", "charge_overcurrent_protection", "discharge_overcurrent_protection",
             "short_circuit_protection", "charge_overtemperature_protection"]  # fmt: skip
    for fault in known:
        here.event("enter", fault)
    here.wait(20 * MINUTE)
    kinds = [kind for _, kind in here.heard("telegram")]
    assert kinds == ["raised"] * 3 + ["summary"]
    assert here.ways["telegram"].sent[-1][2].startswith("3 more alerts")


DIGESTED = {**ANNA, "digest": "07:00:00"}


def test_the_digest_comes_at_seven_where_its_reader_lives_once_a_day(database: sqlite3.Connection) -> None:
    here = house(database, "2026-03-14T12:00:00+01:00", person=[DIGESTED, BEN])
    here.event("enter")
    here.wait(18 * HOUR, 10 * MINUTE)
    begin = len(here.heard("telegram"))
    here.wait(2 * HOUR, 10 * MINUTE)
    here.restart()
    here.wait(10 * HOUR, 10 * MINUTE)
    assert [kind for _, kind in here.heard("telegram")[begin:]] == ["digest"]


def test_a_quiet_fleet_says_once_a_week_that_it_is_watched(database: sqlite3.Connection) -> None:
    here = house(database, person=[DIGESTED, BEN])
    here.wait(16 * DAY, HOUR)
    said = [subject for _, _, subject in here.ways["telegram"].sent]
    assert said == ["All quiet"] * len(said)
    assert len(said) in (2, 3)


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_is_set_back_silences_nothing(database: sqlite3.Connection, restart: bool) -> None:
    here = house(database, "2027-03-14T12:00:00+01:00")
    here.event("enter")
    here.wait(MINUTE)
    ledger.put_note(database, "heartbeat", str(here.clock.now))
    here.event("enter", "cell_undervoltage_protection")
    here.notifier.step()
    here.clock.now -= 365 * DAY
    if restart:
        here.restart()
    here.wait(MINUTE)
    assert [kind for _, kind in here.heard("telegram")] == ["raised", "raised"]
    here.event("leave")
    here.wait(10 * MINUTE)
    assert here.heard("telegram")[-1] == ("1", "resolved")


def test_a_finding_that_is_told_live_already_is_not_told_again(database: sqlite3.Connection) -> None:
    here = house(database)
    here.event("enter", "cell_imbalance_protection")
    here.wait(MINUTE)
    row = {**finding(), "day": "2026-03-14", "since_day": "2026-03-10"}
    ledger.put_input(database, "night", {"rows": [row], "covered": {"farm": "2026-03-14"}})
    here.wait(10 * MINUTE)
    assert [kind for _, kind in here.heard("telegram")] == ["raised"]
    (kept,) = [alert for alert in ledger.alerts(database).values() if alert.state == "pending"]
    assert kept.hidden == "it is told live"


def test_the_examples_of_the_page_are_a_registry() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    said = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    said["site"] = [{"id": "barn", "installer": "sunworks", "edge": "barn"}]
    config = FleetConfig.model_validate(said)
    (person,) = told_of("barn", 1, config, at("2026-08-05T12:00:00+01:00"))
    assert person.id == "ben"
