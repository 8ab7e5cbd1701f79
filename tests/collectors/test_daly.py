"""Daly on UART, CAN and in registers: what they say as a whole, what may be sent, and emulators that say it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from cantools.database import load_string
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd import faults
from cellherd.errors import BadFrame, Refused, Silent
from cellherd.reading import Measured
from collectors.drivers import daly_can, daly_d2, daly_uart
from collectors.emulators import daly_can as emulated_can
from collectors.emulators import daly_d2 as emulated_d2
from collectors.emulators import daly_uart as emulated_uart
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import start
from collectors.kernel import CanFrame, Driver, Registers, Request, Send, converse, permits
from collectors.links import open_link
from collectors.modbus_rtu import frame_of

WORD = faults.brand("daly")["failure"]
STEPS = {"voltage_mv": 100, "current_ma": 100, "soc_pm": 1}


@st.composite
def truths(draw: st.DrawFn) -> Measured:
    """Anything that a Daly can say."""
    cells = draw(st.lists(st.integers(1, 5_000), min_size=1, max_size=32))
    temps = draw(st.lists(st.integers(-39, 200).map(lambda degrees: 10 * degrees), min_size=1, max_size=8))
    return Measured(
        voltage_mv=sum(cells),
        current_ma=draw(st.integers(-2_999_900, 3_000_000)),
        soc_pm=draw(st.integers(0, 1000)),
        remaining_mah=draw(st.integers(0, 6_500_000)),
        cycles=draw(st.integers(0, 65_535)),
        cell_mv=tuple(cells),
        cell_min_mv=min(cells),
        cell_max_mv=max(cells),
        cell_min_at=cells.index(min(cells)),
        cell_max_at=cells.index(max(cells)),
        temp_dc=tuple(temps),
        temp_min_dc=min(temps),
        temp_max_dc=max(temps),
        charge_on=draw(st.booleans()),
        discharge_on=draw(st.booleans()),
        balancing=draw(st.integers(0, 2**32 - 1)),
        faults=tuple(draw(st.sets(st.sampled_from(sorted({code.fault for code in WORD.bits.values()}))))),
    )


def same(found: Measured, truth: Measured, remaining: int = 1) -> None:
    for name, step in (STEPS | {"remaining_mah": remaining}).items():
        assert getattr(found, name) == getattr(truth, name) // step * step, name
    for name in ("cycles", "cell_mv", "cell_min_mv", "cell_max_mv", "temp_dc", "temp_min_dc", "temp_max_dc"):
        assert getattr(found, name) == getattr(truth, name), name
    assert (found.charge_on, found.discharge_on) == (truth.charge_on, truth.discharge_on)
    assert set(found.faults or ()) == set(truth.faults or ())


def asker(answer: Callable[..., bytes | None], modules: dict[int, Measured]) -> Callable[[Request], bytes]:
    def ask(request: Request) -> bytes:
        data = answer(request, 0, modules)
        if data is None:
            raise Silent(str(request))
        return data

    return ask


@settings(max_examples=60)
@given(truths())
def test_a_board_on_the_uart_says_what_is_true(truth: Measured) -> None:
    (found,) = converse(daly_uart.poll(3), asker(emulated_uart.answer, {3: truth}))
    same(found, truth)
    assert (found.module, found.cell_min_at, found.cell_max_at) == (3, truth.cell_min_at, truth.cell_max_at)
    assert int.from_bytes(bytes.fromhex(found.raw["balance"]), "little") == truth.balancing


@settings(max_examples=60)
@given(truths(), truths())
def test_two_batteries_on_one_can_bus_say_what_is_true(first: Measured, second: Measured) -> None:
    found = heard(emulated_can.broadcast({1: first, 2: second}))
    assert [each.module for each in found] == [1, 2]
    for each, truth in zip(found, (first, second), strict=True):
        same(each, truth)


@settings(max_examples=60)
@given(truths(), st.sampled_from([daly_d2.D2, 1, 16]))
def test_registers_say_what_is_true_in_both_dialects(truth: Measured, address: int) -> None:
    if address != daly_d2.D2:  # no read has the lowest cell, and the bit of a broken MOSFET says nothing there
        told = tuple(fault for fault in truth.faults or () if fault != "discharge_mosfet_fault")
        truth = replace(truth, faults=told, cell_min_mv=None)
    (found,) = converse(daly_d2.poll(address), asker(emulated_d2.answer, {address: truth}))
    same(found, truth, remaining=100)
    assert found.balancing == truth.balancing
    assert found.module == (None if address == daly_d2.D2 else address)


@pytest.mark.parametrize("bit", sorted(WORD.bits))
def test_every_failure_bit_arrives_as_its_fault_over_each_interface(bit: int) -> None:
    mask, fault = (1 << bit).to_bytes(8, "little"), (WORD.bits[bit].fault,)
    assert daly_uart.decode(emulated_uart.frame(1, daly_uart.FAILURE, mask))[0].faults == fault
    assert daly_can.decode(CanFrame(0x18984001, mask, extended=True))[0].faults == fault
    registers = b"".join(mask[i : i + 2][::-1] for i in range(0, 8, 2))
    request = frame_of(bytes((0xD2, 3, 0, 0x3A, 0, 4)))
    assert daly_d2.decode(frame_of(bytes((0xD2, 3, 8)) + registers), request)[0].faults == fault


def test_a_failure_bit_that_nobody_explains_is_unknown_and_kept() -> None:
    (said,) = daly_uart.decode(emulated_uart.frame(1, daly_uart.FAILURE, bytes((0, 0, 0, 0, 0, 0, 0x80, 7))))
    assert (said.faults, said.raw["failure"]) == ((faults.UNKNOWN,), "0000000000008007")


# ---- rubbish that looks right ----

payloads = st.lists(st.tuples(st.sampled_from(daly_uart.COMMANDS), st.binary(min_size=8, max_size=8)), max_size=12)


@given(payloads.filter(bool))
def test_sound_frames_of_any_payload_are_harmless(said: list[tuple[int, bytes]]) -> None:
    (found,) = daly_uart.decode(b"".join(emulated_uart.frame(1, command, data) for command, data in said))
    assert len(found.cell_mv) <= 48
    assert len(found.temp_dc) <= 16


@given(payloads, st.integers(0, 2**29 - 1), st.binary(max_size=8))
def test_can_frames_of_any_payload_are_harmless(said: list[tuple[int, bytes]], number: int, odd: bytes) -> None:
    told = heard([CanFrame(0x18004001 | c << 16, data, True) for c, data in said] + [CanFrame(number, odd, True)])
    assert all(each.module == 1 for each in told)


@given(st.sampled_from([0xD2, 0x51]), st.integers(0, 0x200), st.binary(max_size=200).map(lambda b: b[: len(b) & ~1]))
def test_registers_of_any_window_are_harmless(unit: int, start_: int, data: bytes) -> None:
    asked = 0xD2 if unit == 0xD2 else 0x81
    request = frame_of(bytes((asked, 3)) + start_.to_bytes(2, "big") + (len(data) // 2).to_bytes(2, "big"))
    (said,) = daly_d2.decode(frame_of(bytes((unit, 3, len(data))) + data), request)
    assert len(said.cell_mv) <= 48


# ---- the A5 protocol ----


def frames(*payloads: tuple[int, str]) -> bytes:
    return b"".join(emulated_uart.frame(1, command, bytes.fromhex(data)) for command, data in payloads)


def test_the_state_tells_which_way_the_current_counts() -> None:
    current = (0x90, "021400007545 0378")  # 2.1 A above the middle
    assert [
        (said.current_ma, said.extra.get("current_turned"))
        for state in ("00", "01", "02")
        for said in daly_uart.decode(frames(current, (0x93, f"{state}01019a0002a2d8")))
    ] == [(2100, None), (2100, None), (-2100, 1)]


def test_a_current_near_zero_is_not_turned() -> None:
    (said,) = daly_uart.decode(frames((0x90, "0214000075350378"), (0x93, "0201019a0002a2d8")))
    assert said.current_ma == 500


@pytest.mark.parametrize("first", [0, 1])
def test_parts_may_count_from_nought_or_one_and_come_in_any_order(first: int) -> None:
    parts = [(0x95, f"{first + n:02x}{3 * n + 1:04x}{3 * n + 2:04x}{3 * n + 3:04x}00") for n in range(3)]
    (said,) = daly_uart.decode(frames((0x94, "0801000000000300"), *reversed(parts), (0x95, "ff" * 8)))
    assert said.cell_mv == tuple(range(1, 9))


def test_a_part_that_was_lost_leaves_its_places_open() -> None:
    (said,) = daly_uart.decode(frames((0x94, "0401000000000300"), (0x95, "020ce00ce00ce000")))
    assert said.cell_mv == (None, None, None, 3296)


def test_a_sensor_that_is_not_there_keeps_its_place() -> None:
    (said,) = daly_uart.decode(frames((0x94, "0404000000000300"), (0x96, "0137003cff000000")))
    assert said.temp_dc == (150, None, 200, None)


def test_noise_and_echo_before_frames_are_passed_over() -> None:
    good = frames((0x90, "0214000075450378"))
    request = daly_uart.ask(1, 0x90).data
    assert daly_uart.decode(b"\xff\xff" + request + b"\xff" + good) == daly_uart.decode(good)
    assert daly_uart.extract(request, b"\xff" + request + good[:12]) is None
    assert daly_uart.extract(request, b"\xff" + request + good) == good


@pytest.mark.parametrize("cut", range(13))
def test_a_frame_cut_anywhere_is_no_frame(cut: int) -> None:
    with pytest.raises(BadFrame):
        daly_uart.decode(frames((0x90, "0214000075450378"))[:cut])


def test_a_request_alone_or_another_answer_is_no_answer() -> None:
    with pytest.raises(BadFrame, match="no answer"):
        daly_uart.decode(daly_uart.ask(1, 0x90).data)
    with pytest.raises(BadFrame, match="not what was asked"):
        daly_uart.decode(frames((0x90, "0214000075450378")), daly_uart.ask(1, 0x91).data)
    with pytest.raises(BadFrame, match="checksum should be"):
        daly_uart.extract(daly_uart.ask(1, 0x90).data, frames((0x90, "0214000075450378"))[:-1] + b"\0")


def test_a_board_that_leaves_out_commands_is_still_read() -> None:
    truth = replace(Battery(Plan()).truth(), current_ma=-7000)
    answer = asker(emulated_uart.answer, {1: truth})

    def ask(request: Request) -> bytes:
        assert isinstance(request, Send)
        if request.data[2] in (0x91, 0x92, 0x93, 0x97, 0x98):
            raise Silent("nothing")
        return answer(request)

    (said,) = converse(daly_uart.poll(1), ask)
    assert (said.faults, said.charge_on, said.cell_mv, said.current_ma) == (None, None, truth.cell_mv, -7000)


def test_identity_and_limits_of_a_board() -> None:
    truth = Battery(Plan(serial="DL-R32A-0042")).truth()
    (said,) = converse(daly_uart.identify(1), asker(emulated_uart.answer, {1: truth}))
    assert said.info == {
        "nominal_mah": 100_000,
        "manufactured": "2024-06-01",
        "serial": "DL-R32A-0042",
    }
    wanted = {name: truth.limits[name] for name in ("cell_max_mv", "cell_min_mv", "charge_ma", "discharge_ma")}
    assert wanted.items() <= said.limits.items()
    assert said.limits["voltage_max_mv"] == 16 * truth.limits["cell_max_mv"]


def test_all_parts_of_a_long_answer_arrive_over_a_wire() -> None:
    device = EmulatedDevice("daly_uart", {1: Battery(Plan(cells=14))})
    (running,) = start([device])
    link = open_link(running.link, daly_uart.DRIVER)
    try:
        (said,) = converse(daly_uart.poll(1), lambda request: link.ask(request, address=1))
    finally:
        link.close()
        running.stop()
    assert len(said.cell_mv) == 14
    assert all(said.cell_mv)


# ---- CAN ----


def heard(chunks: list[CanFrame]) -> list[Measured]:
    state, found = daly_can.DRIVER.fresh(), []
    for chunk in chunks:
        state, told = daly_can.feed(state, chunk)
        found += told
    return found


def test_a_set_without_some_answers_is_told_when_the_next_one_begins() -> None:
    round_ = [f for f in emulated_can.broadcast({1: Battery(Plan()).truth()}) if f.id >> 16 & 0xFF not in (0x97, 0x92)]
    assert heard(round_) == []
    assert len(heard(round_ * 2)) == 1


def test_frames_of_others_and_short_frames_are_passed_over_while_listening() -> None:
    odd = [CanFrame(0x18904001, b"\0" * 7, True), CanFrame(0x18904001, bytes(8)), CanFrame(0x379, bytes(8))]
    assert heard(odd * 3) == []


def test_asking_sends_each_listed_question_and_nothing_else() -> None:
    sent: list[Request] = []
    assert converse(daly_can.poll(2), lambda request: sent.append(request) or b"") == ()  # type: ignore[func-returns-value]
    assert [str(request) for request in sent] == [f"18{command:02X}0240#{'00' * 8}" for command in range(0x90, 0x99)]
    assert all(permits(daly_can.DRIVER, request) for request in sent)


@given(truths())
@settings(max_examples=20)
def test_the_dbc_file_reads_the_same_numbers(truth: Measured) -> None:
    text = resources.files("collectors").joinpath("dbc", "daly_can.dbc").read_text(encoding="utf-8")
    database: Any = load_string(text, database_format="dbc")
    said: dict[str, float] = {}
    for frame in emulated_can.broadcast({1: truth}):
        if frame.id in {message.frame_id for message in database.messages}:
            said |= database.decode_message(frame.id, frame.data, decode_choices=False)
    cells = [round(said[f"cell_{n + 1:02}"]) for n in range(len(truth.cell_mv))]
    (found,) = heard(emulated_can.broadcast({1: truth}))
    assert cells == list(found.cell_mv)
    assert round(said["voltage"] * 1000) == found.voltage_mv
    assert round(said["current"] * 1000) == found.current_ma
    assert (said["temperature_max"] * 10, said["cycles"]) == (found.temp_max_dc, found.cycles)


# ---- registers ----


def test_identity_and_limits_of_a_d2() -> None:
    truth = Battery(Plan()).truth()
    (said,) = converse(daly_d2.identify(daly_d2.D2), asker(emulated_d2.answer, {daly_d2.D2: truth}))
    assert said.info == {"nominal_mah": 100_000, "firmware": "1.0", "hardware": "Emulated LFP"}
    known = {name: value for name, value in truth.limits.items() if "release" not in name}
    assert {name: said.limits[name] for name in known} == known


def test_a_d2_without_the_long_read_is_read_in_short() -> None:
    answer = asker(emulated_d2.answer, {daly_d2.D2: Battery(Plan()).truth()})

    def ask(request: Request) -> bytes:
        if request == daly_d2.ask(daly_d2.D2, daly_d2.D2_LONG):
            raise Silent("nothing")
        return answer(request)

    (said,) = converse(daly_d2.poll(daly_d2.D2), ask)
    assert len(said.cell_mv) == 16
    assert said.mos_temp_dc is None


def test_the_length_tells_the_registers_of_usual_reads_only() -> None:
    image = emulated_d2.registers(Battery(Plan()).truth(), daly_d2.D2)
    for part in daly_d2.D2_PARTS:
        start_, count = part
        frame = frame_of(bytes((0xD2, 3, 2 * count)) + image[2 * start_ : 2 * (start_ + count)])
        assert daly_d2.decode(frame) == daly_d2.decode(frame, daly_d2.ask(daly_d2.D2, part).data)
    with pytest.raises(BadFrame, match="give the request"):
        daly_d2.decode(frame_of(bytes((0xD2, 3, 4)) + bytes(4)))


def test_words_of_a_p81_that_nobody_explains_are_an_unknown_fault() -> None:
    image = bytearray(emulated_d2.registers(Battery(Plan()).truth(), 1))
    image[2 * 0x6D + 1] = 1
    frame = frame_of(bytes((0x51, 3, 124)) + bytes(image[2 * 0x41 :]))
    (said,) = daly_d2.decode(frame)
    assert (said.faults, said.raw["failure_2"][:4]) == ((faults.UNKNOWN,), "0001")


# ---- what may be sent ----

A5_DANGERS = ("a540d90800000000000000", "a540da0801000000000000", "a540000800000000000000", "a5402108180601000000")
DANGERS: list[tuple[Driver, Request]] = [
    *(
        (daly_uart.DRIVER, Send(body + bytes((sum(body) & 0xFF,))))
        for body in (bytes.fromhex(text).ljust(12, b"\0") for text in A5_DANGERS)
    ),
    (daly_uart.DRIVER, Send(daly_uart.ask(1, 0x90).data * 2)),
    (daly_uart.DRIVER, daly_uart.ask(0, 0x90)),
    (daly_uart.DRIVER, daly_uart.ask(200, 0x90)),
    (daly_can.DRIVER, daly_can.ask(1, 0xD9)),  # discharge MOSFET
    (daly_can.DRIVER, daly_can.ask(1, 0xDA)),
    (daly_can.DRIVER, daly_can.ask(0, 0x90)),
    (daly_can.DRIVER, CanFrame(0x18900140, b"\1" + bytes(7), extended=True)),
    (daly_can.DRIVER, CanFrame(0x18904001, bytes(8), extended=True)),
    (daly_d2.DRIVER, Send(frame_of(bytes.fromhex("d20600a60000")))),  # a MOSFET
    (daly_d2.DRIVER, Send(frame_of(bytes.fromhex("d210008000010200c8")))),
    (daly_d2.DRIVER, Send(frame_of(bytes.fromhex("810601210000")))),
    (daly_d2.DRIVER, Send(frame_of(bytes.fromhex("d20300ce0003")))),  # password
    (daly_d2.DRIVER, daly_d2.ask(200, daly_d2.P81_FIRST)),
    (daly_d2.DRIVER, Registers(3, 0, 62)),
]


@pytest.mark.parametrize(("known", "request_"), DANGERS)
def test_no_dangerous_request_is_permitted(known: Driver, request_: Request) -> None:
    assert not permits(known, request_)


def test_can_is_listened_to_only() -> None:
    link = open_link("virtual:daly-listens", daly_can.DRIVER)
    with pytest.raises(Refused):
        link.ask(daly_can.ask(1, 0x90), address=1)
    link.close()
