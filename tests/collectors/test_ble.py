"""Bluetooth LE without a radio: our emulated batteries answer through a stand-in for bleak's client."""

from __future__ import annotations

import sys
from dataclasses import replace
from threading import Event

import pytest

from cellherd.errors import BadFrame, CellherdError, LinkError, Refused, Silent
from collectors.drivers import WHERE, driver
from collectors.events import Device
from collectors.kernel import Driver, Gatt, Send, converse
from collectors.links import Link, check_link, open_link, place_of
from collectors.links.radio import _SEEKING
from collectors.station import Port
from tests.fakes.ports import Clock, Told
from tests.fakes.radio import ADDRESS, Peripheral, in_the_air
from tests.fuzz.test_allow_lists import DANGEROUS, is_question

LINK = f"ble:{ADDRESS}"
NATIVE = [name for name in sorted(WHERE) if driver(name).gatt]
Patch = pytest.MonkeyPatch


def quick(name: str) -> Driver:
    return replace(driver(name), timeout_s=0.3, gap_s=0.0)


def opened(name: str, halt: Event | None = None, link: str = LINK) -> Link:
    return open_link(link, quick(name), halt)


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: Patch) -> None:
    monkeypatch.setattr("collectors.links.ble.LEAST_TIMEOUT_S", 0.3)
    monkeypatch.setattr("collectors.links.radio.TURN_S", 0.3)


def talk(name: str, line: Link, what: str = "poll") -> list[object]:
    conversation = getattr(driver(name), what)
    if conversation is None:
        return []
    address = driver(name).default_address
    return list(converse(conversation(address), lambda request: line.ask(request, address=address)))


# ---- reading ----


def test_four_drivers_speak_over_the_radio() -> None:
    assert NATIVE == ["ant_new", "daly_d2", "jbd", "jk_ble"]
    assert {name: driver(name).gatt for name in NATIVE} == {
        "ant_new": Gatt(0xFFE0, 0xFFE1, 0xFFE1),
        "daly_d2": Gatt(0xFFF0, 0xFFF1, 0xFFF2),
        "jbd": Gatt(0xFF00, 0xFF01, 0xFF02),
        "jk_ble": Gatt(0xFFE0, 0xFFE1, 0xFFE1),
    }


@pytest.mark.parametrize("piece", [1, 20, 128, 512])
@pytest.mark.parametrize("name", NATIVE)
def test_an_answer_cut_into_any_notifications_is_read_whole(name: str, piece: int, monkeypatch: Patch) -> None:
    air = in_the_air(monkeypatch, pack=Peripheral(name, piece=piece))
    line = opened(name)
    (said,) = talk(name, line)
    line.close()
    assert len(said.cell_mv) == 16  # type: ignore[attr-defined]
    assert said.soc_pm == 500  # type: ignore[attr-defined]
    assert air.found[ADDRESS].open == 0, "a device that is not let go takes nobody else"


@pytest.mark.parametrize("twice", [False, True])
def test_what_a_jk_puts_between_its_frames_does_no_harm(twice: bool, monkeypatch: Patch) -> None:
    noise = bytes.fromhex("41540d0a") + bytes.fromhex("aa5590ebc8010100000000000000000000000044")
    air = in_the_air(monkeypatch, pack=Peripheral("jk_ble", before=noise, twice=twice))
    line = opened("jk_ble")
    (said,) = talk("jk_ble", line)
    (device,) = talk("jk_ble", line, "identify")
    line.close()
    assert said.voltage_mv  # type: ignore[attr-defined]
    assert device.info["serial"]  # type: ignore[attr-defined]
    assert {handle for handle, _ in air.found[ADDRESS].heard} == {10}, "the one that can be written to"


def test_a_characteristic_that_wants_to_be_answered_is_written_with_an_answer(monkeypatch: Patch) -> None:
    air = in_the_air(monkeypatch, pack=Peripheral("jbd"))
    line = opened("jbd")
    talk("jbd", line)
    line.close()
    assert {response for _, response in air.found[ADDRESS].heard} == {True}


# ---- what may leave ----


@pytest.mark.parametrize("name", NATIVE)
def test_nothing_but_questions_is_ever_written(name: str, monkeypatch: Patch) -> None:
    air = in_the_air(monkeypatch, pack=Peripheral(name))
    line = opened(name)
    for what in ("poll", "identify", "seldom"):
        talk(name, line, what)
    asked = air.found[ADDRESS].written.copy()
    assert asked
    assert all(is_question(name, Send(data)) for data in asked)
    for text in DANGEROUS:
        if not is_question(name, Send(bytes.fromhex(text))):
            with pytest.raises(Refused):
                line.ask(Send(bytes.fromhex(text)), address=1)
    line.close()
    assert air.found[ADDRESS].written == asked


# ---- trouble ----


def test_a_device_that_is_not_in_reach_is_told_with_what_to_look_at(monkeypatch: Patch) -> None:
    in_the_air(monkeypatch)
    with pytest.raises(LinkError, match=f"{LINK}: is not heard; in reach and awake, and no phone connected"):
        opened("jbd")


def test_a_machine_without_bluetooth_is_told(monkeypatch: Patch) -> None:
    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("bleak.BleakClient", none)
    with pytest.raises(LinkError, match="is there a Bluetooth adapter"):
        opened("jbd")


def test_a_machine_without_the_extra_is_told(monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)
    with pytest.raises(LinkError, match=r"cellherd\[ble\]"):
        opened("jbd")


def test_a_device_without_the_characteristic_is_another_model(monkeypatch: Patch) -> None:
    air = in_the_air(monkeypatch, pack=Peripheral("jbd", gatt=Gatt(0xFFE0, 0xFFE1, 0xFFE1)))
    with pytest.raises(LinkError, match="has no FF01 in FF00"):
        opened("jbd")
    assert air.found[ADDRESS].open == 0


def test_silence_is_silence_and_the_next_question_is_put(monkeypatch: Patch) -> None:
    pack = Peripheral("jbd", mood="silent")
    in_the_air(monkeypatch, pack=pack)
    line = opened("jbd")
    with pytest.raises(Silent, match="gave no answer"):
        talk("jbd", line)
    pack.mood = "well"
    assert talk("jbd", line)
    line.close()


@pytest.mark.parametrize("mood", ["vanishes", "refuses"])
def test_a_device_that_goes_away_is_a_link_that_is_gone(mood: str, monkeypatch: Patch) -> None:
    in_the_air(monkeypatch, pack=Peripheral("jbd", mood=mood))
    line = opened("jbd")
    with pytest.raises(LinkError) as caught:
        talk("jbd", line)
    line.close()
    assert not isinstance(caught.value, Silent)


def test_a_stop_ends_a_wait_at_once(monkeypatch: Patch) -> None:
    halt = Event()
    in_the_air(monkeypatch, pack=Peripheral("jbd", mood="silent"))
    line = open_link(LINK, replace(driver("jbd"), timeout_s=60.0), halt)
    halt.set()
    with pytest.raises(LinkError, match="stopping"):
        talk("jbd", line)
    line.close()


def test_only_one_device_is_looked_for_at_a_time(monkeypatch: Patch) -> None:
    in_the_air(monkeypatch, pack=Peripheral("jbd"))
    with _SEEKING, pytest.raises(LinkError, match="looks for another device"):
        opened("jbd")
    opened("jbd").close()


def test_a_babbling_device_fills_no_memory(monkeypatch: Patch) -> None:
    in_the_air(monkeypatch, pack=Peripheral("jbd", before=bytes(600_000), piece=512))
    line = opened("jbd")
    with pytest.raises((BadFrame, Silent)):
        talk("jbd", line)
    line.close()


# ---- the station over it ----


def turns(port: Port, clock: Clock, times: int) -> None:
    for _ in range(times):
        port.turn()
        clock.now += 61_000


def test_a_battery_that_was_away_is_read_again_and_the_hole_has_its_reason(monkeypatch: Patch) -> None:
    pack = Peripheral("jk_ble")
    air, told, clock = in_the_air(monkeypatch, pack=pack), Told(), Clock()
    port = Port([Device("van", quick("jk_ble"), LINK, 0, {0: "m1"}, 60.0)], told, clock)  # type: ignore[arg-type]
    turns(port, clock, 3)
    air.vanish()
    turns(port, clock, 4)
    pack.mood = "well"
    turns(port, clock, 4)
    port.halt.set()
    port.run()
    assert pack.sessions == 2
    assert len(told.samples) >= 6
    reasons = {record.body["reason"] for record in told.records if record.event == "gap"}
    assert "port_down" in reasons
    assert pack.open == 0


def test_a_battery_that_says_nothing_for_long_gets_a_new_connection(monkeypatch: Patch) -> None:
    pack = Peripheral("jbd", mood="silent")
    told, clock = Told(), Clock()
    in_the_air(monkeypatch, pack=pack)
    known = replace(quick("jbd"), timeout_s=0.02)
    monkeypatch.setattr("collectors.links.ble.LEAST_TIMEOUT_S", 0.02)
    port = Port([Device("van", known, LINK, 0, {0: "m1"}, 60.0)], told, clock)  # type: ignore[arg-type]
    turns(port, clock, 10)
    assert pack.sessions == 2
    port.halt.set()
    port.run()


# ---- link texts ----


@pytest.mark.parametrize("text", ["ble:", "ble:jk", "ble:AA:BB:CC:DD:EE", f"{LINK}?adapter=hci1", f"{LINK}/a/b"])
def test_a_link_text_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(CellherdError):
        check_link(text, driver("jk_ble"))


def test_a_link_text_is_taken_apart(monkeypatch: Patch) -> None:
    assert place_of("ble:c8:47:8c:00:00:01?adapter=1").radio() == (ADDRESS, "")
    air = in_the_air(monkeypatch, pack=Peripheral("jbd"))
    opened("jbd", link=f"{LINK}?adapter=1").close()
    opened("jbd").close()
    assert [options.get("bluez") for options in air.options] == [{"adapter": "hci1"}, None]


def test_a_driver_that_has_no_radio_is_not_opened_over_it() -> None:
    for name in ("jk_modbus", "pylontech_can", "solis"):
        with pytest.raises(CellherdError, match=f"{name} does not speak over ble:"):
            check_link(LINK, driver(name))
    with pytest.raises(CellherdError, match="jk_ble does not speak over serial:, use ble:"):
        check_link("serial:/dev/ttyUSB0", driver("jk_ble"))
