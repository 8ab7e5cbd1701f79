"""VE.Direct text and HEX, and the CAN-bms profile: streams with anything in them, every alarm, every make's quirks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.commands import decode
from collectors.decode import parse, results
from collectors.drivers import driver, victron_hex
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import emulator, history
from collectors.emulators.victron_vedirect import block
from collectors.kernel import Send, Unsupported, permits
from tests.collectors.test_emulators import NOON, read, truths

TEXT, HEX, CAN = "victron_vedirect", "victron_hex", "victron_can"
HEX_FRAME = b":A0102000642\n"


def overheard(name: str, *chunks: object) -> list[Measured]:
    known = driver(name)
    assert known.feed
    state, found = known.fresh(), list[Measured]()
    for chunk in chunks:
        state, told = known.feed(state, chunk)  # type: ignore[arg-type]
        found += told
    return found


def pushed(truth: Measured) -> list[bytes]:
    push = emulator(TEXT).push
    assert push
    return push({0: truth})


# ---- VE.Direct text ----


@settings(max_examples=40)
@given(truths(), st.integers(1, 40), st.binary(max_size=20))
def test_a_shunt_says_what_is_true_however_its_bytes_are_cut(truth: Measured, size: int, noise: bytes) -> None:
    stream = noise + b"\r\nPID\t0x203\r\nV\t1" + HEX_FRAME + b"".join(pushed(truth))
    (first,) = overheard(TEXT, *(stream[i : i + size] for i in range(0, len(stream), size)))
    assert (first.kind, first.voltage_mv, first.current_ma, first.soc_pm) == (
        "shunt",
        truth.voltage_mv,
        truth.current_ma,
        truth.soc_pm,
    )
    assert first.temp_dc == ((truth.temp_dc[0] or 0) // 10 * 10,)


@given(at=st.integers(1, 150))
def test_a_hex_frame_inside_a_block_does_not_count(at: int) -> None:
    history, live = pushed(Battery(Plan()).truth())
    lines = live.find(b"\r\n", min(at, live.rindex(b"\r\n")))
    (one,) = overheard(TEXT, history, live[:lines] + HEX_FRAME + live[lines:])
    assert one.cycles == 0
    assert one.voltage_mv


def test_history_goes_along_with_the_next_live_block() -> None:
    history, live = block({"H4": "31", "H6": "-1200"}), pushed(Battery(Plan()).truth())[1]
    (one,) = overheard(TEXT, history, live)
    assert (one.cycles, one.counters["drawn_mah"]) == (31, -1200)


@pytest.mark.parametrize("byte", [b"\n", b":", b"\t", b"\r", b"\x00", b"\xff"])
def test_any_byte_may_be_the_checksum(byte: bytes) -> None:
    for filler in range(256):
        letters = "".join(chr(0x21 + min(93, max(0, filler - 93 * place))) for place in range(3))
        made = block({"V": "12000", "LABEL": letters})
        if made[-1:] == byte:
            assert driver(TEXT).decode(made, None)[0].voltage_mv == 12_000
            return
    pytest.fail("no filler gives this byte")


def test_a_block_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(BadFrame, match="add up"):
        driver(TEXT).decode(block({"V": "12000"})[:-1] + b"!", None)


BITS = sorted({c.fault for c in faults.brand("victron")["vedirect_alarm"].bits.values()})


@pytest.mark.parametrize("fault", BITS)
def test_every_alarm_reason_is_its_fault_in_text_and_hex(fault: str) -> None:
    truth = replace(Battery(Plan()).truth(), faults=(fault,))
    (one,) = overheard(TEXT, *pushed(truth))
    (same,) = read(HEX, {0: truth}, 0)
    assert (one.faults, same.faults) == ((fault,), (fault,))
    assert int(one.raw["ar"], 16) == int.from_bytes(bytes.fromhex(same.raw["031e"]), "little") != 0


def measured(**said: str) -> Measured:
    return driver(TEXT).decode(block(said), None)[0]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"V": "1", "ERR": "67"}, ("comm_lost",)),
        ({"V": "1", "ERR": "99"}, ("vendor_code_unknown",)),
        ({"V": "1", "ERR": "0", "OR": "0x00000010"}, ("protection_shutdown",)),
        ({"V": "1", "Alarm": "ON"}, ("alarm_unspecified",)),
        ({"V": "1", "AR": "8192"}, ("protection_shutdown",)),
        ({"V": "1", "AR": "16384"}, ("vendor_code_unknown",)),
        ({"H1": "-5"}, None),
    ],
)
def test_errors_and_alarms_of_a_block(said: dict[str, str], expected: tuple[str, ...] | None) -> None:
    assert measured(**said).faults == expected


def test_what_is_not_there_is_not_a_number_and_what_is_unknown_is_kept() -> None:
    one = measured(V="13000", T="---", TTG="-1", XYZ="7", FWE="041308")
    assert (one.temp_dc, one.raw, one.info) == ((), {"XYZ": "7"}, {"firmware": "4.13"})
    assert "time_to_go_min" not in one.extra


def test_the_text_of_a_block_decodes_like_its_bytes() -> None:
    made = block({"V": "12345", "PPV": "8"})
    known = driver(TEXT)
    assert list(results(known, [made.decode("latin-1")])) == list(results(known, [made.hex()]))


def test_hex_lines_on_standard_input_are_frames_of_their_own() -> None:
    app = typer.Typer()
    app.command()(decode)
    good, bad = block({"V": "12345"}), b"\r\nV\t1\r\nChecksum\t!"
    result = CliRunner().invoke(app, [TEXT, "-"], input=f"{good.hex()}\n{bad.hex()}\n{good.hex()}\n")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert ([one.get("voltage_mv") for one in said], result.exit_code) == ([12_345, None, 12_345], 1)


# ---- VE.Direct HEX ----


@settings(max_examples=30)
@given(truths())
def test_a_shunt_says_the_same_in_hex(truth: Measured) -> None:
    (one,) = read(HEX, {0: truth}, 0)
    assert (one.kind, one.current_ma, one.soc_pm) == ("shunt", truth.current_ma, truth.soc_pm)
    assert one.voltage_mv == (truth.voltage_mv or 0) // 10 * 10
    assert one.temp_dc == (truth.temp_dc[0],)


def test_a_register_that_the_device_has_not_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="EDD5"):
        driver(HEX).decode(victron_hex.write(7, b"\xd5\xed\x01"), None)


def test_the_answer_stands_among_text_and_other_frames() -> None:
    stream = block({"V": "12000"}) + b":AD5ED009309ED\n" + b":7D5ED009309F0\n\r\nPID"
    assert victron_hex.extract(victron_hex.ask(0xEDD5).data, stream) == b":7D5ED009309F0\n"


@pytest.mark.parametrize(
    "frame", [b":64F\n", b":8000200004B\n", victron_hex.write(8, b"\x00\x02\x00\x04"), b":7000400\n"]
)
def test_neither_restart_nor_set_is_permitted(frame: bytes) -> None:
    assert not permits(driver(HEX), Send(frame))


# ---- CAN-bms ----


def rounds(truth: Measured) -> list[Measured]:
    return overheard(CAN, *emulator(CAN).broadcast({1: truth}) * 2)


@settings(max_examples=40)
@given(truths(current=1_000_000))
def test_a_bank_on_can_says_what_is_true(truth: Measured) -> None:
    (bank,) = rounds(replace(truth, limits={"charge_ma": 100_000, "discharge_ma": 100_000}))
    assert abs((bank.voltage_mv or 0) - (truth.voltage_mv or 0)) <= 5 or (truth.voltage_mv or 0) < 8000
    assert abs((bank.current_ma or 0) - (truth.current_ma or 0)) <= 50
    assert (bank.cell_min_mv, bank.cell_max_mv) == (
        min(m or 0 for m in truth.cell_mv),
        max(m or 0 for m in truth.cell_mv),
    )
    assert (bank.charge_on, bank.discharge_on) == (truth.charge_on, truth.discharge_on)
    assert bank.info["model"] == "Emulated-bank"


@pytest.mark.parametrize("fault", sorted({c.fault for c in faults.brand("pylontech")["can_35a"].bits.values()}))
def test_every_pair_is_its_fault(fault: str) -> None:
    (bank,) = rounds(replace(Battery(Plan()).truth(), faults=(fault,)))
    assert bank.faults == (fault,)


def one_frame(text: str) -> Measured:
    return driver(CAN).decode(parse(driver(CAN), text), None)[0]


def test_discover_counts_its_volts_in_tenths() -> None:
    assert one_frame("356#1A02F4FFD700").voltage_mv == 53_800
    assert one_frame("35A#ABAAAAAAAAAAAA").faults == ()


def test_370_is_a_name_or_four_numbers() -> None:
    assert one_frame("370#43414E2D534D4152").info == {"model": "CAN-SMAR"}
    said = one_frame("370#FA00CEFFE60CB20C")
    assert (said.temp_max_dc, said.temp_min_dc, said.cell_max_mv, said.cell_min_mv) == (250, -50, 3302, 3250)


def test_354_counts_whole_ampere_hours_on_discover_and_tenths_elsewhere() -> None:
    set_ = ("354#E8032003", "356#8214F4FFD700", "356#8214F4FFD700")
    frames = [parse(driver(CAN), text) for text in set_]
    maker = {name: parse(driver(CAN), f"35E#{name.encode().hex()}") for name in ("DISCOVER", "OTHER")}
    assert overheard(CAN, maker["DISCOVER"], *frames)[0].full_mah == 1_000_000
    assert overheard(CAN, maker["OTHER"], *frames)[0].full_mah == 100_000


def test_pytes_speaks_ids_of_its_own() -> None:
    frames = (
        "400#3002E803E803C201",
        "404#50006300000029 01".replace(" ", ""),
        "405#BE14F9FF8C00",
        "401#010DEA0C03000700",
    )
    state = [parse(driver(CAN), text) for text in (*frames, frames[0])]
    (bank,) = overheard(CAN, *state)
    assert (bank.voltage_mv, bank.current_ma, bank.soc_pm, bank.cycles) == (53_100, -700, 800, 297)
    assert (bank.cell_max_mv, bank.charge_on) == (3329, True)


def test_an_absent_module_is_told_and_a_frame_of_the_inverter_proves_that_it_lives() -> None:
    assert one_frame("372#0100000000000100").faults == ("module_missing",)
    assert one_frame("307#1234567856494300").extra == {"inverter_heard": 1}


def test_nothing_may_be_sent() -> None:
    assert driver(CAN).allow == driver(TEXT).allow == ()


NEW = ["pylontech_console", "pylontech_force_modbus", "pylontech_hv_can", CAN, HEX, TEXT]


@pytest.mark.parametrize("name", NEW)
def test_history_is_read_through_the_driver_at_every_step(name: str) -> None:
    device = EmulatedDevice(name, {1: Battery(Plan(seed=2))}, wire="tcp")
    rows = list(history(device, NOON, NOON + 300_000, 60))
    assert sorted({ts for ts, _, _ in rows}) == list(range(NOON, NOON + 300_000, 60_000))
    assert all(measured.voltage_mv for _, _, measured in rows)
