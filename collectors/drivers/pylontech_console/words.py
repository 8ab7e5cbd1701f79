"""Columns, names and state words of the console, and how they become ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cellherd import faults
from collectors.drivers.pylontech_console.text import Row, number, slug, unit
from collectors.fields import put

Column = tuple[str, int, int]  # our name, and number * times / over
VOLTS, TENTH_DEGREE, PER_MILLE = (1, 1), (1, 100), (10, 1)

OF_A_ROW: Mapping[str, Column] = {
    "Volt": ("voltage_mv", *VOLTS),
    "Curr": ("current_ma", *VOLTS),
    "Tempr": ("temp_dc", *TENTH_DEGREE),
    "Tlow": ("temp_min_dc", *TENTH_DEGREE),
    "Thigh": ("temp_max_dc", *TENTH_DEGREE),
    "BTlow": ("temp_min_dc", *TENTH_DEGREE),
    "BThigh": ("temp_max_dc", *TENTH_DEGREE),
    "Vlow": ("cell_min_mv", *VOLTS),
    "Vhigh": ("cell_max_mv", *VOLTS),
    "BVlow": ("cell_min_mv", *VOLTS),
    "BVhigh": ("cell_max_mv", *VOLTS),
    "UTlow": ("extra.unit_temp_min_dc", *TENTH_DEGREE),
    "UThigh": ("extra.unit_temp_max_dc", *TENTH_DEGREE),
    "UVlow": ("extra.unit_min_mv", *VOLTS),
    "UVhigh": ("extra.unit_max_mv", *VOLTS),
    "AvgTempr": ("extra.average_temp_dc", *TENTH_DEGREE),
    "Coulomb": ("soc_pm", *PER_MILLE),
    "CoulombAH": ("soc_pm", *PER_MILLE),
    "MosTempr": ("mos_temp_dc", *TENTH_DEGREE),
}
OF_A_PAIR: Mapping[str, Column] = {
    "Voltage": ("voltage_mv", *VOLTS),
    "Current": ("current_ma", *VOLTS),
    "Temperature": ("temp_dc", *TENTH_DEGREE),
    "Coulomb": ("soc_pm", *PER_MILLE),
    "Max Voltage": ("limits.voltage_max_mv", *VOLTS),
    "Charge Times": ("counters.charge_times", *VOLTS),
    "AverageTempr": ("extra.average_temp_dc", *TENTH_DEGREE),
    "A.Tempr": ("extra.average_temp_dc", *TENTH_DEGREE),
    "DC Volt": ("extra.dc_mv", *VOLTS),
    "Bat Volt": ("extra.cells_sum_mv", *VOLTS),
    "BalVolt": ("extra.balance_mv", *VOLTS),
    "C.Curr": ("extra.charge_limit_ma", *VOLTS),
    "D.Curr": ("extra.discharge_limit_ma", *VOLTS),
    "System Volt": ("voltage_mv", *VOLTS),
    "System Curr": ("current_ma", *VOLTS),
    "System RC": ("remaining_mah", *VOLTS),
    "System FCC": ("full_mah", *VOLTS),
    "System SOC": ("soc_pm", *PER_MILLE),
    "System SOH": ("soh_pm", *PER_MILLE),
    "Highest voltage": ("cell_max_mv", *VOLTS),
    "Lowest voltage": ("cell_min_mv", *VOLTS),
    "Highest temperature": ("temp_max_dc", *TENTH_DEGREE),
    "Lowest temperature": ("temp_min_dc", *TENTH_DEGREE),
}
OF_STAT: Mapping[str, Column] = {
    "CYCLE Times": ("cycles", *VOLTS),
    "SOH": ("soh_pm", *PER_MILLE),
    "SOH Percent": ("soh_pm", *PER_MILLE),
    "Pwr Percent": ("soc_pm", *PER_MILLE),
    "Pwr PercentWatt": ("extra.soc_energy_pm", *PER_MILLE),
    "Pwr Coulomb": ("remaining_mah", 1, 3600),
    "Pwr Coulomb(mAS)": ("remaining_mah", 1, 3600),
    "Dsg Cap": ("counters.discharged_mah", *VOLTS),
    "Dsg Cap(mAH)": ("counters.discharged_mah", *VOLTS),
    "His.Chg Cap(WH)": ("counters.charged_wh", *VOLTS),
    "His.Dsg Cap(WH)": ("counters.discharged_wh", *VOLTS),
}
OF_SYSINFO: Mapping[str, Column] = {
    "Chg Sug Volt": ("limits.charge_mv", *VOLTS),
    "Chg Cut Volt": ("limits.voltage_max_mv", *VOLTS),
    "Dsg Cut Volt": ("limits.voltage_min_mv", *VOLTS),
    "Max Chg Curr": ("limits.charge_ma", *VOLTS),
    "Max Dsg Curr": ("limits.discharge_ma", *VOLTS),
    "Vol High 4": ("limits.cell_max_mv", *VOLTS),
    "Vol Low  2": ("limits.cell_min_mv", *VOLTS),
}
OF_INFO: Mapping[str, str] = {
    "Manufacturer": "maker",
    "Device name": "model",
    "Board version": "hardware",
    "Soft  version": "firmware",
    "Soft version": "firmware",
    "Main Soft version": "firmware_main",
    "Barcode": "serial",
    "Module Barcode": "serial",
    "Release Date": "released",
    "Cell Number": "n_cells",
}
STATES: Mapping[str, str] = {  # column or name -> word of the brand's fault file
    **dict.fromkeys(("Base.St", "Basic Status", "B.State"), "state"),
    **dict.fromkeys(("Volt.St", "B.V.St", "U.V.St", "Volt Status"), "voltage"),
    **dict.fromkeys(("Curr.St", "Current Status"), "current"),
    **dict.fromkeys(("Temp.St", "B.T.St", "U.T.St", "Tmpr. Status", "Tmpr Status"), "temperature"),
    "M.T.St": "mosfet",
    "Coul. Status": "coulomb",
    "SysAlarm.St": "alarm",
    **dict.fromkeys(("Soh. Status", "SOHStatus"), "soh"),
}
UNITS = {"mV": ("_mv", 1, 1), "mA": ("_ma", 1, 1), "mC": ("_dc", 1, 100), "mAH": ("_mah", 1, 1), "%": ("_pm", 10, 1)}
UNITS |= {"s": ("_s", 1, 1), "AS": ("_as", 1, 1), "": ("", 1, 1)}
SIZES = ("discharge_limit_ma", "limits.discharge_ma")
"""Written negative by the console, sizes here."""
WORKING = {"state_charging", "state_discharging", "state_idle"}
"""States of a healthy module: no faults."""


def scaled(columns: Mapping[str, Column], row: Row) -> dict[str, Any]:
    """Arguments for Measured from the cells that the table names."""
    values: dict[str, Any] = {}
    for name, (ours, times, over) in columns.items():
        if (found := number(row.get(name))) is not None:
            put(values, ours, abs(found) if ours.endswith(SIZES) else round(found * times / over))
    return values


def states(row: Row, current_ma: int) -> dict[str, Any]:
    """Faults of every state word; working states are none, and all that is not normal stays as a word."""
    words = [(name, STATES[name], row[name]) for name in row if name in STATES and row[name] != "-"]
    found = [fault for _, word, said in words for fault in _fault(word, said, current_ma)]
    raw = {slug(name): said for name, word, said in words if said != "Normal"}
    return {"faults": tuple(dict.fromkeys(found)) if words else None, "raw": raw}


def _fault(word: str, said: str, current_ma: int) -> tuple[str, ...]:
    """Where one word stands for a charging and a discharging fault, the current decides."""
    code = faults.brand("pylontech")[f"console_{word}"].values.get(said)
    if code is None:
        return (faults.UNKNOWN,)
    if code.fault in WORKING:
        return ()
    way = "charge_" if current_ma > 0 else "discharge_" if current_ma < 0 else None
    if way and len(code.faults) > 1:
        return tuple(fault for fault in code.faults if fault.startswith(way))[:1] or code.active
    return code.active


def others(said: Row, known: Collection[str]) -> dict[str, int]:
    """Numbers that no table names, under their own name and unit."""
    found = {}
    for name, text in said.items():
        ending, times, over = UNITS.get(unit(text), ("", 0, 1))
        if name not in known and times:
            found[slug(name) + ending] = round((number(text) or 0) * times / over)
    return found
