"""`ask` and `ack`: nothing is sent without them, only what is listed with them, and nothing beside another master."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.clock import SystemClock
from cellherd.config import EdgeConfig
from cellherd.errors import CellherdError
from collectors import asking
from collectors.asking import AWAY_MS, Asker, configured
from collectors.drivers import daly_can, driver
from collectors.edge import devices
from collectors.emulators import daly_can as daly
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import Running, start
from collectors.emulators.wires import PtyWire, SlcanWire, VirtualBus
from collectors.events import Device, Record, Sample
from collectors.kernel import CanFrame, Chunk, Request, permits
from collectors.links import check_link, open_link
from collectors.station import Port, Station
from tests.collectors.test_station import Bus, Hand, run, slots_of, truth

Herd = Callable[..., Running]
LONG_S = 15
DALY = daly_can.DRIVER


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_MS", 300)


@pytest.fixture
def herd() -> Iterator[Herd]:
    running: list[Running] = []

    def begin(name: str, wire: str, *, master: bool = False, addresses: tuple[int, ...] = (1, 2)) -> Running:
        batteries = {address: Battery(Plan(seed=address)) for address in addresses}
        running.extend(start([EmulatedDevice(name, batteries, wire, master=master)], can_s=0.1))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


class Told(list[Sample | Record]):
    """What a station tells; `wait` until it was told of something."""

    def __init__(self) -> None:
        super().__init__()
        self._news = Event()

    def __call__(self, event: Sample | Record) -> None:
        self.append(event)
        self._news.set()

    def wait(self, wanted: Callable[[], bool]) -> bool:
        for _ in range(LONG_S * 10):
            if wanted():
                return True
            self._news.wait(0.1)
            self._news.clear()
        return False

    def modules(self) -> set[str]:
        return {event.module for event in self if isinstance(event, Sample)}

    def codes(self) -> list[object]:
        return [event.body["code"] for event in self if isinstance(event, Record) and event.event == "edge"]


@contextmanager
def station(name: str, link: str, *, ask: bool = False, ack: bool = False) -> Iterator[Told]:
    """A station on one line, with devices as edge.toml makes them."""
    entry = {"stack": "s1", "driver": name, "link": link, "address": 1, "modules": ["m1", "m2"]}
    config = EdgeConfig.model_validate({"edge": "pi", "device": [{**entry, "period_s": 0.5, "ask": ask, "ack": ack}]})
    told = Told()
    running = Station(devices(config), told, SystemClock())
    running.start()
    yield told
    running.stop()


def asked(one: Running) -> list[CanFrame]:
    assert isinstance(one.wire, SlcanWire | VirtualBus)
    return list(one.wire.asked)


def commands(one: Running) -> set[bytes]:
    """What an slcan adapter was told to do, by first letter."""
    return {line[:1] for line in one.wire.commands.split(b"\r")} if isinstance(one.wire, SlcanWire) else set()


@pytest.mark.parametrize("wire", ["slcan", "virtual"])
@pytest.mark.parametrize(("name", "modules"), [("daly_can", {"m1", "m2"}), ("pylontech_hv_can", {"bank"})])
def test_a_device_on_can_is_asked_with_exactly_its_listed_frames(
    herd: Herd, name: str, modules: set[str], wire: str
) -> None:
    one = herd(name, wire)
    with station(name, one.link, ask=True) as told:
        assert told.wait(lambda: told.modules() == modules), told
    assert {(frame.id, frame.data) for frame in asked(one)} <= {(f.id, f.data) for f in driver(name).allow}  # type: ignore[union-attr]
    assert all(permits(driver(name), frame) for frame in asked(one))
    assert "other_master" not in told.codes()
    if wire == "slcan":
        assert b"L" not in commands(one)


@pytest.mark.parametrize("wire", ["slcan", "virtual"])
@pytest.mark.parametrize("ack", [False, True])
def test_without_ask_a_bus_is_heard_and_nothing_is_sent(herd: Herd, wire: str, ack: bool) -> None:
    one = herd("daly_can", wire, master=True)
    with station("daly_can", one.link, ack=ack) as told:
        assert told.wait(lambda: told.modules() == {"m1", "m2"}), told
    assert asked(one) == []
    assert told.codes() == [], "beside a master a listener has nothing to report"
    if wire == "slcan":
        assert commands(one) & {b"L", b"O", b"T", b"t"} == {b"O" if ack else b"L"}


def test_a_device_that_is_not_asked_says_nothing(herd: Herd) -> None:
    one = herd("daly_can", "virtual")
    link = open_link(one.link, DALY)
    assert link.hear(0.5) is None
    link.close()


@pytest.mark.parametrize("wire", ["slcan", "virtual"])
def test_where_another_master_is_heard_asking_stops_and_is_told_once(herd: Herd, wire: str) -> None:
    one = herd("daly_can", wire)
    with station("daly_can", one.link, ask=True) as told:
        assert told.wait(lambda: bool(told.modules()))
        one.device.master = True
        assert told.wait(lambda: "other_master" in told.codes())
        before = len(asked(one))
        readings = len(told)
        assert told.wait(lambda: len(told) > readings + 4), "it goes on to listen"
        assert len(asked(one)) - before <= 1, "one may have been under way"
    assert told.codes().count("other_master") == 1


def test_a_bus_that_has_a_master_at_the_start_is_never_asked(herd: Herd) -> None:
    one = herd("daly_can", "virtual", master=True)
    with station("daly_can", one.link, ask=True) as told:
        assert told.wait(lambda: told.modules() == {"m1", "m2"})
    assert (asked(one), told.codes()) == ([], ["other_master"])


def test_a_master_that_has_gone_for_ten_minutes_is_followed() -> None:
    asker = Asker(configured(DALY, ask=True), 0)
    question = daly_can.ask(1, 0x90)
    assert not asker.free(100)
    assert asker.free(1_000)
    assert asker.other_master(CanFrame(0x351, bytes(8)), 1_000) is None, "an inverter's frame is no question"
    assert "18900140#0000000000000000" in (asker.other_master(question, 1_000) or "")
    assert asker.other_master(question, 2_000) is None
    assert not asker.free(1_999 + AWAY_MS)
    assert asker.free(2_000 + AWAY_MS)
    assert asker.other_master(question, 2_000 + AWAY_MS) is not None


def test_a_bus_that_is_asked_once_in_two_minutes_is_not_silent_in_between() -> None:
    clock, told, answers = Hand(), Told(), list[CanFrame]()

    class Asked(Bus):
        def ask(self, request: Request, *, address: int) -> bytes:
            assert isinstance(request, CanFrame)
            answers.extend(daly.hear(request, self.modules))
            return b""

        def hear(self, timeout: float) -> Chunk | None:
            return answers.pop(0) if answers else Bus.hear(self, timeout)

    known = configured(DALY, ask=True)
    bus = Asked(clock, known, {1: truth()})
    run(Port([Device("s1", known, "can:can0", 1, {1: "m1"}, 120.0)], told, clock, bus.opener), clock, 600_000)
    assert slots_of(told, "m1", 120_000) == list(range(5))
    assert (told.codes(), bus.opened) == ([], 1)


@pytest.mark.parametrize("wire", ["pty", "tcp"])
def test_jk_packs_on_a_line_without_a_master_are_asked(herd: Herd, wire: str) -> None:
    one = herd("jk_pb", wire)
    with station("jk_pb", one.link, ask=True) as told:
        assert told.wait(lambda: told.modules() == {"m1", "m2"}), told
    infos = [event.module for event in told if isinstance(event, Record) and event.event == "info"]
    assert set(infos) == {"m1", "m2"}


def test_jk_packs_beside_a_master_are_heard_and_nothing_is_sent(herd: Herd) -> None:
    one = herd("jk_pb", "pty", master=True)
    with station("jk_pb", one.link) as told:
        assert told.wait(lambda: told.modules() == {"m1", "m2"}), told
    assert isinstance(one.wire, PtyWire)
    assert one.wire._ends
    with pytest.raises(BlockingIOError):
        os.read(one.wire._ends[0], 1)


def call(*words: str) -> str:
    result = CliRunner().invoke(app_for(list(words)), list(words), catch_exceptions=False, env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("name", "wire"), [("daly_can", "slcan"), ("pylontech_hv_can", "slcan"), ("jk_pb", "tcp")])
def test_read_asks_when_told_to(herd: Herd, name: str, wire: str) -> None:
    one = herd(name, wire, addresses=(1,))
    assert " V" in call("read", "--driver", name, "--link", one.link, "--ask")


def test_a_recorded_conversation_with_a_pack_that_was_asked_replays(herd: Herd, tmp_path: Path) -> None:
    one, capture = herd("jk_pb", "tcp", addresses=(1,)), tmp_path / "capture.jsonl"
    live = call("read", "--driver", "jk_pb", "--link", one.link, "--ask", "--record", str(capture))
    one.stop()
    cells = [line.strip("│ ") for line in live.splitlines() if ": 3." in line]
    again = call("replay", str(capture))
    assert cells
    assert all(line in again for line in cells)


def test_a_setting_that_makes_no_sense_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(CellherdError, match=r"jk_can speaks by itself .* take `ask = true` away"):
        configured(driver("jk_can"), ask=True)
    with pytest.raises(CellherdError, match="jbd is not on CAN"):
        configured(driver("jbd"), ack=True)
    assert configured(driver("jbd"), ask=True).poll is driver("jbd").poll


def test_one_line_is_either_asked_or_listened_to() -> None:
    listens = driver("jk_pb")
    both = [Device("s1", known, "serial:/dev/ttyUSB0", 1, {}) for known in (listens, replace(listens, ask=True))]
    with pytest.raises(CellherdError, match="set them alike"):
        Port(both, lambda event: None, SystemClock())


def test_a_driver_that_speaks_bluetooth_only_says_what_works() -> None:
    with pytest.raises(CellherdError, match=r"jk_ble does not speak over serial:, use ble:"):
        check_link("serial:/dev/ttyUSB0", driver("jk_ble"))
    assert check_link("replay:morning.jsonl", driver("jk_ble"))
