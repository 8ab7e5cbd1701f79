"""High-voltage stacks on CAN and Modbus: encoded and decoded again, every alarm, and what may be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given, settings

from cellherd import faults
from cellherd.reading import Measured
from collectors.decode import parse
from collectors.drivers import driver, pylontech_force_modbus
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import Truths
from collectors.emulators.fleet import emulator
from collectors.kernel import CanFrame, Registers, converse, permits
from tests.collectors.test_emulators import read, truths

CAN, FORCE = "pylontech_hv_can", "pylontech_force_modbus"


def heard(modules: Truths) -> Measured:
    first, second = fed(emulator(CAN).broadcast(modules) * 2)
    assert first == second
    return second


def fed(frames: Iterable[CanFrame]) -> list[Measured]:
    known, state, found = driver(CAN), driver(CAN).fresh(), list[Measured]()
    assert known.feed
    for frame in frames:
        state, told = known.feed(state, frame)
        found += told
    return found


def amps(tenths: int) -> CanFrame:
    return CanFrame(
        0x4210, (2469).to_bytes(2, "little") + (30_000 + tenths).to_bytes(2, "little") + b"\0\0\x2e\x64", True
    )


EMPTY = {number: CanFrame(number, bytes(8), True) for number in (0x4230, 0x4250, 0x4290)}


def test_a_set_is_told_with_its_last_frame_once_it_is_known_which_that_is() -> None:
    rounds = [[amps(n), *EMPTY.values()] for n in (10, 20, 30)]
    assert [bank.current_ma for bank in fed(rounds[0])] == []
    assert [bank.current_ma for bank in fed(chain(*rounds[:2]))] == [1000, 2000]
    assert [bank.current_ma for bank in fed(chain(*rounds[:2], rounds[2][:-1]))] == [1000, 2000]
    assert [bank.current_ma for bank in fed(chain(*rounds))] == [1000, 2000, 3000]


def test_a_set_that_lost_a_frame_is_told_with_the_next_one_and_spoils_none() -> None:
    whole = list(EMPTY.values())
    for lost in range(3):
        short = [frame for n, frame in enumerate(whole) if n != lost]
        found = fed([amps(10), *whole, amps(20), *short, amps(30), *whole, amps(40), *whole])
        assert [bank.current_ma for bank in found] == [1000, 2000, 3000, 4000]


def test_an_id_that_joins_later_belongs_to_the_set_before_it() -> None:
    early = [EMPTY[0x4230], EMPTY[0x4250]]
    alarm = CanFrame(0x4290, b"\x01" + bytes(7), True)
    found = fed([amps(10), *early, amps(20), *early, alarm, amps(30), *early, alarm, amps(40), *early, EMPTY[0x4290]])
    assert [bank.current_ma for bank in found] == [1000, 2000, 3000, 4000]
    assert [bank.raw.get("4290", "")[:2] for bank in found] == ["", "", "01", "00"]


@settings(max_examples=40)
@given(truths(current=599_000))
def test_a_stack_on_can_says_what_is_true(truth: Measured) -> None:
    bank = heard({1: truth, 2: truth})
    assert bank.kind == "bank"
    assert abs((bank.voltage_mv or 0) - 2 * (truth.voltage_mv or 0)) <= 50
    assert abs((bank.current_ma or 0) - (truth.current_ma or 0)) <= 50
    assert (bank.cell_max_mv, bank.cell_min_mv) == (
        max(m or 0 for m in truth.cell_mv),
        min(m or 0 for m in truth.cell_mv),
    )
    assert (bank.temp_max_dc, bank.temp_min_dc) == (
        max(t or 0 for t in truth.temp_dc),
        min(t or 0 for t in truth.temp_dc),
    )
    assert (bank.charge_on, bank.discharge_on) == (truth.charge_on, truth.discharge_on)
    assert bank.info["n_cells"] == 2 * len(truth.cell_mv)


def of(*words: str) -> list[str]:
    brand = faults.brand("pylontech")
    return sorted({code.fault for word in words for code in brand[word].bits.values() if code.fault})


@pytest.mark.parametrize("fault", of("hv_can_warning", "hv_can_protection", "hv_can_extension"))
def test_every_alarm_bit_on_can_is_its_fault(fault: str) -> None:
    bank = heard({1: replace(Battery(Plan()).truth(), faults=(fault,))})
    assert bank.faults == (fault,)
    assert set(bank.raw) >= {"4250", "4280", "4290"}


def test_a_sender_without_the_offset_is_seen_by_a_current_that_no_stack_has() -> None:
    known = driver(CAN)
    (said,) = known.decode(parse(known, "00004210#A50985FF9D042E64"), None)
    assert said.current_ma == -12_300


def test_unexplained_answers_travel_on_and_piles_keep_their_address() -> None:
    known = driver(CAN)
    (said,) = known.decode(parse(known, "00005002#0102"), None)
    assert (said.module, said.raw) == (2, {"5000": "0102"})


def test_exactly_two_questions_may_be_put_on_the_bus() -> None:
    known = driver(CAN)
    assert known.poll
    assert known.identify
    asked: list[object] = []
    for talk in (known.poll, known.identify):
        converse(talk(0), lambda request: asked.append(request) or b"")  # type: ignore[func-returns-value]
    assert all(permits(known, request) for request in asked)  # type: ignore[arg-type]
    for id_ in (0x3010, 0x4200, 0x8200, 0x8210, 0x8240):
        assert not permits(known, CanFrame(id_, b"\xaa" + bytes(7), extended=True))
    assert not permits(known, CanFrame(0x4200, bytes(8)))


@settings(max_examples=30)
@given(truths())
def test_every_module_of_a_force_says_what_is_true(truth: Measured) -> None:
    bank, first, second = read(FORCE, {1: truth, 2: truth}, 1)
    assert (bank.kind, first.module, second.module) == ("bank", 1, 2)
    assert bank.current_ma == (truth.current_ma or 0) // 10 * 10
    assert bank.voltage_mv == 2 * (truth.voltage_mv or 0) // 100 * 100
    assert (bank.charge_on, bank.discharge_on) == (truth.charge_on, truth.discharge_on)
    for module in (first, second):
        assert module.cell_mv == truth.cell_mv
        assert module.voltage_mv == (truth.voltage_mv or 0) // 10 * 10
        assert module.extra["module_temp_dc"] == truth.temp_dc[0]
        assert set(module.temp_dc) == {truth.temp_dc[j % 4] for j in range(len(truth.cell_mv))}


@pytest.mark.parametrize("fault", of("hv_modbus_warning", "hv_modbus_protection", "hv_error"))
def test_every_alarm_bit_over_modbus_is_its_fault(fault: str) -> None:
    bank, *_ = read(FORCE, {1: replace(Battery(Plan()).truth(), faults=(fault,))}, 1)
    assert bank.faults == (fault,)


def energy(total: int) -> Measured:
    data = bytearray(2 * pylontech_force_modbus.BLOCK_SIZE)
    data[0x0E:0x10], data[0x10:0x12] = (50).to_bytes(2, "big"), (142).to_bytes(2, "big")
    data[0x42:0x46], data[0x56:0x5A] = (7000).to_bytes(4, "big"), total.to_bytes(4, "big")
    return pylontech_force_modbus.block(bytes(data), 0)


def test_lifetime_energy_is_wh_or_kwh_and_the_cycles_tell_which() -> None:
    assert energy(1_900_000).counters["charged_wh"] == 1_900_000
    assert energy(1_900).counters["charged_wh"] == 1_900_000


@pytest.mark.parametrize("start", [0x1090, 0x10FF, 0x0FFF, 0x3000])
def test_registers_outside_the_map_are_never_read(start: int) -> None:
    assert not permits(driver(FORCE), Registers(3, start, 1))
