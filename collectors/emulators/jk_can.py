"""Emulated JK BMSs on CAN: one round of frames of each device, as it would send within a second."""

from __future__ import annotations

from collections.abc import Mapping

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import jk_can as jk
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.kernel import CanFrame

A_FRAME = 4
"""Cells in one frame."""


def broadcast(truths: Truths) -> list[CanFrame]:
    """All devices, one after the other."""
    return [CanFrame(f.id + address, f.data, f.extended) for address in truths for f in one(truths[address])]


def one(truth: Measured) -> list[CanFrame]:
    """A device at address 0; the alarm frame comes only while there is an alarm."""
    full, switches = truth.full_mah or 0, {"charge_enable": truth.charge_on, "discharge_enable": truth.discharge_on}
    charge = {"remaining_capacity": (truth.remaining_mah or 0) / 1000, "full_capacity": full / 1000}
    state = {"voltage": (truth.voltage_mv or 0) / 1000, "current": (truth.current_ma or 0) / 1000}
    state |= {"soc": (truth.soc_pm or 0) // 10, "discharge_time": 0}
    sent = [_frame(jk.STATE, state), _frame(jk.EXTREMES, _extremes(truth))]
    sent += [_frame(jk.TEMPERATURES, _temperatures(truth)), *_alarms(truth)]
    sent += [
        _frame(jk.COUNTERS, {**charge, "cycled_charge": 0, "cycles": truth.cycles or 0}),
        _frame(jk.SENSORS, _sensors(truth)),
        CanFrame(jk.ERRORS, _mask(truth, "can_error").to_bytes(8, "little"), extended=True),
        _frame(jk.ABOUT, {"run_time": 0, "heater_current": 0, "soh": (truth.soh_pm or 0) // 10}),
        _frame(jk.SWITCHES, {name: bool(on) for name, on in switches.items()}),
    ]
    for i in range(0, len(truth.cell_mv), A_FRAME):
        cells = truth.cell_mv[i : i + A_FRAME]
        data = b"".join((mv or 0).to_bytes(2, "little") for mv in cells)
        sent.append(CanFrame(jk.CELLS[i // A_FRAME], data.ljust(8, b"\0"), extended=True))
    return sent


def _extremes(truth: Measured) -> dict[str, float]:
    cells = [mv or 0 for mv in truth.cell_mv]
    high, low = max(cells), min(cells)
    places = {"cell_voltage_max_no": cells.index(high) + 1, "cell_voltage_min_no": cells.index(low) + 1}
    return {"cell_voltage_max": high, "cell_voltage_min": low, **places}


def _temperatures(truth: Measured) -> dict[str, float]:
    temps = [(t or 0) // 10 for t in truth.temp_dc] or [0]
    high, low = max(temps), min(temps)
    places = {"temperature_max_no": temps.index(high) + 1, "temperature_min_no": temps.index(low) + 1}
    return {"temperature_max": high, "temperature_min": low, "temperature_avg": sum(temps) // len(temps), **places}


def _sensors(truth: Measured) -> dict[str, float]:
    """A missing sensor is a byte of 0, which the offset calls -50 degC."""
    temps = [-50 if t is None else t // 10 for t in (*truth.temp_dc, None, None, None, None)]
    mos = -50 if truth.mos_temp_dc is None else truth.mos_temp_dc // 10
    names = ("temperature_1", "temperature_2", "temperature_4", "temperature_5")
    return {"sensors": 0x1F, "temperature_mos": mos, **dict(zip(names, temps, strict=False))}


def _alarms(truth: Measured) -> list[CanFrame]:
    levels = ((_mask(truth, "can_serious"), 1), (_mask(truth, "can_lesser"), 2))
    pairs = sum(level << 2 * pair for mask, level in levels for pair in range(mask.bit_length()) if mask >> pair & 1)
    return [CanFrame(jk.LEVELS, (pairs & 0xFFFF_FFFF).to_bytes(8, "little"))] if pairs else []


def _mask(truth: Measured, word: str) -> int:
    """Faults that stand in both levels' words are told as serious."""
    mask = mask_of(faults.brand("jk")[word], truth.faults)
    return mask & ~mask_of(faults.brand("jk")["can_serious"], truth.faults) if word == "can_lesser" else mask


def _frame(number: int, signals: Mapping[str, float]) -> CanFrame:
    extended = number not in jk.STANDARD
    key = number | extended << 31
    told = dict.fromkeys((s.name for s in jk.database().get_message_by_frame_id(key).signals), 0) | dict(signals)
    return CanFrame(number, bytes(jk.database().encode_message(key, told)), extended)


EMULATOR = Emulator(broadcast=broadcast)
