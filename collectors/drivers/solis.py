"""Solis hybrid inverters over Modbus, for the battery that they manage. Protocol: docs/devices/solis.md."""

from __future__ import annotations

from dataclasses import replace

from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors import registers
from collectors.fields import Table
from collectors.kernel import Chunk, Conversation, Driver
from collectors.registers import Part, RegisterMap, at

DISCHARGING = 1

TABLE: Table = (
    at("extra.inverter_temp_dc", 33093, ">h"),
    at("voltage_mv", 33133, times=100),
    at("current_ma", 33134, ">h", times=100),
    at("extra.direction", 33135),
    at("soc_pm", 33139, times=10),
    at("soh_pm", 33140, times=10, absent=0),
    at("extra.bms_mv", 33141, times=10),
    at("extra.bms_current_raw", 33142, ">h"),  # 0.1 A by two sources, 0.01 A by one
    at("limits.charge_ma", 33143, times=100),
    at("limits.discharge_ma", 33144, times=100),
    at("extra.battery_w", 33149, ">i"),
    at("extra.battery_model", 33160),
    at("counters.charged_wh", 33161, ">I", times=1000),
    at("counters.discharged_wh", 33165, ">I", times=1000),
    at("extra.charged_today_wh", 33163, times=100),
    at("extra.discharged_today_wh", 33167, times=100),
)
MAP = RegisterMap(
    brand="solis",
    kind="bank",
    parts=(Part(4, 33093, 3), Part(4, 33116, 6), Part(4, 33133, 38)),
    table=TABLE,
    words={
        "battery": (33118, "battery"),
        "inverter": (33120, "inverter"),
        "bms_1": (33145, "bms_1"),
        "bms_2": (33146, "bms_2"),
    },
    codes={"code": (33095, "code")},
    silent={"grid": 33116, "backup": 33117, "inverter_1": 33119, "status": 33121},
)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to one read; only the request tells which registers it carries. Raises BadFrame."""
    return (signed(registers.decode(MAP, frame, request)),)


def signed(measured: Measured) -> Measured:
    """The current comes without a sign on most firmware; 33135 tells the direction."""
    way, current = measured.extra.get("direction"), measured.current_ma
    if way is None or current is None:
        return measured
    return replace(measured, current_ma=-abs(current) if way == DISCHARGING else abs(current))


def poll(address: int) -> Conversation:
    """The battery as the inverter and its BMS tell of it. Raises BadFrame where nothing of a battery is in it."""
    (found,) = yield from registers.poll(MAP)
    if (found.soc_pm or 0) > 1000:
        raise BadFrame(f"a charge of {found.soc_pm} per mille: these are not the registers of a Solis")
    return (signed(found),)


DRIVER = Driver(
    name="solis",
    brand="solis",
    title="Solis hybrid inverters (S5, S6, RHI), for their battery",
    line="RS485 (COM port), Modbus RTU 9600 8N1, address 1; or a logger stick",
    links=("modbus",),
    decode=decode,
    allow=tuple(part.permit for part in MAP.parts),
    poll=poll,
    default_address=1,
    gap_s=0.5,
    timeout_s=2.0,
)
