"""Alerts the whole way: emulators on their wires, edge, broker, ingester, engine, notifier, and a fake Bot API.

One server and one edge for all scenarios: every battery gets its trouble, then what arrived is held against what must,
message by message. A second installer's edge is played by hand, for it sends what no battery says today: old readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from threading import Event
from time import monotonic, time_ns
from typing import Any

import pytest

from cellherd import topics, wire
from cellherd.faults import catalogue
from cellherd.reading import Measured
from cellherd.wire import Line, Source
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, start
from pipeline.ingest.broker import edge_credentials
from pipeline.live.store import recent
from tests.chaos.world import SITE, World, world
from tests.fakes.telegram import TOKEN, Bot, bot_api
from tests.pipeline.plain_edge import PlainEdge

HOUR = 3_600_000
PATIENCE_S = 150.0
QUIET_S = 12.0
"""So long nothing more may come: time for a segment, the engine, the group and one more message."""
REGISTRY = """
[[installer]]
id = "wind"
[[site]]
id = "mill"
installer = "wind"
edge = "mill"
[[route]]
installer = "us"
priority = 3
telegram = ["us"]
[[route]]
installer = "wind"
priority = 3
telegram = ["wind"]
[[window]]
site = "workshop"
stack = "balanced"
kind = "balancing"
begin = {begin}
end = {end}
[telegram]
base_url = "{url}"
token_file = "{token}"
"""


@dataclass
class Said:
    """A battery that says what it is told to; the emulator makes a real device's frames of it."""

    now: Measured

    def step(self, _ts: int, _seconds: float) -> None:
        """Does not live by itself."""

    def truth(self) -> Measured:
        """What it says."""
        return self.now

    def say(self, *faults: str, cells: dict[int, int] | None = None, **more: Any) -> None:
        """From now on these faults, and these cells in mV."""
        voltages = tuple((cells or {}).get(n, mv or 0) for n, mv in enumerate(self.now.cell_mv or ()))
        ends: dict[str, Any] = {"cell_min_mv": min(voltages), "cell_max_mv": max(voltages)}
        ends |= {"cell_min_at": voltages.index(min(voltages)), "cell_max_at": voltages.index(max(voltages))}
        self.now = replace(self.now, faults=faults, cell_mv=voltages, voltage_mv=sum(voltages), **ends, **more)


@dataclass(frozen=True)
class Device:
    """A stack of the scenario: its driver and modules."""

    driver: str
    modules: tuple[str, ...] = ("m1",)
    first: int = 1


DEVICES = {
    "high": Device("jbd"),
    "low": Device("daly_uart"),
    "many": Device("pylontech_rs485", ("a", "b", "c"), first=2),
    "short": Device("ant_new"),
    "wild": Device("seplos_v2", first=0),
    "full": Device("pace"),
    "user": Device("jk_nw"),
    "balanced": Device("daly_d2"),
}


@dataclass(frozen=True)
class Came:
    """What an alert must say: the chat, the fault, the stack, and more words that must stand in it."""

    chat: str
    fault: str
    where: str
    words: tuple[str, ...] = ()


EXPECTED = (
    Came("us", "cell_overvoltage_protection", "stack high, module m1, cell 7", ("3655 mV",)),
    Came("us", "cell_undervoltage_protection", "stack low, module m1, cell 3", ("2450 mV",)),
    Came("us", "charge_overcurrent_protection", "stack many", ("module a", "module b", "module c")),
    Came("us", "short_circuit_protection", "stack short, module m1"),
    Came("us", "cell_extreme_voltage_lockout", "stack wild, module m1, cell 5", ("4250 mV",)),
    Came("wind", "discharge_overtemperature_protection", "stack s1, module m1"),
)
CUTS = {"high": "charge", "low": "discharge", "many": "charge", "wild": "both"}
"""Which side each event says is cut."""


@dataclass
class Stage:
    """All that takes part."""

    here: World
    bot: Bot
    packs: dict[tuple[str, str], Said]
    mill: PlainEdge

    def messages(self) -> list[tuple[str, str]]:
        return [(sent["chat_id"], unescape(re.sub("<[^>]+>", "", text_of(sent)))) for sent in self.bot.sent.copy()]

    def events(self) -> list[dict[str, Any]]:
        return recent(self.here.folder / "server" / "live.sqlite")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("alerts")
    healthy = Battery(Plan(soc=0.6)).truth()
    packs = {
        (stack, name): Said(replace(healthy, current_ma=0)) for stack, one in DEVICES.items() for name in one.modules
    }
    with ExitStack() as last:
        bot = last.enter_context(bot_api())
        running = start([_emulated(stack, packs) for stack in DEVICES])
        for one in running:
            last.callback(one.stop)
        here = last.enter_context(world(folder, _edge_toml(running), registry=_registry(folder, bot)))
        here.start("notifier")
        here.until((folder / "server" / "notify.heartbeat").exists, "the notifier")
        _, password = edge_credentials(folder / "server", "mill")
        mill = last.enter_context(PlainEdge(here.port, "mill", password.read_text()))
        made = Stage(here, bot, packs, mill)
        happen(made)
        yield made


def _emulated(stack: str, packs: dict[tuple[str, str], Said]) -> EmulatedDevice:
    one = DEVICES[stack]
    batteries: dict[int, Any] = {one.first + n: packs[stack, name] for n, name in enumerate(one.modules)}
    return EmulatedDevice(one.driver, batteries, wire="pty")


def _edge_toml(running: list[Running]) -> str:
    return "".join(
        f'\n[[device]]\nstack = "{stack}"\ndriver = "{one.driver}"\nlink = "{its.link}"\nperiod_s = 2\n'
        f"modules = {{ {', '.join(f'{one.first + n} = {name!r}' for n, name in enumerate(one.modules))} }}\n"
        for (stack, one), its in zip(DEVICES.items(), running, strict=True)
    ).replace("'", '"')


def _registry(folder: Path, bot: Bot) -> str:
    (folder / "token").write_text(TOKEN)
    now = datetime.now(UTC)
    begin, end = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (now - timedelta(hours=1), now + timedelta(hours=1)))
    return REGISTRY.format(url=bot.url, token=folder / "token", begin=begin, end=end)


def happen(stage: Stage) -> None:
    """All batteries are well and known; then each gets its trouble, and everything that must come has come."""
    stage.here.until(lambda: len(stage.here.committed()) > 3 * len(stage.packs), "readings")
    packs = stage.packs
    packs["high", "m1"].say("cell_overvoltage_protection", cells={6: 3655}, charge_on=False)
    packs["low", "m1"].say("cell_undervoltage_protection", cells={2: 2450}, discharge_on=False)
    for name in DEVICES["many"].modules:
        packs["many", name].say("charge_overcurrent_protection", charge_on=False)
    packs["short", "m1"].say("short_circuit_protection", charge_on=False, discharge_on=False)
    packs["wild", "m1"].say(cells={4: 4250})
    packs["full", "m1"].say("full_charge_reached", cells={3: 3560}, soc_pm=1000, charge_on=False)
    packs["user", "m1"].say(charge_on=False)
    packs["balanced", "m1"].say("cell_imbalance_warning", cells={1: 3450})
    now = time_ns() // 1_000_000
    stage.mill.publish(topics.readings("mill", "s1", "m2"), _hot(stage.mill, "m2", range(1, 11), now - 3 * HOUR))
    stage.mill.publish(topics.readings("mill", "s1", "m1"), _hot(stage.mill, "m1", range(11, 15), now - 4000))
    deadline = monotonic() + PATIENCE_S
    while missing(stage) and monotonic() < deadline:
        Event().wait(0.2)
    Event().wait(QUIET_S)


def _hot(edge: PlainEdge, module: str, seqs: range, begin: int) -> bytes:
    row: dict[str, object] = {"cell_mv": [3300] * 16, "temp_dc": [610] * 4, "charge_on": 1, "discharge_on": 0,
                              "faults": ["discharge_overtemperature_protection"]}  # fmt: skip
    lines = [Line(seq, begin + 1000 * n, 1000 * n, row) for n, seq in enumerate(seqs)]
    source = Source(edge.stream, edge.epoch, module, "module", "jbd", "0badcafe", "ntp")
    return wire.pack(source, lines, sent_ts=time_ns() // 1_000_000, sent_bt=11_000)


def text_of(sent: dict[str, Any]) -> str:
    return str(sent.get("text") or sent.get("caption"))


def fits(came: Came, chat: str, text: str) -> bool:
    return chat == came.chat and catalogue()[came.fault].title in text and came.where in text


def missing(stage: Stage) -> list[Came]:
    messages = stage.messages()
    return [came for came in EXPECTED if not any(fits(came, *message) for message in messages)]


@pytest.mark.slow
@pytest.mark.parametrize("came", EXPECTED, ids=lambda came: came.fault)
def test_a_trouble_is_one_message_to_the_right_person_with_the_fault_the_cell_and_the_numbers(
    stage: Stage, came: Came
) -> None:
    found = [text for message in stage.messages() if fits(came, *message) for text in message[1:]]
    assert len(found) == 1, f"{found}\nof {stage.messages()}\n{stage.here.log('notifier')}"
    assert [word for word in came.words if word not in found[0]] == []


@pytest.mark.slow
@pytest.mark.parametrize("stack", CUTS)
def test_the_event_says_which_side_is_cut(stage: Stage, stack: str) -> None:
    events = [row for row in stage.events() if row["stack"] == stack and row["priority"] < 4]
    assert {row["cuts"] for row in events} == {CUTS[stack]}


@pytest.mark.slow
def test_a_full_battery_a_users_switch_planned_balancing_and_old_readings_tell_nobody(stage: Stage) -> None:
    told = [text for _, text in stage.messages()]
    assert len(told) == len(EXPECTED), told
    events = {(row["site"], row["stack"], row["module"], row["fault"]) for row in stage.events()}
    assert (SITE, "full", "m1", "full_charge_reached") in events, "it was seen, and kept silent"
    assert (SITE, "balanced", "m1", "cell_imbalance_warning") in events
    assert ("mill", "s1", "m2", "discharge_overtemperature_protection") in events
