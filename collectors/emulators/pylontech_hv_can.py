"""An emulated Pylontech high-voltage stack on CAN, silent until it is asked: one pile at address 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import pylontech_hv_can as can
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.kernel import CanFrame


def hear(frame: CanFrame, truths: Truths) -> list[CanFrame]:
    """The answers to one of the two questions."""
    if frame == can.ASK_STACK:
        modules = list(truths.values())
        return [_frame(can.STACK, _stack(modules, [mv or 0 for m in modules for mv in m.cell_mv]))]
    return values(truths) if frame == can.ASK_VALUES else []


def broadcast(truths: Truths) -> list[CanFrame]:
    """The questions of an inverter with their answers."""
    return [frame for asked in (can.ASK_STACK, can.ASK_VALUES) for frame in (asked, *hear(asked, truths))]


def values(truths: Truths) -> list[CanFrame]:
    """What is measured; the modules of the pile stand in series."""
    modules = list(truths.values())
    cells = [mv or 0 for m in modules for mv in m.cell_mv]
    temps = [(t or 0) / 10 for m in modules for t in m.temp_dc] or [0.0]
    first = modules[0]
    told = tuple(dict.fromkeys(fault for m in modules for fault in m.faults or ()))
    return [
        _frame(
            can.BASIC,
            {
                "voltage": sum(m.voltage_mv or 0 for m in modules) / 1000,
                "current": (first.current_ma or 0) / 1000,
                "temperature": temps[0],
                "soc": (first.soc_pm or 0) // 10,
                "soh": (first.soh_pm or 0) // 10,
            },
        ),
        _frame(can.CELLS, _ends("cell_voltage", cells)),
        _frame(can.TEMPERATURES, _ends("cell_temperature", temps)),
        alarms(told, first.cycles or 0),
        CanFrame(
            can.FORBIDDEN,
            bytes((_forbid(m.charge_on for m in modules), _forbid(m.discharge_on for m in modules))),
            True,
        ),
        CanFrame(can.EXTENSION, bytes((mask_of(faults.brand("pylontech")["hv_can_extension"], told), 0)), True),
    ]


def _forbid(paths: Iterable[bool | None]) -> int:
    return can.YES if any(path is False for path in paths) else 0


def _stack(modules: list[Measured], cells: list[int]) -> dict[str, float]:
    share = len(cells) // len(modules)
    rated = int(modules[0].info.get("nominal_mah", 0)) // 1000
    return {
        "cell_count": len(cells),
        "module_count": len(modules),
        "cells_per_module": share,
        "voltage_level": 3.2 * len(cells) // 1,
        "rated_capacity": rated,
    }


def _ends(name: str, values: Sequence[float]) -> dict[str, float]:
    high, low = max(values), min(values)
    places = {f"{name}_max_no": values.index(high), f"{name}_min_no": values.index(low)}
    return {f"{name}_max": high, f"{name}_min": low, **places}


def alarms(told: tuple[str, ...], cycles: int) -> CanFrame:
    """0x4250: errors, warnings, protections."""
    data = bytearray(8)
    data[0], data[1:3] = 3, (cycles & 0xFFFF).to_bytes(2, "little")
    for name, at, end in can.WORDS:
        mask = mask_of(faults.brand("pylontech")[name], told) & (1 << 8 * (end - at)) - 1
        data[at:end] = mask.to_bytes(end - at, "little")
    return CanFrame(can.STATUS, bytes(data), extended=True)


def _frame(number: int, signals: Mapping[str, float]) -> CanFrame:
    return CanFrame(number, bytes(can.database().encode_message(number | 1 << 31, signals)), extended=True)


EMULATOR = Emulator(broadcast=broadcast, hear=hear)
