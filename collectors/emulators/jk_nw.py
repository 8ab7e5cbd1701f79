"""An emulated JK BMS on its UART, newer way of counting the current."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import jk_nw
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.fields import value_of
from collectors.kernel import Request, Send

VOLTAGES = (0x8E, "cell_max_mv"), (0x8F, "cell_min_mv")
"""Limits of the pack, which follow from those of a cell."""


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """Everything; there is one BMS and no address."""
    if not isinstance(request, Send) or request.data != jk_nw.ASK.data or not truths:
        return None
    return jk_nw.frame_of(jk_nw.READ_ALL, 0, jk_nw.REPLY, info(next(iter(truths.values()))))


def info(truth: Measured) -> bytes:
    """The list of ids and values, in the order of a real device."""
    parts = cells(truth) | numbers(truth) | texts(truth)
    parts |= {jk_nw.CURRENT: current(truth), jk_nw.ALARM: alarm(truth), jk_nw.STATUS: status(truth)}
    parts |= {number: temperature(value_of(truth, name)) for number, name in jk_nw.TEMPERATURES.items()}
    parts |= {jk_nw.PASSWORD: b"123456".ljust(10, b"\0"), jk_nw.CHEMISTRY: b"\0", jk_nw.PROTOCOL: b"\1"}
    return b"".join(bytes((number,)) + parts[number] for number in sorted(parts))


def cells(truth: Measured) -> dict[int, bytes]:
    """Places from 1 on and voltages, behind their length."""
    listed = b"".join(bytes((i,)) + (mv or 0).to_bytes(2, "big") for i, mv in enumerate(truth.cell_mv, 1))
    return {jk_nw.CELL_LIST: bytes((len(listed),)) + listed}


def numbers(truth: Measured) -> dict[int, bytes]:
    """Every field of the driver's table."""
    made = {number: bytearray(field.end) for number, field in jk_nw.NUMBERS.items()}
    for number, field in jk_nw.NUMBERS.items():
        field.write(made[number], value_of(truth, field.name))
    for number, limit in VOLTAGES:
        jk_nw.NUMBERS[number].write(made[number], truth.limits.get(limit, 0) * len(truth.cell_mv))
    return {number: bytes(data) for number, data in made.items()}


def texts(truth: Measured) -> dict[int, bytes]:
    """Texts, padded to their lengths."""
    told = {number: str(truth.info.get(name, "")).encode("ascii", "replace") for number, name in jk_nw.TEXTS.items()}
    return {number: text[: jk_nw.LENGTHS[number]].ljust(jk_nw.LENGTHS[number], b"\0") for number, text in told.items()}


def current(truth: Measured) -> bytes:
    """In 10 mA, the highest bit says charging."""
    size = abs(truth.current_ma or 0) // 10
    return (size | ((truth.current_ma or 0) > 0) << 15).to_bytes(2, "big")


def temperature(dc: int | None) -> bytes:
    """Whole degrees; those below zero count on from 100."""
    degrees = (dc or 0) // 10
    return (degrees if degrees >= 0 else 100 - degrees).to_bytes(2, "big")


def alarm(truth: Measured) -> bytes:
    """The alarm word."""
    return mask_of(faults.brand("jk")["uart_alarm"], truth.faults).to_bytes(2, "big")


def status(truth: Measured) -> bytes:
    """Switches, and that a battery is there."""
    on = bool(truth.charge_on) | bool(truth.discharge_on) << 1 | bool(truth.balancing) << 2
    return (on | 1 << 3).to_bytes(2, "big")


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request off the buffer."""
    at, size = buffer.find(jk_nw.ASK.data), len(jk_nw.ASK.data)
    return (buffer[at : at + size], buffer[at + size :]) if at >= 0 else (None, buffer[-size + 1 :])


EMULATOR = Emulator(answer=answer, cut=cut)
