"""Where what stands in the registers of a Seplos BMS 3.0; offsets count bytes from the start of a block."""

from __future__ import annotations

from collectors.fields import Field, Table

KELVIN = -2731
CELLS, SENSORS = 16, 4

PACK: Table = (
    Field("voltage_mv", 0, ">H", times=10),
    Field("current_ma", 2, ">h", times=10),  # 300 A boards count in 0.1 A: docs/devices/seplos_v3.md
    Field("remaining_mah", 4, ">H", times=10),
    Field("full_mah", 6, ">H", times=10),
    Field("counters.discharge_mah", 8, ">H", times=10_000),
    Field("soc_pm", 10, ">H"),
    Field("soh_pm", 12, ">H"),
    Field("cycles", 14, ">H"),
    Field("extra.cell_mean_mv", 16, ">H"),
    Field("extra.temp_mean_dc", 18, ">H", plus=KELVIN),
    Field("cell_max_mv", 20, ">H"),
    Field("cell_min_mv", 22, ">H"),
    Field("temp_max_dc", 24, ">H", plus=KELVIN),
    Field("temp_min_dc", 26, ">H", plus=KELVIN),
    Field("extra.discharge_limit_ma", 30, ">H", times=1000),
    Field("extra.charge_limit_ma", 32, ">H", times=1000),
    Field("extra.precharge_pm", 34, ">H"),
)
UNIT: Table = (
    *(Field(f"cell_mv.{i}", 2 * i, ">H") for i in range(CELLS)),
    *(Field(f"temp_dc.{i}", 32 + 2 * i, ">H", plus=KELVIN) for i in range(SENSORS)),
    Field("extra.ambient_temp_dc", 48, ">H", plus=KELVIN),
    Field("mos_temp_dc", 50, ">H", plus=KELVIN),
)
EVENTS = {  # place among the event bytes of a pack, of the stack and of the log -> the catalogue's word
    0: "v3_state",
    1: "v3_voltage",
    2: "v3_temperature",
    3: "v3_environment",
    4: "v3_current",
    5: "v3_lockout",
    6: "v3_capacity",
    8: "v3_balancing",
    9: "v3_hardware",
}
HISTORY = slice(12, 22)

LIMITS: Table = (
    Field("info.n_cells", 2 * 0x01, ">H"),
    Field("limits.voltage_high_mv", 2 * 0x03, ">H", times=10),
    Field("limits.voltage_max_release_mv", 2 * 0x04, ">H", times=10),
    Field("limits.voltage_max_mv", 2 * 0x05, ">H", times=10),
    Field("limits.voltage_low_mv", 2 * 0x07, ">H", times=10),
    Field("limits.voltage_min_release_mv", 2 * 0x08, ">H", times=10),
    Field("limits.voltage_min_mv", 2 * 0x09, ">H", times=10),
    Field("limits.cell_high_mv", 2 * 0x0B, ">H"),
    Field("limits.cell_max_release_mv", 2 * 0x0C, ">H"),
    Field("limits.cell_max_mv", 2 * 0x0D, ">H"),
    Field("limits.cell_low_mv", 2 * 0x0F, ">H"),
    Field("limits.cell_min_release_mv", 2 * 0x10, ">H"),
    Field("limits.cell_min_mv", 2 * 0x11, ">H"),
    Field("limits.cell_fail_mv", 2 * 0x12, ">H"),
    Field("limits.cell_spread_mv", 2 * 0x13, ">H"),
    Field("limits.charge_ma", 2 * 0x17, ">h", times=1000),
    Field("limits.charge_level_2_ma", 2 * 0x19, ">h", times=1000),
    Field("limits.discharge_ma", 2 * 0x1D, ">h", times=-1000),
    Field("limits.discharge_level_2_ma", 2 * 0x1F, ">h", times=-1000),
    Field("limits.short_circuit_ma", 2 * 0x21, ">h", times=-1000),
    Field("limits.overcurrents_until_lockout", 2 * 0x24, ">H"),
    Field("limits.charge_temp_max_dc", 2 * 0x32, ">H", plus=KELVIN),
    Field("limits.charge_temp_min_dc", 2 * 0x36, ">H", plus=KELVIN),
    Field("limits.discharge_temp_max_dc", 2 * 0x3A, ">H", plus=KELVIN),
    Field("limits.discharge_temp_min_dc", 2 * 0x3E, ">H", plus=KELVIN),
    Field("limits.mos_temp_max_dc", 2 * 0x4A, ">H", plus=KELVIN),
    Field("limits.balance_start_mv", 2 * 0x50, ">H"),
    Field("limits.balance_trigger_mv", 2 * 0x51, ">H"),
    Field("limits.balance_end_mv", 2 * 0x52, ">H"),
    Field("limits.soc_low_pm", 2 * 0x55, ">H"),
    Field("limits.soc_min_pm", 2 * 0x57, ">H"),
    Field("info.nominal_mah", 2 * 0x58, ">H", times=10),
    Field("limits.charge_mv", 2 * 0x65, ">H", times=10),
)
TEXTS = {
    "maker": slice(0, 20),
    "model": slice(20, 40),
    "firmware": slice(40, 42),
    "serial": slice(42, 72),
    "pack_serial": slice(72, 102),
}
INVERTER = {
    "inverter": slice(4, 36),
    "inverter_protocol": slice(36, 68),
    "inverter_protocol_version": slice(68, 70),
}

STACK_WIDE = 20
"""Registers of the stack's block that go in pairs, low word first."""
STACK: Table = (  # after the pairs were put right
    Field("voltage_mv", 0, ">I", times=10),
    Field("current_ma", 4, ">i", times=100),
    Field("remaining_mah", 8, ">I", times=10),
    Field("full_mah", 12, ">I", times=10),
    Field("counters.discharge_mah", 16, ">I", times=10_000),
    Field("info.nominal_mah", 20, ">I", times=10),
    Field("extra.discharge_limit_ma", 32, ">I", times=100),
    Field("extra.charge_limit_ma", 36, ">I", times=100),
    Field("extra.charge_limit_mv", 40, ">H", times=100),
    Field("extra.discharge_limit_mv", 42, ">H", times=100),
    Field("extra.modules", 44, ">H"),
    Field("cycles", 46, ">H"),
    Field("soc_pm", 48, ">H"),
    Field("soh_pm", 50, ">H"),
)
STACK_WORDS = {"online": slice(24, 28), "protected": slice(28, 32)}
"""A bit for each pack."""
SPREAD: Table = (
    Field("cell_max_mv", 0, ">H"),
    Field("cell_min_mv", 2, ">H"),
    Field("extra.cell_max_place", 4, ">H"),  # 16 to a pack, both counted from 0
    Field("extra.cell_min_place", 6, ">H"),
    Field("extra.voltage_max_mv", 8, ">H", times=10),
    Field("extra.voltage_min_mv", 10, ">H", times=10),
    Field("extra.voltage_max_pack", 12, ">H"),
    Field("extra.voltage_min_pack", 14, ">H"),
    Field("temp_max_dc", 16, ">h"),
    Field("temp_min_dc", 18, ">h"),
    Field("extra.temp_mean_dc", 20, ">h"),
    Field("extra.temp_max_place", 22, ">H"),
    Field("extra.temp_min_place", 24, ">H"),
    Field("extra.soc_max_pm", 26, ">H"),
    Field("extra.soc_min_pm", 28, ">H"),
    Field("extra.cycles_max", 30, ">H"),
    Field("extra.soh_max_pm", 32, ">H"),
    Field("mos_temp_dc", 34, ">h"),
    Field("extra.mos_temp_min_dc", 36, ">h"),
    Field("extra.mos_temp_mean_dc", 38, ">h"),
    Field("extra.mos_temp_max_pack", 40, ">H"),
    Field("extra.mos_temp_min_pack", 42, ">H"),
)
