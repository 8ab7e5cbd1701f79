"""What a JK device says and where it stands: one map for the Modbus tables and, 6 bytes later, the JK02 frames.

Offsets are those of the Modbus tables, numbers big-endian as there; `in_frame` turns them for the frames of
Bluetooth and of the triggered RS485. Sources: docs/devices/jk_modbus.md and jk_ble.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from collectors.fields import Field, Table

CELLS, SHORT_CELLS = 32, 24
NO_SENSOR = -2000

MEASURED: Table = (
    *(Field(f"cell_mv.{i}", 2 * i, ">H") for i in range(CELLS)),
    Field("mos_temp_dc", 138, ">h", absent=NO_SENSOR),
    Field("voltage_mv", 144, ">i"),
    Field("current_ma", 152, ">i"),
    Field("temp_dc.0", 156, ">h", absent=NO_SENSOR),
    Field("temp_dc.1", 158, ">h", absent=NO_SENSOR),
    Field("extra.balance_ma", 164, ">h"),
    Field("extra.balance_state", 166, ">B"),  # 0 off, 1 charging a cell, 2 discharging one
    Field("soc_pm", 167, ">B", times=10),
    Field("remaining_mah", 168, ">I"),
    Field("full_mah", 172, ">I"),
    Field("cycles", 176, ">I"),
    Field("counters.throughput_mah", 180, ">I"),
    Field("soh_pm", 184, ">B", times=10),
    Field("extra.precharge", 185, ">B"),
    Field("extra.run_time_s", 188, ">I"),
    Field("charge_on", 192, ">B"),
    Field("discharge_on", 193, ">B"),
    # Seconds until a protection lets go; 0 is no such wait.
    Field("extra.release_discharge_overcurrent_s", 196, ">H", absent=0),
    Field("extra.release_discharge_short_circuit_s", 198, ">H", absent=0),
    Field("extra.release_charge_overcurrent_s", 200, ">H", absent=0),
    Field("extra.release_charge_short_circuit_s", 202, ">H", absent=0),
    Field("extra.release_undervoltage_s", 204, ">H", absent=0),
    Field("extra.release_overvoltage_s", 206, ">H", absent=0),
    Field("extra.heating", 209, ">B"),
    Field("extra.emergency_s", 212, ">H", absent=0),
    Field("extra.heater_ma", 230, ">h"),
    Field("extra.charger_plugged", 239, ">B"),
    Field("temp_dc.4", 248, ">h", absent=NO_SENSOR),  # the MOSFETs once more in most captures
    Field("temp_dc.3", 250, ">h", absent=NO_SENSOR),
    Field("temp_dc.2", 252, ">h", absent=NO_SENSOR),
    Field("counters.log_entries", 260, ">I"),
    Field("extra.charge_stage_s", 272, ">H"),
    Field("extra.charge_stage", 274, ">B"),  # 0 bulk, 1 absorption, 2 float
)
WIRES: Table = tuple(Field(f"extra.wire_{i:02}_mohm", 74 + 2 * i, ">H") for i in range(CELLS))
PRESENT = Field("raw.cells_present", 64, ">I")
MASKS = (  # vendor words, kept as hex
    PRESENT,
    Field("raw.wire_alarm", 140, ">I"),
    Field("raw.alarm", 160, ">I"),
    Field("raw.user_alarm", 186, ">H"),
    Field("raw.user_alarm_2", 194, ">H"),
    Field("raw.sensors_present", 208, ">B"),
)
RUNTIME: Table = (*MEASURED, *WIRES, *MASKS)
LIMITS: Table = (
    Field("limits.sleep_mv", 0, ">I"),
    Field("limits.cell_min_mv", 4, ">I"),
    Field("limits.cell_min_release_mv", 8, ">I"),
    Field("limits.cell_max_mv", 12, ">I"),
    Field("limits.cell_max_release_mv", 16, ">I"),
    Field("limits.balance_trigger_mv", 20, ">I"),
    Field("limits.cell_full_mv", 24, ">I"),
    Field("limits.cell_empty_mv", 28, ">I"),
    Field("limits.cell_charge_mv", 32, ">I"),
    Field("limits.cell_float_mv", 36, ">I"),
    Field("limits.cell_power_off_mv", 40, ">I"),
    Field("limits.charge_ma", 44, ">I"),
    Field("limits.charge_delay_s", 48, ">I"),
    Field("limits.charge_release_s", 52, ">I"),
    Field("limits.discharge_ma", 56, ">I"),
    Field("limits.discharge_delay_s", 60, ">I"),
    Field("limits.discharge_release_s", 64, ">I"),
    Field("limits.short_circuit_release_s", 68, ">I"),
    Field("limits.balance_ma", 72, ">I"),
    Field("limits.charge_temp_max_dc", 76, ">i"),
    Field("limits.charge_temp_max_release_dc", 80, ">i"),
    Field("limits.discharge_temp_max_dc", 84, ">i"),
    Field("limits.discharge_temp_max_release_dc", 88, ">i"),
    Field("limits.charge_temp_min_dc", 92, ">i"),
    Field("limits.charge_temp_min_release_dc", 96, ">i"),
    Field("limits.mos_temp_max_dc", 100, ">i"),
    Field("limits.mos_temp_max_release_dc", 104, ">i"),
    Field("info.n_cells", 108, ">I"),
    Field("limits.charge_enabled", 112, ">I"),
    Field("limits.discharge_enabled", 116, ">I"),
    Field("limits.balance_enabled", 120, ">I"),
    Field("info.nominal_mah", 124, ">I"),
    Field("limits.short_circuit_delay_us", 128, ">I"),
    Field("limits.balance_start_mv", 132, ">I"),
    Field("info.bus_address", 264, ">I"),
    Field("limits.current_range_ma", 272, ">I"),
    Field("limits.discharge_temp_min_dc", 290, ">b", times=10),
    Field("limits.discharge_temp_min_release_dc", 291, ">b", times=10),
)
TEXTS = (  # name, offset, length; the passcodes at 56 and 112 have no row and are never read
    ("model", 0, 15),
    ("hardware", 16, 8),
    ("firmware", 24, 8),
    ("manufactured", 72, 8),
    ("serial", 80, 16),
)
BOOTS = Field("counters.power_ons", 36, ">I")

HEADER = 6
"""Bytes of a JK02 frame before its table."""


def in_frame(table: Iterable[Field]) -> Table:
    """The same fields in a JK02_32S frame: behind its header, low byte first."""
    return tuple(replace(field, offset=field.offset + HEADER, form="<" + field.form[1:]) for field in table)


def in_short_frame(table: Iterable[Field]) -> Table:
    """The same fields in a JK02_24S frame (firmware before 11): 24 places for cells and wires, and no late fields."""
    return tuple(moved for field in table if (moved := _shortened(field)))


LATE = 242
"""Offset of the first field that older firmware does not have."""
_RENAMED = {
    "mos_temp_dc": Field("mos_temp_dc", 134, "<h", absent=NO_SENSOR),
    "raw.alarm": Field("raw.alarm", 136, "<H"),
    "raw.user_alarm_2": Field("raw.word_168", 168, "<H"),  # never zero on healthy packs, so no alarms
}


def _shortened(field: Field) -> Field | None:
    if field.name in _RENAMED:
        return _RENAMED[field.name]
    group, _, place = field.name.partition(".")
    if field.offset > LATE or (group == "cell_mv" and int(place) >= SHORT_CELLS) or field in WIRES[SHORT_CELLS:]:
        return None
    gone = 0 if group == "cell_mv" else 16 if field.offset < WIRES[-1].end else 32
    (long,) = in_frame((field,))
    return replace(long, offset=long.offset - gone)
