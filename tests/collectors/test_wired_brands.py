"""ANT, Seplos, PACE and JBD UP: what their frames hide, what their emulated devices say, and what is never sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured
from collectors.drivers import ant_new, ant_old, driver, jbd_up16s, pace, seplos_v2, seplos_v3
from collectors.drivers.pylontech_rs485 import frames
from collectors.drivers.seplos_v3 import maps
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice, Truths
from collectors.emulators.fleet import emulator, start
from collectors.kernel import Registers, Request, Send, Unsupported, converse, permits
from collectors.links import open_link
from collectors.links.modbus import Modbus
from collectors.modbus_rtu import frame_of

STEPS = {  # the step in which each protocol counts; 0.1 degC counts as 1
    "ant_new": {"voltage_mv": 10, "current_ma": 100, "remaining_mah": 1, "full_mah": 1, "soc_pm": 10, "soh_pm": 10},
    "ant_old": {"voltage_mv": 100, "current_ma": 100, "remaining_mah": 1, "full_mah": 1, "soc_pm": 10},
    "jbd_up16s": {"voltage_mv": 10, "current_ma": 10, "remaining_mah": 10, "full_mah": 10, "soc_pm": 1, "soh_pm": 10},
    "pace": {"voltage_mv": 1, "current_ma": 10, "remaining_mah": 10, "full_mah": 10},
    "seplos_v2": {"voltage_mv": 10, "current_ma": 10, "remaining_mah": 10, "full_mah": 10, "soc_pm": 1, "soh_pm": 1},
    "seplos_v3": {"voltage_mv": 10, "current_ma": 10, "remaining_mah": 10, "full_mah": 10, "soc_pm": 1, "soh_pm": 1},
}
DEGREES = {"ant_new": 10, "ant_old": 10}
WORDS = {  # the alarm words that a driver reads
    "ant_new": ("ant", ("charge_mosfet", "discharge_mosfet", "balancer")),
    "ant_old": ("ant", ("charge_mosfet", "discharge_mosfet", "balancer")),
    "jbd_up16s": ("jbd", ("up16s_fault", "up16s_alarm")),
    "pace": ("pace", pace.NAMED),
    "seplos_v2": ("seplos", tuple(seplos_v2.EVENTS.values())),
    "seplos_v3": ("seplos", tuple(maps.EVENTS.values())),
}


def truths() -> st.SearchStrategy[Measured]:
    """Anything that a module may measure."""
    cells = st.lists(st.integers(1_500, 3_900), min_size=4, max_size=16)
    temps = st.lists(st.integers(-39, 90).map(lambda degrees: 10 * degrees), min_size=4, max_size=4)
    charge = st.tuples(st.integers(20_000, 600_000), st.integers(0, 1000))
    flags = st.tuples(st.booleans(), st.booleans(), st.integers(0, 0xFFFF))

    def build(
        mv: list[int], current: int, temp: list[int], full: tuple[int, int], on: tuple[bool, bool, int]
    ) -> Measured:
        return Measured(
            cell_mv=tuple(mv), voltage_mv=sum(mv), current_ma=100 * current, temp_dc=tuple(temp), mos_temp_dc=temp[3],
            full_mah=full[0], remaining_mah=full[0] * full[1] // 1000, soc_pm=full[1], soh_pm=900, cycles=312,
            charge_on=on[0], discharge_on=on[1], balancing=on[2], faults=(),
            cell_max_mv=max(mv), cell_min_mv=min(mv), cell_max_at=mv.index(max(mv)), cell_min_at=mv.index(min(mv)),
            info={"nominal_mah": full[0]},
        )  # fmt: skip

    return st.builds(build, cells, st.integers(-3_200, 3_200), temps, charge, flags)


def read(name: str, modules: Truths, address: int) -> tuple[Measured, ...]:
    """Poll the emulated device through its driver, without a wire."""
    known, acts = driver(name), emulator(name)

    def ask(request: Request) -> bytes:
        answer = acts.answer(request, address, modules)
        if answer is None:
            raise Silent(f"no answer to {request}")
        return answer

    assert known.poll
    return converse(known.poll(address), ask)


@pytest.mark.parametrize("name", sorted(STEPS))
@settings(max_examples=40)
@given(truth=truths())
def test_what_is_true_arrives(name: str, truth: Measured) -> None:
    (found,) = read(name, {1: truth}, 1)
    for field, step in STEPS[name].items():
        assert getattr(found, field) == getattr(truth, field) // step * step, field
    assert (found.cell_mv, found.temp_dc[:4]) == (truth.cell_mv, truth.temp_dc)
    assert (found.charge_on, found.discharge_on) == (truth.charge_on, truth.discharge_on)
    assert (found.balancing, found.faults) == (truth.balancing, ())
    assert found.mos_temp_dc in ((truth.mos_temp_dc,) if name != "ant_old" else (None,))
    assert found.cell_max_at in (truth.cell_max_at, None)


def every_fault() -> Iterator[tuple[str, str]]:
    for name, (brand, words) in WORDS.items():
        codes = (code for word in words for _, code in faults.brand(brand)[word].codes())
        yield from sorted({(name, code.fault) for code in codes if code.fault})


@pytest.mark.parametrize(("name", "fault"), list(every_fault()))
def test_every_fault_that_has_a_bit_arrives(name: str, fault: str) -> None:
    truth = replace(Battery(Plan()).truth(), faults=(fault,))
    (found,) = read(name, {1: truth}, 1)
    assert found.faults == (fault,)


def test_a_lockout_of_a_seplos_is_told_beside_what_caused_it() -> None:
    truth = replace(Battery(Plan()).truth(), faults=("repeat_lockout", "discharge_overcurrent_protection"))
    for name in ("seplos_v2", "seplos_v3"):
        (found,) = read(name, {0: truth}, 0)
        assert set(found.faults or ()) == {"repeat_lockout", "discharge_overcurrent_protection"}


def test_each_module_on_a_bus_speaks_for_itself() -> None:
    pair = {1: Battery(Plan(seed=1)).truth(), 2: Battery(Plan(seed=2, cells=15)).truth()}
    for name in ("seplos_v2", "seplos_v3", "jbd_up16s"):
        for address, truth in pair.items():
            (found,) = read(name, pair, address)
            assert (found.module, found.cell_mv) == (address, truth.cell_mv)
    chain = read("pace", pair, 1)
    assert [(m.module, m.cell_mv) for m in chain] == [(a, t.cell_mv) for a, t in pair.items()]


def test_a_pace_that_garbles_the_answer_of_its_chain_is_asked_alone() -> None:
    truth, asked = {1: Battery(Plan()).truth()}, []

    def ask(request: Request) -> bytes:
        asked.append(request)
        if request == pace.ask(1, pace.ANALOG, b"\xff"):
            raise BadFrame("cut short")
        return emulator("pace").answer(request, 1, truth) or b""

    assert [m.module for m in converse(pace.poll(1), ask)] == [1]
    assert asked[1:] == [pace.ask(1, pace.ANALOG, b"\x01"), pace.ask(1, pace.STATUS, b"\x01")]


def test_bytes_that_nobody_has_explained_between_pace_modules_are_kept() -> None:
    one = emulator("pace").answer(pace.ask(1, pace.ANALOG, b"\x01"), 1, {1: Battery(Plan()).truth()})
    body = frames.split(one or b"").info[2:]
    both = frames.write(1, 0, b"\0\2" + body + b"\x60" + body + b"\x60", pace.VERSION)
    found = pace.decode(both, pace.ask(1, pace.ANALOG, b"\xff").data)
    assert [(m.module, m.raw["rest"]) for m in found] == [(1, "60"), (2, "60")]


# ---- alarms beyond the bits ----


def seplos_alarms(cells: bytes, events: bytes) -> Measured:
    info = bytes((0, 1, len(cells))) + cells + bytes((6,)) + bytes(6) + bytes((0, 0, len(events))) + events
    return seplos_v2.decode(frames.write(1, 0, info), frames.ask(1, 0x44, b"\1").data)[0]


def test_a_seplos_cell_state_counts_where_the_events_are_silent() -> None:
    silent, warning = bytes(20), b"\0\1" + bytes(18)
    low = seplos_alarms(b"\0\1\0\0", silent)
    assert (low.faults, low.raw["cells"]) == (("cell_undervoltage_protection",), "00010000")
    assert seplos_alarms(b"\0\2\0\0", warning).faults == ("cell_overvoltage_warning",)


def test_a_dropped_cell_and_an_unknown_bit_of_a_seplos_are_told() -> None:
    assert seplos_alarms(bytes(4), bytes(10) + b"\4" + bytes(9)).faults == ("sense_wire_fault",)
    assert seplos_alarms(bytes(4), bytes(13) + b"\x80" + bytes(6)).faults == ("vendor_code_unknown",)


def test_the_echo_of_a_request_over_bluetooth_changes_nothing() -> None:
    request, frame = bytes.fromhex("7e10004661000100f7c10d"), bytearray(bytes.fromhex("7e140061000002") + b"\0\1")
    frame += seplos_v2.crc(bytes(frame[1:])).to_bytes(2, "big") + b"\r"
    for before in (b"", request):
        with pytest.raises(BadFrame, match="payload ends"):  # sound, but without a single cell
            seplos_v2.decode(before + bytes(frame), request)


def test_a_seplos_that_refuses_says_why() -> None:
    with pytest.raises(Unsupported, match="does not know this command"):
        seplos_v2.decode(frames.write(3, 4))
    with pytest.raises(BadFrame, match="it is at fault"):
        seplos_v2.decode(frames.write(3, 0xE3))


def test_an_ant_code_that_nobody_has_explained_is_told_and_kept() -> None:
    frame = bytearray(emulator("ant_old").answer(ant_old.REQUEST, 0, {0: Battery(Plan()).truth()}) or b"")
    frame[103] = 99
    frame[-2:] = ant_old.checksum(bytes(frame)).to_bytes(2, "big")
    (found,) = ant_old.decode(bytes(frame))
    assert (found.faults, found.raw["charge_mosfet"], found.charge_on) == (("vendor_code_unknown",), "63", False)


def test_a_seplos_without_events_or_switches_is_still_read() -> None:
    truth = {1: Battery(Plan()).truth()}

    def ask(request: Request) -> bytes:
        if request == seplos_v3.PIC:
            raise Unsupported("no such coils")
        return emulator("seplos_v3").answer(request, 1, truth) or b""

    (found,) = converse(seplos_v3.poll(1), ask)
    assert (found.faults, found.charge_on, found.cell_mv) == (None, None, truth[1].cell_mv)


def test_a_seplos_log_entry_keeps_its_clock_and_its_events() -> None:
    data = bytearray(80)
    data[:4], data[4:12] = b"\0\7\0\0", bytes((0xE9, 0x07, 6, 15, 13, 45, 10, 0))
    data[13], data[17] = 0b10, 0b100  # cell overvoltage; charging locked after a repeated overcurrent
    request = bytes.fromhex("0104700055aa")
    (found,) = seplos_v3.decode(frame_of(bytes((1, 4, 80)) + bytes(data)), request)
    (entry,) = found.log
    assert (entry.device_ts, entry.text) == (1_749_995_110_000, "cell_overvoltage_protection repeat_lockout")
    assert (entry.hex, found.extra["log_entries_left"]) == (bytes(data).hex(), 7)


@settings(max_examples=60)
@given(payload=st.binary(max_size=160), block=st.sampled_from([*jbd_up16s.READERS, *seplos_v3.BLOCKS, (4, 0x1305)]))
def test_a_sound_frame_of_any_payload_is_harmless(payload: bytes, block: tuple[int, int]) -> None:
    start, end = (number.to_bytes(2, "big") for number in block)
    size = len(payload).to_bytes(2, "big")
    modbus = frame_of(b"\1" + start[1:] + size[1:] + payload)
    with suppress(BadFrame):
        seplos_v3.decode(modbus, b"\1" + start[1:] + end + b"\x07\xff")
    with suppress(BadFrame):
        jbd_up16s.decode(frame_of(b"\1\x78" + start + end + size + payload))
    with suppress(BadFrame):
        ant_new.decode(ant_new.frame_of(ant_new.STATUS, 0, len(payload), payload))
    for version, known in ((0x20, seplos_v2), (pace.VERSION, pace)):
        with suppress(BadFrame):
            known.decode(frames.write(1, 0, payload, version))


# ---- what comes over the wire ----


@pytest.mark.parametrize("name", ["ant_new", "ant_old", "jbd_up16s", "pace", "seplos_v2", "seplos_v3"])
def test_a_device_on_a_port_is_read_among_noise_and_echo(name: str) -> None:
    device = EmulatedDevice(name, {1: Battery(Plan())})
    device.trouble.noise, device.trouble.echo = b"\x00\x7e\xa1\x11", True
    (running,) = start([device])
    known = driver(name)
    link = open_link(running.link, known)
    try:
        assert known.poll
        (found,) = converse(known.poll(1), lambda request: link.ask(request, address=1))
    finally:
        link.close()
        running.stop()
    assert len(found.cell_mv) == 16


def test_coils_come_eight_to_a_byte_and_other_lengths_are_skipped() -> None:
    framing = Modbus(FramerRTU(DecodePDU(False)))
    request = Registers(1, 0x2200, 0x50)
    sent = framing.dress(request, 2)
    answer = frame_of(bytes.fromhex("02010a01000000000000430000"))
    assert sent == frame_of(bytes.fromhex("020122000050"))
    assert framing.find(request, sent, frame_of(b"\2\1\1\xff") + answer[:-1]) is None
    assert framing.find(request, sent, frame_of(b"\2\1\1\xff") + answer) == answer[3:-2]
    with pytest.raises(Unsupported, match="no such register"):
        framing.find(request, sent, frame_of(b"\2\x81\2"))


def test_an_end_mark_inside_an_ant_frame_does_not_end_it() -> None:
    truth = replace(Battery(Plan()).truth(), cell_mv=(0x55AA, 3300, 3301, 3302))
    frame = emulator("ant_new").answer(ant_new.ask(*ant_new.WHOLE), 0, {0: truth}) or b""
    assert ant_new.extract(ant_new.ask(*ant_new.WHOLE).data, b"\xaa\x55" + frame + b"\xaa\x55") == frame


def test_the_question_of_a_master_is_no_answer() -> None:
    asked = jbd_up16s.ask(2, jbd_up16s.STATUS)
    frame = emulator("jbd_up16s").answer(asked, 2, {1: Measured(), 2: Battery(Plan()).truth()}) or b""
    assert jbd_up16s.extract(asked.data, asked.data * 2 + frame) == frame
    assert jbd_up16s.extract(asked.data, asked.data * 2) is None


def test_a_broken_answer_is_told_at_once() -> None:
    truth = {1: Battery(Plan()).truth()}
    for name, request in (
        ("ant_new", ant_new.ask(*ant_new.WHOLE)),
        ("ant_old", ant_old.REQUEST),
        ("jbd_up16s", jbd_up16s.ask(1, jbd_up16s.STATUS)),
        ("pace", pace.ask(1, pace.ANALOG, b"\1")),
        ("seplos_v2", frames.ask(1, 0x42, b"\1")),
    ):
        good = emulator(name).answer(request, 1, truth) or b""
        broken = good[:20] + bytes((good[20] ^ 1,)) + good[21:]
        extract = driver(name).extract
        assert extract
        assert extract(request.data, good) == good
        with pytest.raises(BadFrame):
            extract(request.data, broken)


# ---- what is never sent ----

NEVER: list[tuple[str, Request]] = [
    ("ant_old", Send(bytes.fromhex("a5a5fa0001fb"))),  # switch the charge MOSFET
    ("ant_old", Send(bytes.fromhex("dbdb00000000"))),  # not of a wire
    ("ant_new", Send(ant_new.frame_of(0x51, 0x0006, 0))),  # control
    ("ant_new", Send(ant_new.frame_of(0x22, 0x0000, 2, b"\x10\x36"))),  # write a limit
    ("ant_new", Send(ant_new.frame_of(0x23, 0x016A, 12, b"123456789012"))),  # log in
    ("ant_new", Send(ant_new.ask(*ant_new.WHOLE).data * 2)),
    ("seplos_v2", frames.ask(1, 0x45, b"\1")),  # remote control
    ("seplos_v2", frames.ask(1, 0x49, b"\1")),  # set parameters
    ("seplos_v2", frames.ask(1, 0x4E)),  # set the clock
    ("seplos_v2", frames.ask(1, 0xA0)),  # calibrate
    ("seplos_v2", frames.ask(1, 0x42, b"\2")),  # another group than the address
    ("seplos_v2", frames.ask(16, 0x42, b"\x10")),
    ("seplos_v3", Registers(4, 0x1500, 4)),  # clock and switches
    ("seplos_v3", Registers(3, 0x1000, 0x11)),
    ("seplos_v3", Registers(1, 0x1400, 0x50)),
    ("seplos_v3", Registers(4, 0x1943, 16)),  # Wi-Fi password
    ("seplos_v3", Send(bytes.fromhex("001015110001 0255aa".replace(" ", "")))),
    ("pace", pace.ask(1, 0x99, b"\1")),
    ("pace", pace.ask(1, 0x9A, b"\1")),  # charge MOSFET
    ("pace", pace.ask(1, 0x9C, b"\1")),  # shut down
    ("pace", pace.ask(1, 0xD0, bytes(9))),  # set limits
    ("pace", frames.ask(1, 0x42, b"\1")),  # another protocol version
    ("jbd_up16s", Send(frame_of(bytes.fromhex("01792902290400 06114a42440000".replace(" ", ""))))),  # MOSFETs
    ("jbd_up16s", Send(frame_of(bytes.fromhex("0178290029100000")))),
    ("jbd_up16s", jbd_up16s.ask(0, jbd_up16s.STATUS)),
    ("jbd_up16s", Send(frame_of(bytes.fromhex("0145000000540000")))),  # the master's own question
]


@pytest.mark.parametrize(("name", "request_"), NEVER)
def test_no_dangerous_request_is_permitted(name: str, request_: Request) -> None:
    assert not permits(driver(name), request_)


@pytest.mark.parametrize("address", range(16))
def test_the_requests_of_the_seplos_document_are_ours(address: int) -> None:
    """Table 7 of the maker's document: the sum falls by two with each address, and by 16 more from 9 to A."""
    sent = frames.ask(address, 0x42, bytes((address,)))
    said = 0xFD37 - 2 * address - (14 if address > 9 else 0)
    assert sent.data == f"~20{address:02X}4642E002{address:02X}{said:04X}\r".encode()
    assert permits(seplos_v2.DRIVER, sent)
