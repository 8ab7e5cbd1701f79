"""Fox ESS inverters over Modbus, for the battery that they manage. Protocol: docs/devices/foxess.md.

Four families have four tables. Which one an inverter has it shows by refusing the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured
from collectors import registers
from collectors.fields import Table
from collectors.kernel import Chunk, Conversation, Driver, Unsupported
from collectors.modbus_rtu import split
from collectors.registers import FUNCTIONS, Part, RegisterMap, at

MOST_PM, LEAST_MV, MOST_MV = 1000, 10_000, 1_000_000

H1: Table = (
    at("voltage_mv", 11034, times=100),
    at("current_ma", 11035, ">h", times=-100),  # positive while discharging
    at("soc_pm", 11036, times=10),
    at("extra.remaining_wh", 11037, times=10),
    at("temp_dc.0", 11038, ">h"),
    at("limits.charge_ma", 11041, times=100),
    at("limits.discharge_ma", 11042, times=100),
    at("temp_max_dc", 11043, ">h"),
    at("temp_min_dc", 11044, ">h"),
    at("cell_max_mv", 11045),
    at("cell_min_mv", 11046),
    at("cycles", 11048),
    at("extra.bms_connected", 11058),
)
H1_LAN: Table = (
    at("temp_dc.0", 31023, ">h"),
    at("soc_pm", 31024, times=10),
    at("extra.bms_connected", 31028),
)
H3: Table = (
    at("voltage_mv", 31034, times=100),
    at("current_ma", 31035, ">h", times=-100),
    at("extra.battery_w", 31036, ">h", times=-1),
    at("temp_dc.0", 31037, ">h"),
    at("soc_pm", 31038, times=10),
    at("extra.bms_connected", 31042),
    at("soh_pm", 31090, times=10, absent=0),
    at("cell_max_mv", 31102),
    at("cell_min_mv", 31103),
)
H3_PRO: Table = (
    at("extra.bms_connected", 37002),
    at("voltage_mv", 37609, times=100),
    at("current_ma", 37610, ">h", times=-100),
    at("temp_dc.0", 37611, ">h"),
    at("soc_pm", 37612, times=10),
    at("temp_max_dc", 37617, ">h"),
    at("temp_min_dc", 37618, ">h"),
    at("cell_max_mv", 37619),
    at("cell_min_mv", 37620),
    at("soh_pm", 37624, times=10, absent=0),
    at("extra.remaining_wh", 37632, times=10),
)


def words(*places: int) -> dict[str, tuple[int, str]]:
    """The fault words 1, 2, 4, 6, 7 and 8 of a family."""
    return {f"fault_{n}": (place, f"fault_{n}") for n, place in zip((1, 2, 4, 6, 7, 8), places, strict=True)}


FAMILIES: Mapping[str, RegisterMap] = {
    "h1": RegisterMap(
        brand="foxess",
        kind="bank",
        parts=(Part(4, 11034, 35),),
        table=H1,
        words=words(11061, 11062, 11064, 11066, 11067, 11068),
    ),
    "h3_pro": RegisterMap(
        brand="foxess",
        kind="bank",
        parts=(Part(3, 37609, 24), Part(3, 37002, 1, optional=True), Part(3, 39067, 3, optional=True)),
        table=H3_PRO,
        silent={f"alarm_{n}": 39066 + n for n in (1, 2, 3)},
    ),
    "h3": RegisterMap(
        brand="foxess",
        kind="bank",
        parts=(Part(3, 31034, 18), Part(3, 31090, 14, optional=True)),
        table=H3,
        words=words(31044, 31045, 31047, 31049, 31050, 31051),
    ),
    "h1_lan": RegisterMap(
        brand="foxess",
        kind="bank",
        parts=(Part(3, 31023, 16),),
        table=H1_LAN,
        words=words(31031, 31032, 31034, 31036, 31037, 31038),
    ),
}
"""In the order in which they are tried: the last two share registers, and what H3 says must be believable first."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """The answer to one read; only the request tells which registers it carries. Raises BadFrame."""
    reply = split(frame, request, FUNCTIONS)
    for known in FAMILIES.values():
        if any((part.function, part.start) == (reply.function, reply.start) for part in known.parts):
            return (registers.measure(known, reply.start, reply.data),)
    raise BadFrame(f"register {reply.start} begins no part of a map that we read", reply.data)


def poll(address: int) -> Conversation:
    """The first family whose registers are there and make sense. Raises Silent if there is none."""
    for known in FAMILIES.values():
        try:
            found = yield from registers.poll(known)
        except Unsupported:
            continue
        if believable(found[0], known):
            return found
    raise Silent("none of the register tables of Fox ESS fits this inverter; docs/devices/foxess.md lists its families")


def believable(measured: Measured, known: RegisterMap) -> bool:
    """Whether charge and voltage are those of a battery."""
    volts = measured.voltage_mv
    fits = volts is None or LEAST_MV <= volts <= MOST_MV or not measured.extra.get("bms_connected", 1)
    return measured.soc_pm is not None and measured.soc_pm <= MOST_PM and fits


DRIVER = Driver(
    name="foxess",
    brand="foxess",
    title="Fox ESS inverters (H1, KH, H3, H3 Pro), for their battery",
    line="RS485 (AUX), Modbus RTU 9600 8N1, address 247; or Modbus TCP on models with LAN",
    links=("modbus",),
    decode=decode,
    allow=tuple(part.permit for known in FAMILIES.values() for part in known.parts),
    poll=poll,
    default_address=247,
    gap_s=0.5,
    timeout_s=2.0,
)
