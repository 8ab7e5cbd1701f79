"""JK devices: one map for Modbus and frames, two frame layouts, a triggered bus that may have another master, CAN."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import LogEntry, Measured
from collectors.drivers import driver, jk_ble, jk_can, jk_nw, jk_pb
from collectors.drivers.jk import frames, maps, says
from collectors.emulators import jk_ble as emulated_ble
from collectors.emulators import jk_modbus as emulated_modbus
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice, Truths
from collectors.emulators.fleet import emulator, history
from collectors.kernel import Answer, CanFrame, Poll, Request, Send, Unsupported, converse, permits
from collectors.modbus_rtu import frame_of

VECTORS = Path(__file__).parents[1] / "vectors"
NAMES = ("jk_ble", "jk_can", "jk_nw", "jk_pb")
TRUTH = Battery(Plan(serial="506177F49000674", model="JK-PB2A16S20P")).truth()


def captured(case: str) -> bytes:
    return bytes.fromhex(tomllib.loads((VECTORS / f"{case}.toml").read_text(encoding="utf-8"))["frame"])


def modules() -> st.SearchStrategy[Measured]:
    """Anything that a module may measure; whole degrees and whole percents, which every protocol here carries."""
    degrees = st.integers(-40, 99).map(lambda t: 10 * t)

    def build(cells: list[int], current: int, full: int, soc: int, temps: tuple[int, ...]) -> Measured:
        return replace(
            TRUTH,
            cell_mv=tuple(cells),
            voltage_mv=sum(cells),
            current_ma=10 * current,
            full_mah=1000 * full,
            remaining_mah=10 * full * soc,
            soc_pm=10 * soc,
            temp_dc=temps[:4],
            mos_temp_dc=temps[4],
            faults=(),
            charge_on=soc < 50,
            discharge_on=soc % 2 == 0,
        )

    cells = st.lists(st.integers(500, 5_000), min_size=1, max_size=24)
    return st.builds(
        build, cells, st.integers(-32_000, 32_000), st.integers(1, 900), st.integers(0, 100), st.tuples(*[degrees] * 5)
    )


def ask(name: str, talk: Poll | None, truths: Truths, address: int = 1) -> Measured:
    """One conversation with emulated devices, without a wire; only what may be sent is sent."""

    def answered(request: Request) -> Answer:
        assert permits(driver(name), request)
        answer = emulator(name).answer(request, address, truths)
        if answer is None:
            raise Silent(f"no answer to {request}")
        assert isinstance(request, Send)
        assert driver(name).extract(request.data, b"\x55\xaaNW" + request.data + answer) is not None  # type: ignore[misc]
        return answer

    assert talk
    (said,) = converse(talk(address), answered)
    return said


def hear(broadcast: Iterable[CanFrame]) -> list[Measured]:
    state, found = jk_can.DRIVER.fresh(), []
    for frame in broadcast:
        state, readings = jk_can.feed(state, frame)
        found += readings
    return found


def read(name: str, truth: Measured) -> Measured:
    if name == "jk_can":
        return hear(emulator(name).broadcast({1: truth}) * 2)[0]
    return ask(name, driver(name).poll, {1: truth})


# ---- what is true is said ----


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(truth=modules())
def test_a_jk_says_what_is_true_over_the_whole_range(name: str, truth: Measured) -> None:
    said = read(name, truth)
    step = {"jk_can": 100, "jk_nw": 10}.get(name, 1)
    carried = ("voltage_mv", "current_ma", "remaining_mah", "full_mah")[: 2 if name == "jk_nw" else 4]
    for quantity in carried:
        assert abs(getattr(said, quantity) - getattr(truth, quantity)) < step, quantity
    assert (said.cell_mv, said.soc_pm) == (truth.cell_mv, truth.soc_pm)
    sensors = 2 if name == "jk_nw" else 4
    assert (said.temp_dc[:sensors], said.mos_temp_dc) == (truth.temp_dc[:sensors], truth.mos_temp_dc)
    assert (said.charge_on, said.discharge_on, said.faults) == (truth.charge_on, truth.discharge_on, ())
    assert said.module == (1 if name in ("jk_can", "jk_pb") else None)


@settings(max_examples=40)
@given(truth=modules())
def test_the_layout_of_a_frame_is_seen_from_its_contents(truth: Measured) -> None:
    for layout in (frames.LONG, frames.SHORT):
        (said,) = jk_ble.decode(emulated_ble.cell_info(truth, layout))
        assert (said.cell_mv, said.voltage_mv, said.current_ma) == (truth.cell_mv, truth.voltage_mv, truth.current_ma)
        assert said.temp_dc[:2] == truth.temp_dc[:2]


def test_the_frame_and_the_modbus_table_say_the_same() -> None:
    by_modbus = says.runtime(emulated_modbus.runtime(TRUTH), maps.RUNTIME)
    (by_frame,) = jk_ble.decode(emulated_ble.cell_info(TRUTH))
    assert by_frame == by_modbus


WORDS = {"jk_ble": "alarm", "jk_pb": "alarm", "jk_nw": "uart_alarm", "jk_can": "can_error"}
BITS = [(name, bit) for name, word in WORDS.items() for bit in faults.brand("jk")[word].bits]


@pytest.mark.parametrize(("name", "bit"), BITS)
def test_every_fault_that_has_a_bit_arrives(name: str, bit: int) -> None:
    told = faults.brand("jk")[WORDS[name]].bits[bit].active
    said = read(name, replace(TRUTH, faults=told))
    assert set(told) <= set(said.faults or ())


@pytest.mark.parametrize("pair", faults.brand("jk")["can_serious"].bits)
@pytest.mark.parametrize(("level", "word"), [(1, "can_serious"), (2, "can_lesser"), (3, "can_lesser")])
def test_every_level_of_a_can_alarm_is_a_fault(pair: int, level: int, word: str) -> None:
    frame = CanFrame(jk_can.LEVELS, (level << 2 * pair).to_bytes(4, "little"))
    assert jk_can.decode(frame)[0].faults == (faults.brand("jk")[word].bits[pair].fault,)


@pytest.mark.parametrize("name", ["jk_ble", "jk_pb"])
def test_a_jk_says_who_it_is_and_what_its_limits_are(name: str) -> None:
    told = ask(name, driver(name).identify, {1: TRUTH})
    assert (told.info["serial"], told.info["model"]) == (TRUTH.info["serial"], TRUTH.info["model"])
    limits = told.limits or read(name, TRUTH).limits
    assert {key: limits[key] for key in TRUTH.limits} == TRUTH.limits


def test_a_log_comes_back_entry_by_entry() -> None:
    log = tuple(LogEntry(str(code), device_ts=frames.CLOCK_BEGINS_MS + 1000 * code) for code in range(1, 51))
    told = ask("jk_ble", jk_ble.seldom, {1: replace(TRUTH, log=log)}).log
    assert [(e.code, e.device_ts) for e in told] == [(e.code, e.device_ts) for e in log]
    assert all(entry.text for entry in told)


def test_an_unknown_entry_of_the_log_is_kept() -> None:
    log = (LogEntry("99", device_ts=frames.CLOCK_BEGINS_MS),)
    (entry,) = ask("jk_ble", jk_ble.seldom, {1: replace(TRUTH, log=log)}).log
    assert (entry.code, entry.text, entry.hex) == ("99", "", "0000000063")


# ---- frames ----


def test_passcodes_are_never_shown() -> None:
    for case in ("jk_ble/v19-device-info", "jk_ble/v10-device-info"):
        assert "1234'" not in str(jk_ble.decode(captured(case)))
    assert "123456" not in str(ask("jk_nw", jk_nw.poll, {1: TRUTH}))


def test_what_the_radio_module_puts_between_frames_is_passed_over() -> None:
    frame = captured("jk_ble/v19-16-cells-discharging")
    ready = bytes.fromhex("41540d0aaa5590ebc8010100000000000000000000000000")
    assert jk_ble.decode(ready + frame + ready) == jk_ble.decode(frame)


def test_a_frame_that_was_cut_does_not_hide_the_next_one() -> None:
    frame = captured("jk_ble/v15-16-cells-charging")
    assert jk_ble.extract(jk_ble.ask(jk_ble.ASK_CELLS).data, frame[:120] + frame) == frame
    assert jk_ble.extract(jk_ble.ask(jk_ble.ASK_CELLS).data, frame[:120] + frame[:299]) is None


def test_an_unknown_type_of_frame_is_refused_by_name() -> None:
    with pytest.raises(BadFrame, match="0x07"):
        jk_ble.decode(emulated_ble.frame(7))


@given(st.sampled_from(sorted(frames.READERS)), st.binary(max_size=293))
def test_a_sound_frame_of_any_contents_is_harmless(kind: int, body: bytes) -> None:
    frame = emulated_ble.frame(kind, body=body)
    assert jk_pb.decode(frame)
    with suppress(BadFrame):
        assert jk_ble.decode(frame)


# ---- RS485 with a trigger ----


def test_a_receipt_of_another_module_is_not_ours() -> None:
    frame, request = emulated_ble.cell_info(TRUTH), jk_pb.ask(2, jk_pb.ASK_CELLS).data
    late, ours = (frame + frame_of(jk_pb.ask(at, jk_pb.ASK_CELLS).data[:6]) for at in (1, 2))
    assert jk_pb.extract(request, late) is None
    assert jk_pb.extract(request, late + ours) == ours


def test_a_refused_trigger_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        jk_pb.extract(jk_pb.ask(1, jk_pb.ASK_DEVICE).data, frame_of(bytes((1, 0x90, 2))))


def test_a_module_that_is_silent_about_itself_still_tells_its_limits() -> None:
    def answered(request: Request) -> bytes:
        if request == jk_pb.ask(1, jk_pb.ASK_DEVICE):
            raise Silent("nothing")
        return emulator("jk_pb").answer(request, 1, {1: TRUTH}) or b""

    (told,) = converse(jk_pb.identify(1), answered)
    assert told.limits
    assert not told.info.get("serial")


def traffic(*asked: tuple[int, int]) -> bytes:
    """What a master and its modules say: triggers, frames, receipts."""
    truths = {1: TRUTH, 2: replace(TRUTH, current_ma=-7000)}
    requests = [jk_pb.ask(address, register) for address, register in asked]
    return b"".join(r.data + (emulator("jk_pb").answer(r, 0, truths) or b"") for r in requests)


@given(st.lists(st.integers(1, 900), max_size=8))
def test_beside_a_master_every_module_is_heard_however_the_bytes_are_cut(cuts: list[int]) -> None:
    heard = traffic((1, jk_pb.ASK_SETTINGS), (1, jk_pb.ASK_CELLS), (2, jk_pb.ASK_CELLS)) + b"\0" * 8
    places = [0, *sorted(cuts), len(heard)]
    state, found = jk_pb.Heard(), []
    for start, end in pairwise(places):
        state, readings = jk_pb.feed(state, heard[start:end])
        found += readings
    assert [(m.module, m.current_ma, bool(m.limits)) for m in found] == [(1, TRUTH.current_ma, True), (2, -7000, False)]


def test_a_missing_receipt_is_made_up_for_by_the_trigger_before_the_frame() -> None:
    request, frame = jk_pb.ask(2, jk_pb.ASK_CELLS).data, emulated_ble.cell_info(TRUTH)
    _, (said,) = jk_pb.feed(jk_pb.Heard(), request + frame + request + b"\0" * 8)
    assert said.module == 2
    _, nobody = jk_pb.feed(jk_pb.Heard(), frame + b"\0" * 12)
    assert nobody == ()


@given(st.lists(st.binary(max_size=700), max_size=6))
def test_rubbish_on_the_pair_is_harmless_and_not_kept_for_ever(chunks: list[bytes]) -> None:
    state = jk_pb.Heard()
    for chunk in chunks:
        state, found = jk_pb.feed(state, chunk)
        assert found == ()
        assert len(state.rest) <= jk_pb.KEPT


# ---- UART ----


def nw(*parts: tuple[int, bytes]) -> Measured:
    info = b"".join(bytes((number,)) + data for number, data in parts)
    return jk_nw.decode(jk_nw.frame_of(jk_nw.READ_ALL, 0, jk_nw.REPLY, info))[0]


@pytest.mark.parametrize(
    ("raw", "protocol", "current"),
    [(0x80D0, b"\1", 2080), (0x0045, b"\1", -690), (11_000, b"\0", -10_000), (9_000, b"\0", 10_000)],
)
def test_two_ways_to_count_a_current(raw: int, protocol: bytes, current: int) -> None:
    assert nw((jk_nw.CURRENT, raw.to_bytes(2, "big")), (jk_nw.PROTOCOL, protocol)).current_ma == current


def test_an_older_unit_without_a_protocol_number_counts_from_an_offset() -> None:
    assert nw((jk_nw.CURRENT, (10_500).to_bytes(2, "big"))).current_ma == -5000


def test_degrees_below_zero_count_on_from_a_hundred() -> None:
    said = nw((0x80, b"\0\x65"), (0x81, b"\0\x8c"), (0x82, b"\0\x64"))
    assert (said.mos_temp_dc, said.temp_dc) == (-10, (-400, 1000))


def test_an_id_that_nobody_knows_travels_on_as_raw_with_all_behind_it() -> None:
    said = nw((0x85, b"\x32"), (0xD7, b"\1\2\3"))
    assert (said.soc_pm, said.raw["rest"]) == (500, "d7010203")
    assert nw((jk_nw.CURRENT, b"\x80\xd0"), (0xD7, b"")).current_ma is None


@given(st.binary(max_size=60))
def test_a_sound_frame_of_any_list_is_harmless(info: bytes) -> None:
    with suppress(BadFrame):
        assert jk_nw.decode(jk_nw.frame_of(jk_nw.READ_ALL, 0, jk_nw.REPLY, info))


# ---- CAN ----


def test_several_devices_on_one_bus_are_told_apart() -> None:
    found = hear(emulator("jk_can").broadcast({0: TRUTH, 3: replace(TRUTH, soc_pm=420)}) * 3)
    assert [(m.module, m.soc_pm) for m in found] == [(0, (TRUTH.soc_pm or 0) // 10 * 10), (3, 420)] * 2
    assert all(m.cell_mv == TRUTH.cell_mv for m in found)


def test_an_alarm_that_is_not_sent_any_more_is_over_after_a_round() -> None:
    bad = replace(TRUTH, faults=("cell_undervoltage_warning",))
    rounds = [emulator("jk_can").broadcast({0: truth}) for truth in (bad, bad, TRUTH, TRUTH, TRUTH)]
    told = [m.faults for m in hear(frame for each in rounds for frame in each)]
    assert told[0] == ("cell_undervoltage_warning",)
    assert told[-1] == ()


def test_a_device_that_sends_the_standard_frames_only_is_read_without_cells() -> None:
    plain = [frame for frame in emulator("jk_can").broadcast({2: TRUTH}) if not frame.extended]
    found = hear(plain * 3)
    assert found
    assert {(m.module, m.cell_mv, m.voltage_mv is not None) for m in found} == {(2, (), True)}


@given(st.integers(0, 2**29 - 1), st.binary(max_size=9), st.booleans())
def test_any_frame_of_a_bus_is_decoded_or_refused(number: int, data: bytes, extended: bool) -> None:
    for each in (number, jk_can.EXTENDED[number % len(jk_can.EXTENDED)], jk_can.STANDARD[number % 4]):
        frame = CanFrame(each, data, extended or each > 0x7FF)
        jk_can.feed({}, frame)
        with suppress(BadFrame):
            assert jk_can.decode(frame)


# ---- what may be sent ----


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("jk_nw", Send(jk_nw.frame_of(2, 3, 0, b"\xab\0"))),  # charging off
        ("jk_nw", Send(jk_nw.frame_of(1, 3, 0, b"\0"))),  # activate
        ("jk_nw", Send(jk_nw.frame_of(5, 3, 0, b"123456"))),  # password
        ("jk_ble", Send(jk_ble.ask(0x1D).data)),  # charging switch
        ("jk_ble", Send(jk_ble.ask(0x96).data + jk_ble.ask(0x1D).data)),
        ("jk_pb", jk_pb.ask(1, 0x1070)),  # charging switch
        ("jk_pb", jk_pb.ask(1, 0x161A)),
        ("jk_pb", jk_pb.ask(0, 0x1620)),  # the master
        ("jk_pb", Send(frame_of(bytes.fromhex("0110162000010200 01")))),
        ("jk_can", CanFrame(0x18F0F428, bytes(8), extended=True)),  # control
    ],
)
def test_nothing_that_changes_a_jk_is_permitted(name: str, request_: Request) -> None:
    assert not permits(driver(name), request_)


@pytest.mark.parametrize("name", NAMES)
def test_the_history_of_an_emulated_jk_is_read_through_its_driver(name: str) -> None:
    places = {1, 2} if name in ("jk_can", "jk_pb") else {1}
    rows = list(history(EmulatedDevice(name, {at: Battery(Plan(seed=at)) for at in places}), 0, 300_000, 60))
    assert len({ts for ts, _, _ in rows}) == 5
    assert {place for _, place, _ in rows} == places
