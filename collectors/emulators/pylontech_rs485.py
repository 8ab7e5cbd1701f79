"""An emulated Pylontech group on RS485: several modules, the first one answers for all."""

from __future__ import annotations

from collections.abc import Callable

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.drivers.pylontech_rs485 import answers, frames
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import write
from collectors.kernel import Request, Send

LOWER, UPPER = 1, 2
WIDE_MAH = 0xFFFF
"""Charge that does not fit two bytes; then three more bytes carry it."""
ENABLE_CHARGE, ENABLE_DISCHARGE = 0x80, 0x40


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The answer frame; silence for a module that is not there or a request that is broken."""
    if not isinstance(request, Send):
        return None
    try:
        asked = frames.split(request.data)
    except BadFrame:
        return None
    if asked.address not in truths:
        return None
    if asked.code in EACH:
        info = _modules(asked, truths)
    elif asked.code in OF_ONE:
        info = OF_ONE[asked.code](truths[asked.address], asked.address)
    else:
        return frames.write(asked.address, frames.UNKNOWN_COMMAND)
    return frames.write(asked.address, 0, info)


def _modules(asked: frames.Frame, truths: Truths) -> bytes:
    one = EACH[asked.code]
    if asked.info != frames.GROUP:
        return bytes((0, asked.address)) + one(truths[asked.address])
    return bytes((0, len(truths))) + b"".join(one(truths[address]) for address in sorted(truths))


def analog(truth: Measured) -> bytes:
    """Command 0x42. The first temperature is that of the board."""
    temps = ((truth.mos_temp_dc or 0), *(t or 0 for t in truth.temp_dc))
    full, remaining = truth.full_mah or 0, truth.remaining_mah or 0
    wide = full > WIDE_MAH
    return b"".join(
        (
            _counted(_signed(mv or 0) for mv in truth.cell_mv),
            _counted((t - answers.KELVIN).to_bytes(2, "big") for t in temps),
            _signed((truth.current_ma or 0) // 100),
            (truth.voltage_mv or 0).to_bytes(2, "big"),
            min(remaining, WIDE_MAH).to_bytes(2, "big") if not wide else b"\xff\xff",
            bytes((4 if wide else 2,)),
            full.to_bytes(2, "big") if not wide else b"\xff\xff",
            (truth.cycles or 0).to_bytes(2, "big"),
            remaining.to_bytes(3, "big") + full.to_bytes(3, "big") if wide else b"",
        )
    )


def _signed(value: int) -> bytes:
    return value.to_bytes(2, "big", signed=True)


def _counted(parts: object) -> bytes:
    listed = list(parts)  # type: ignore[call-overload]
    return bytes((len(listed),)) + b"".join(listed)


def alarms(truth: Measured) -> bytes:
    """Command 0x44: the highest or lowest cell and the sensors that are outside their limits, and the status bytes."""
    told = truth.faults or ()
    cells, temps = bytearray(len(truth.cell_mv)), bytearray(len(truth.temp_dc) + 1)
    if "cell_overvoltage_protection" in told:
        cells[truth.cell_max_at or 0] = UPPER
    if "cell_undervoltage_protection" in told:
        cells[truth.cell_min_at or 0] = LOWER
    if {"charge_undertemperature_protection", "discharge_undertemperature_protection"} & set(told):
        temps[1:] = bytes((LOWER,)) * len(truth.temp_dc)
    current = truth.current_ma or 0
    status = bytes(
        (
            mask_of(faults.brand("pylontech")["rs485_status_1"], told),
            bool(truth.charge_on) << 1 | bool(truth.discharge_on) << 2,
            (current > 0) << 7 | (current < 0) << 6,
            0,
            0,
        )
    )
    return bytes((len(cells),)) + bytes(cells) + bytes((len(temps),)) + bytes(temps) + bytes(3) + status


def _limits(truth: Measured, address: int) -> bytes:
    data = bytearray(25)
    told = dict(truth.limits)
    cells = len(truth.cell_mv)
    told |= {"cell_low_mv": 3050, "voltage_low_mv": 3050 * cells}
    told |= {f"voltage_{end}_mv": told.get(f"cell_{end}_mv", 0) * cells for end in ("max", "min")}
    write(answers.LIMIT_TABLE, Measured(limits=told), data)
    return bytes(data)


def _requests(truth: Measured, address: int) -> bytes:
    data = bytearray(9)
    cells, limits = len(truth.cell_mv), truth.limits
    asks = {"charge_limit_mv": 3500 * cells, "discharge_limit_mv": 2900 * cells}
    asks |= {"charge_limit_ma": limits.get("charge_ma", 0), "discharge_limit_ma": limits.get("discharge_ma", 0)}
    write(answers.REQUEST_TABLE, Measured(extra=asks), data)
    data[8] = bool(truth.charge_on) * ENABLE_CHARGE | bool(truth.discharge_on) * ENABLE_DISCHARGE
    return bytes((address,)) + bytes(data)


def _text(truth: Measured, name: str, size: int) -> bytes:
    return str(truth.info.get(name, "")).encode("ascii", "replace")[:size].ljust(size, b"\0")


OF_ONE: dict[int, Callable[[Measured, int], bytes]] = {
    answers.LIMITS: _limits,
    answers.REQUESTS: _requests,
    answers.VERSION: lambda truth, address: b"",
    answers.MAKER: lambda truth, address: _text(truth, "model", 10) + b"\1\0" + b"Emulated".ljust(20),
    answers.SERIAL: lambda truth, address: bytes((address,)) + _text(truth, "serial", 16),
    answers.SOFTWARE: lambda truth, address: bytes((address, 1, 0, 1, 0, 0)),
}
EACH: dict[int, Callable[[Measured], bytes]] = {answers.ANALOG: analog, answers.ALARMS: alarms}


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request, up to its CR, off the buffer."""
    end = buffer.find(b"\r") + 1
    return (buffer[:end], buffer[end:]) if end else (None, buffer)


EMULATOR = Emulator(answer=answer, cut=cut)
