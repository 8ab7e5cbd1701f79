"""An emulated Pylontech stack on CAN, protocol V1.2: one round a second, the sum of its modules only."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import pylontech_can as can
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.kernel import CanFrame

LENGTHS = {can.LIMITS: 8, can.STATE: 4, can.ACTUAL: 6, can.REQUESTS: 2}
"""Bytes that a V1.2 stack sends of each message."""


def whole(truths: Truths) -> Measured:
    """What the master says of all its modules in parallel."""
    modules = list(truths.values())
    full = sum(m.full_mah or 0 for m in modules)
    return Measured(
        kind="bank",
        voltage_mv=sum(m.voltage_mv or 0 for m in modules) // len(modules),
        current_ma=sum(m.current_ma or 0 for m in modules),
        soc_pm=1000 * sum(m.remaining_mah or 0 for m in modules) // full if full else None,
        soh_pm=min(m.soh_pm or 0 for m in modules),
        temp_dc=(sum((m.temp_dc[0] or 0) if m.temp_dc else 0 for m in modules) // len(modules),),
        charge_on=all(m.charge_on is not False for m in modules),
        discharge_on=all(m.discharge_on is not False for m in modules),
        faults=tuple(dict.fromkeys(fault for m in modules for fault in m.faults or ())),
    )


def broadcast(truths: Truths) -> list[CanFrame]:
    """One round of frames, in the order of a real stack."""
    bank = whole(truths)
    state = {"soc": (bank.soc_pm or 0) // 10, "soh": (bank.soh_pm or 0) // 10, "soc_fine": 0}
    actual = {
        "voltage": (bank.voltage_mv or 0) / 1000,
        "current": (bank.current_ma or 0) / 1000,
        "temperature": (bank.temp_dc[0] or 0) / 10,
        "cycles": 0,
    }
    requests = {"charge_enable": bool(bank.charge_on), "discharge_enable": bool(bank.discharge_on)}
    requests |= {"force_charge_1": False, "force_charge_2": False, "full_charge_request": False}
    return [
        _frame(can.LIMITS, limits(truths, bank)),
        _frame(can.STATE, state),
        _frame(can.ACTUAL, actual),
        alarms(bank, len(truths)),
        _frame(can.REQUESTS, requests),
        CanFrame(can.MAKER, b"PYLON   "),
    ]


def limits(truths: Truths, bank: Measured) -> dict[str, float]:
    """What the bank asks of the inverter; a path that is shut takes nothing."""
    cells = max(len(m.cell_mv) for m in truths.values())
    return {
        "charge_voltage_limit": 3.5 * cells,
        "discharge_voltage_limit": 2.9 * cells,
        "charge_current_limit": _limit(truths, "charge_ma") if bank.charge_on else 0,
        "discharge_current_limit": _limit(truths, "discharge_ma") if bank.discharge_on else 0,
    }


def _limit(truths: Truths, name: str) -> float:
    return sum(m.limits.get(name, 0) for m in truths.values()) / 1000


def alarms(bank: Measured, modules: int) -> CanFrame:
    """0x359: alarm bits, number of modules, the letters PN."""
    mask = mask_of(faults.brand("pylontech")[f"can_{can.ALARMS_V12:03x}"], bank.faults)
    return CanFrame(can.ALARMS_V12, mask.to_bytes(4, "little") + bytes((modules,)) + b"PN")


def _frame(number: int, signals: dict[str, float] | dict[str, bool] | dict[str, int]) -> CanFrame:
    data: bytes = can.database().encode_message(number, signals)
    return CanFrame(number, data[: LENGTHS[number]])


EMULATOR = Emulator(broadcast=broadcast)
