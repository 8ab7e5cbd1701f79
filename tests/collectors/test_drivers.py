"""Rules that every driver keeps, whatever bytes come: only BadFrame, only permitted requests, the right answer."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured
from collectors import modbus_rtu
from collectors.decode import parse
from collectors.drivers import WHERE, driver, jbd, jk_modbus
from collectors.drivers.pylontech_rs485 import answers, frames
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.fleet import emulator
from collectors.fields import write
from collectors.kernel import (
    CanFrame,
    Chunk,
    Driver,
    Readable,
    Registers,
    Request,
    Send,
    Unsupported,
    converse,
    permits,
)

VECTORS = Path(__file__).parents[1] / "vectors"
ASKED = [name for name in sorted(WHERE) if driver(name).poll]
FRAMED = [name for name in sorted(WHERE) if driver(name).extract]
LISTENING = [name for name in sorted(WHERE) if driver(name).feed]


def captured(name: str) -> list[tuple[Chunk, bytes | None]]:
    """Every sound frame of a driver's vectors with its request."""
    found = []
    for path in sorted((VECTORS / name).glob("*.toml")):
        vector = tomllib.loads(path.read_text(encoding="utf-8"))
        texts = vector["frame"] if isinstance(vector["frame"], list) else [vector["frame"]]
        request = parse(driver(name), vector["request"]) if "request" in vector else None
        assert not isinstance(request, CanFrame)
        found += [(parse(driver(name), text), request) for text in texts if "bad" not in vector]
    return found


def try_decode(name: str, frame: Chunk, request: bytes | None) -> None:
    with suppress(BadFrame):
        assert all(isinstance(each, Measured) for each in driver(name).decode(frame, request))


def as_chunk(known: Driver, data: bytes) -> Chunk:
    """The bytes as what the driver takes; the first two name the id on CAN."""
    return CanFrame(int.from_bytes(data[:2], "big") & 0x7FF, data[2:]) if "can" in known.links else data


# ---- rubbish ----


@pytest.mark.parametrize("name", sorted(WHERE))
@given(data=st.data())
def test_random_bytes_give_a_reading_or_a_bad_frame(name: str, data: st.DataObject) -> None:
    known = driver(name)
    _, request = data.draw(st.sampled_from(captured(name)))
    try_decode(name, as_chunk(known, data.draw(st.binary(max_size=80))), data.draw(st.sampled_from([request, None])))
    try_decode(name, CanFrame(data.draw(st.integers(0, 2**29 - 1)), b"\x00" * 9, extended=True), None)


@pytest.mark.parametrize("name", sorted(WHERE))
@given(data=st.data())
def test_a_cut_or_flipped_frame_gives_a_reading_or_a_bad_frame(name: str, data: st.DataObject) -> None:
    frame, request = data.draw(st.sampled_from(captured(name)))
    raw = bytearray(frame.data if isinstance(frame, CanFrame) else frame)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    hurt = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try_decode(name, CanFrame(frame.id, hurt) if isinstance(frame, CanFrame) else hurt, request)


@given(payload=st.binary(max_size=250), which=st.sampled_from([*answers.LENGTHS, 0x42, 0x44]))
def test_a_sound_pylontech_frame_of_any_payload_is_harmless(payload: bytes, which: int) -> None:
    payload = payload[: answers.LENGTHS.get(which, 250)]
    request = frames.write(2, which, frames.GROUP if which in (0x42, 0x44) else b"")
    try_decode("pylontech_rs485", frames.write(2, 0, payload), request)
    try_decode("pylontech_rs485", frames.write(2, 0, payload), None)


@given(payload=st.binary(max_size=120), register=st.sampled_from(list(jbd.READERS)))
def test_a_sound_jbd_frame_of_any_payload_is_harmless(payload: bytes, register: int) -> None:
    try_decode("jbd", jbd_answer(register, payload), None)


@given(payload=st.binary(max_size=120), start=st.integers(0x0FF0, 0x1630))
def test_a_sound_jk_frame_of_any_window_is_harmless(payload: bytes, start: int) -> None:
    payload = payload[: len(payload) & ~1]
    request = modbus_rtu.frame_of(bytes((1, 3)) + start.to_bytes(2, "big") + (len(payload) // 2).to_bytes(2, "big"))
    try_decode("jk_modbus", modbus_rtu.frame_of(bytes((1, 3, len(payload))) + payload), request)


# ---- finding the answer ----


@pytest.mark.parametrize("name", FRAMED)
@given(data=st.data())
def test_the_answer_is_found_among_noise_echo_and_late_answers(name: str, data: st.DataObject) -> None:
    extract = driver(name).extract
    assert extract
    known = [(frame, asked) for frame, asked in captured(name) if isinstance(frame, bytes) and asked]
    answer, request = data.draw(st.sampled_from(known))
    late = [frame for frame, asked in known if asked[:8] != request[:8] and frame[1] != jbd.OLD_ECHO]
    before = [data.draw(st.binary(max_size=12)), data.draw(st.sampled_from([b"", request]))]
    before.append(data.draw(st.sampled_from([b"", *late])))
    stream = b"".join(before) + answer + data.draw(st.binary(max_size=6))
    cut = data.draw(st.integers(0, len(stream)))
    assert (extract(request, stream[:cut]) or extract(request, stream)) == answer


@pytest.mark.parametrize("name", ASKED)
def test_an_echo_before_the_answer_changes_nothing(name: str) -> None:
    for frame, request in captured(name):
        if isinstance(frame, bytes) and request:
            assert driver(name).decode(request + frame, request) == driver(name).decode(frame, request)


def test_a_broken_answer_is_told_at_once() -> None:
    for name, good, at in (("jbd", jbd_answer(4, b"\x0d\x66"), 4), ("pylontech_rs485", frames.write(2, 0, b""), 2)):
        known = driver(name)
        assert known.extract
        request = jbd.ask(4).data if name == "jbd" else frames.ask(2, 0x4F).data
        broken = good[:at] + bytes((good[at] ^ 1,)) + good[at + 1 :]
        with pytest.raises(BadFrame):
            known.extract(request, broken)


def test_a_start_byte_in_the_noise_does_not_hide_the_answer() -> None:
    answer = jbd_answer(4, b"\x0d\x66")
    assert jbd.extract(jbd.ask(4).data, b"\xdd\x04\x00\xff" + answer) == answer


# ---- what may be sent ----


def jbd_answer(register: int, payload: bytes) -> bytes:
    body = bytes((0, len(payload))) + payload
    return bytes((jbd.START, register)) + body + jbd.checksum(body).to_bytes(2, "big") + bytes((jbd.STOP,))


def jk_image() -> bytes:
    truth = Measured(
        voltage_mv=53_214, current_ma=-12_345, soc_pm=670, soh_pm=990, remaining_mah=187_600, cycles=42,
        cell_mv=(3325, 3331, 3320, 3326), temp_dc=(251, None, 187, None, None), mos_temp_dc=301, charge_on=True,
        discharge_on=False, extra={"run_time_s": 0, "balance_ma": -800, "release_overvoltage_s": 12},
    )  # fmt: skip
    data = bytearray(276)
    write(jk_modbus.MEASURED, truth, data)
    data[64:68], data[160:164], data[194:196] = b"\0\0\0\x0f", b"\0\x08\x08\0", b"\0\x10"
    data[74:82] = b"\0\x41\0\x42\0\x43\0\x44"
    return bytes(data)


def jk_reply(request: Request) -> bytes:
    assert isinstance(request, Registers)
    if request == jk_modbus.RUN_TIME:
        return (370_723).to_bytes(4, "big")
    at = request.start - jk_modbus.RUNTIME
    return (jk_image() + bytes(1000))[max(at, 0) :][: 2 * request.count]


def jbd_reply(request: Request) -> bytes:
    assert isinstance(request, Send)
    for frame, asked in captured("jbd"):
        if asked == request.data and isinstance(frame, bytes):
            return frame
    return jbd_answer(jbd.TRIPS, bytes(range(24)))


def pylontech_reply(request: Request) -> bytes:
    assert isinstance(request, Send)
    group = [(frame, asked) for frame, asked in captured("pylontech_rs485") if asked == request.data]
    asked = frames.split(request.data)
    for frame, _ in group:
        assert isinstance(frame, bytes)
        return frame
    if asked.code == answers.ALARMS:
        healthy = b"\x02\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00"
        return frames.write(asked.address, 0, b"\x00\x02" + 2 * healthy)
    if asked.code == answers.SOFTWARE:
        return frames.write(asked.address, 4)
    return frames.write(asked.address, 0, bytes((asked.address,)) + bytes(answers.LENGTHS[asked.code] - 1))


REPLIES: dict[str, Callable[[Request], bytes]] = {
    "jbd": jbd_reply,
    "jk_modbus": jk_reply,
    "pylontech_rs485": pylontech_reply,
}


def run_all(name: str) -> tuple[list[Request], dict[str, tuple[Measured, ...]]]:
    """Poll, identify and seldom to their ends; what was asked and what came of it."""
    known, asked = driver(name), []
    address = known.default_address

    def emulated(request: Request) -> bytes:
        return emulator(name).answer(request, address, {address: Battery(Plan()).truth()}) or b""

    def ask(request: Request) -> bytes:
        asked.append(request)
        return REPLIES.get(name, emulated)(request)

    talks = {"poll": known.poll, "identify": known.identify, "seldom": known.seldom}
    return asked, {what: converse(talk(address), ask) for what, talk in talks.items() if talk}


@pytest.mark.parametrize("name", ASKED)
def test_a_driver_asks_nothing_that_its_allow_list_does_not_hold(name: str) -> None:
    asked, found = run_all(name)
    assert asked
    assert all(permits(driver(name), request) for request in asked)
    assert all(found.values()) or driver(name).feed  # where the answers are overheard, not handed to the poll


DANGEROUS = [
    ("jbd", Send(bytes.fromhex("dd5ae1020000ff1d77"))),  # MOSFET control
    ("jbd", Send(bytes.fromhex("dda5e100ff1f77"))),
    ("jbd", Send(jbd.ask(jbd.STATUS).data + jbd.ask(0xE1).data)),
    ("pylontech_rs485", frames.ask(2, 0x94, bytes(10))),  # set limits
    ("pylontech_rs485", frames.ask(2, 0x95, b"\x02")),  # turn off
    ("pylontech_rs485", Send(frames.ask(2, 0x4F).data + frames.ask(2, 0x95, b"\x02").data)),
    ("jk_modbus", Send(bytes.fromhex("011016200001020000d6f1"))),
    ("jk_modbus", Registers(3, 0x1600, 1)),  # actions: shut down, restart, factory values
    ("jk_modbus", Registers(3, 0x1438, 8)),  # passcode
    ("jk_modbus", Registers(3, 0x1400, 40)),  # passcode among others
    ("jk_modbus", Registers(3, 0x1470, 8)),
    ("pylontech_can", CanFrame(0x305, bytes(8))),
    ("pylontech_can", CanFrame(0x351, bytes(8))),
]


@pytest.mark.parametrize(("name", "request_"), DANGEROUS)
def test_no_dangerous_request_is_permitted(name: str, request_: Request) -> None:
    assert not permits(driver(name), request_)


@pytest.mark.parametrize("name", sorted(WHERE))
def test_an_allow_list_has_no_gaps_of_the_wrong_kind(name: str) -> None:
    known = driver(name)
    assert bool(known.allow) == bool(known.poll)
    assert not any(isinstance(permit, Readable) and permit.function not in (1, 3, 4) for permit in known.allow)


# ---- what a whole conversation says ----


def test_a_jk_poll_is_one_reading_with_the_run_time_of_its_own_read() -> None:
    _, found = run_all("jk_modbus")
    (reading,) = found["poll"]
    assert reading.cell_mv == (3325, 3331, 3320, 3326)
    assert (reading.cell_min_mv, reading.cell_min_at, reading.cell_max_mv, reading.cell_max_at) == (3320, 2, 3331, 1)
    assert reading.temp_dc == (251, None, 187, None, None)
    assert (reading.current_ma, reading.charge_on, reading.discharge_on) == (-12_345, True, False)
    assert reading.extra["run_time_s"] == 370_723
    assert reading.extra["release_overvoltage_s"] == 12
    assert reading.faults == ("cell_undervoltage_protection", "cell_undervoltage_warning")
    assert (reading.raw["alarm"], reading.raw["user_alarm_2"]) == ("00080800", "0010")


def test_a_jk_whose_table_ends_early_is_read_without_its_last_part() -> None:
    def ask(request: Request) -> bytes:
        if request == jk_modbus.MORE:
            raise Unsupported("no such register")
        return jk_reply(request)

    (reading,) = converse(jk_modbus.poll(3), ask)
    assert (reading.module, reading.temp_dc) == (3, (251, None))


def test_a_jk_run_time_of_zero_inside_a_longer_read_is_not_believed() -> None:
    assert "run_time_s" not in jk_modbus.measure(jk_modbus.RUNTIME, jk_image(), module=1).extra


def test_jk_wire_resistances_are_told_of_present_cells_only() -> None:
    _, found = run_all("jk_modbus")
    assert {k: v for k, v in found["seldom"][0].extra.items() if k.startswith("wire")} == {
        f"wire_{i:02}_mohm": 0x41 + i for i in range(4)
    }


def test_passcodes_of_a_jk_are_never_shown() -> None:
    info = jk_modbus.measure(
        jk_modbus.DEVICE, b"A" * 56 + b"SECRET".ljust(16, b"\0") + b"B" * 40 + b"SECRET" * 3, module=1
    )
    assert "SECRET" not in str(info)


def test_pylontech_modules_of_a_group_carry_their_own_alarms_and_addresses() -> None:
    _, found = run_all("pylontech_rs485")
    assert [reading.module for reading in found["poll"]] == [2, 3]
    assert all(reading.faults == () and reading.cell_mv for reading in found["poll"])
    assert [reading.module for reading in found["seldom"]][:2] == [2, 3]
    assert found["seldom"][-1].kind == "bank"
    assert {"cell_max_mv", "charge_ma", "discharge_ma"} <= set(found["identify"][0].limits)


def test_a_pylontech_without_alarm_answers_is_still_read() -> None:
    def ask(request: Request) -> bytes:
        assert isinstance(request, Send)
        if frames.split(request.data).code == answers.ALARMS:
            raise Silent("nothing")
        return pylontech_reply(request)

    poll = driver("pylontech_rs485").poll
    assert poll
    assert [reading.faults for reading in converse(poll(2), ask)] == [None, None]


def alarmed(cells: bytes, temps: bytes, measured: bytes, status: bytes) -> Measured:
    payload = bytes((0, 2, len(cells))) + cells + bytes((len(temps),)) + temps + measured + status
    return driver("pylontech_rs485").decode(frames.write(2, 0, payload), frames.ask(2, 0x44, b"\x02").data)[0]


def test_a_pylontech_alarm_names_its_cell_in_raw_and_its_fault_by_id() -> None:
    said = alarmed(b"\0\x01\xf0", b"\0\x02", b"\0\0\0", b"\x02\x00\x00\x02\x00")
    assert said.raw["cells"] == "0001f0"
    assert said.faults == (
        "cell_undervoltage_protection",
        "bms_internal_failure",
        "discharge_overtemperature_protection",
    )


@pytest.mark.parametrize(
    ("temps", "status", "fault"),
    [
        (b"\0\x02", b"\x40\0\0\0\0", "charge_overtemperature_protection"),  # status 1 says charging
        (b"\0\x02", b"\0\0\x80\0\0", "charge_overtemperature_protection"),  # the current says charging
        (b"\0\x01", b"\0\0\0\0\0", "charge_undertemperature_protection"),
        (b"\0\0\0\0\0\x02", b"\0\0\0\0\0", "mosfet_overtemperature_protection"),
        (b"\0", b"\x08\0\0\0\0", "vendor_code_unknown"),
    ],
)
def test_a_pylontech_alarm_is_one_fault_only(temps: bytes, status: bytes, fault: str) -> None:
    assert alarmed(b"\0\0", temps, b"\0\0\0", status).faults == (fault,)


def test_a_clone_that_counts_in_tens_is_seen_by_its_cell_sum() -> None:
    cells = b"".join(mv.to_bytes(2, "big") for mv in [3300] * 16)
    tail = (-1234).to_bytes(2, "big", signed=True) + (5280).to_bytes(2, "big") + (5000).to_bytes(2, "big")
    payload = b"\0\x02\x10" + cells + b"\x01" + (2981).to_bytes(2, "big") + tail + b"\x02" + (10_000).to_bytes(2, "big")
    (said,) = driver("pylontech_rs485").decode(frames.write(2, 0, payload + b"\0\x07"), None)
    assert (said.voltage_mv, said.current_ma, said.remaining_mah, said.soc_pm) == (52_800, -12_340, 50_000, 500)


def test_a_command_that_the_module_does_not_know_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        driver("pylontech_rs485").decode(frames.write(2, 4), None)
    with pytest.raises(BadFrame, match="modules do not reach"):
        driver("pylontech_rs485").decode(frames.write(2, 0x91), None)


def test_a_jbd_that_counts_in_100_ma_says_so_in_its_tail() -> None:
    status = bytes.fromhex("055f00644adf4e2000022d1400000000000023600304010bb1800000") + bytes.fromhex("4e204adf0000")
    (said,) = jbd.decode(jbd_answer(jbd.STATUS, status))
    assert (said.current_ma, said.full_mah, said.remaining_mah) == (10_000, 2_000_000, 1_916_700)


# ---- listening ----


@pytest.mark.parametrize("name", LISTENING)
@given(data=st.data())
def test_any_order_of_can_frames_is_harmless(name: str, data: st.DataObject) -> None:
    known = driver(name)
    assert known.feed
    heard = [frame for frame, _ in captured(name)]
    odd = st.builds(CanFrame, st.integers(0, 0x7FF), st.binary(max_size=8))
    state = known.fresh()
    for frame in data.draw(st.lists(st.one_of(st.sampled_from(heard), odd), max_size=30)):
        state, readings = known.feed(state, frame)
        assert all(isinstance(reading, Measured) for reading in readings)


def heard(*frames_: str) -> list[Measured]:
    known = driver("pylontech_can")
    assert known.feed
    state = known.fresh()
    found: list[Measured] = []
    for text in frames_:
        frame = parse(known, text)
        state, readings = known.feed(state, frame)
        found += readings
    return found


def test_a_stack_gives_one_reading_when_its_next_set_begins() -> None:
    second = ("351#1402C012C012C201", "355#58005E00", "356#7A13F2FE6B01", "359#0000000006504E", "35C#C000")
    assert heard(*second) == []
    (reading,) = heard(*second, second[0])
    assert (reading.kind, reading.voltage_mv, reading.soc_pm, reading.faults) == ("bank", 49_860, 880, ())
    assert reading.info["protocol"] == "V1.2"


def test_v13_has_no_enable_bits_so_a_limit_of_nothing_is_a_shut_path() -> None:
    (reading,) = heard("351#10020000C012C201", "356#7B13E9FE6B01", "35A#0400000000000000", "351#10020000C012C201")
    assert (reading.charge_on, reading.discharge_on) == (False, True)
    assert reading.faults == ("cell_overvoltage_protection",)


@pytest.mark.parametrize(
    ("frame", "faults"),
    [
        ("35A#AAAAAAAAAAAAAAAA", ()),  # all fine
        ("35A#FFFFFFFFFFFFFFFF", ()),  # all not available
        ("35A#0000100000000004", ("short_circuit_protection",)),  # and online status, which is no alarm
        ("35A#00000000000001", ("charge_overcurrent_warning",)),  # seven bytes
        ("359#0200000001504E", ("cell_overvoltage_protection",)),
        ("359#0100000001504E", ("vendor_code_unknown",)),
    ],
)
def test_alarm_bits_and_pairs_become_faults(frame: str, faults: tuple[str, ...]) -> None:
    known = driver("pylontech_can")
    assert known.decode(parse(known, frame), None)[0].faults == faults
