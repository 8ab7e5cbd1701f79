"""What is measured now: `pwr`, `pwr n`, `bat n`, `unit`, `getpwr`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Kind, Measured, combine
from collectors.drivers.pylontech_console.text import Answer, Row, number, slug, unit
from collectors.drivers.pylontech_console.words import OF_A_PAIR, OF_A_ROW, STATES, others, scaled, states

PATHS = {"charge_on": "CMOS Status", "discharge_on": "DMOS Status"}
IDENTITY = {"serial": ("Barcode",), "model": ("DevType",), "firmware": ("Firm Version",)}
MASKS = ("Bat Events", "Power Events", "System Fault")
TELL_OTHERWISE = {"Power", "Device address", "Total Coulomb", "Real Coulomb"}
NAMED = {*STATES, *MASKS, *PATHS.values(), *(name for names in IDENTITY.values() for name in names)}
NAMED |= {*OF_A_PAIR, *TELL_OTHERWISE, "Heater Status"}
"""What `pwr n` says that has a name here; other words travel on as they stand."""


def lines(table: list[Row], said: Row) -> tuple[Measured, ...]:
    """`pwr` and `unit`: a module each; on high voltage `pwr` is one line for the whole string."""
    present = [row for row in table if row.get("Base.St") != "Absent"]
    if "Power" in table[0] or "Index" in table[0]:
        return tuple(_line(row, "module") for row in present)
    about = Measured(kind="bank", **scaled(OF_A_PAIR, said))
    return tuple(combine(about, _line(row, "bank")) for row in present)


def _line(row: Row, kind: Kind) -> Measured:
    values = scaled(OF_A_ROW, row)
    current = values.get("current_ma", 0)
    _, _, charge = row.get("CoulombAH", "").partition("/")
    mask = row.get("Err.Code", "0x0").removeprefix("0x")  # of string and firmware unknown, so no bit has a name
    said = Measured(
        module=number(row.get("Power", row.get("Index"))),
        kind=kind,
        remaining_mah=number(charge),
        info=_identity(row),
        faults=(faults.UNKNOWN,) if mask.strip("0") else None,
        raw={"err_code": mask} if "Err.Code" in row else {},
        **values,
    )
    return combine(said, Measured(kind=kind, extra=_energy(row.get("CoulombWH", "")), **states(row, current)))


def _energy(cell: str) -> dict[str, int]:
    """`84%/11903117mWH`, or WH on older firmware."""
    percent, _, energy = cell.partition("/")
    amount = number(energy)
    if amount is None:
        return {}
    return {
        "soc_energy_pm": 10 * (number(percent) or 0),
        "remaining_wh": round(amount / 1000) if energy.endswith("mWH") else amount,
    }


def _identity(said: Mapping[str, str]) -> dict[str, str]:
    found = {ours: said[name] for ours, names in IDENTITY.items() for name in names if name in said}
    return {ours: text for ours, text in found.items() if text not in ("-", "")}


def cells(table: list[Row], said: Row, module: int | None) -> Measured:
    """`bat`: a module has the charge of its poorest cell. High voltage lists the whole string."""
    charges = [_charge(row) for row in table]
    socs = [soc for soc, _ in charges if soc is not None]
    left = [mah for _, mah in charges if mah is not None]
    currents = [ma for row in table if (ma := number(row.get("Curr"))) is not None]
    kind: Kind = "bank" if "B.State" in said else "module"
    measured = Measured(
        module=module,
        kind=kind,
        current_ma=currents[0] if currents else None,
        soc_pm=10 * min(socs) if socs else None,
        remaining_mah=min(left) if left else None,
        cell_mv=tuple(number(row.get("Volt")) for row in table),
        temp_dc=tuple(scaled(OF_A_ROW, row).get("temp_dc", (None,))[0] for row in table),
        balancing=_balancing(table),
        raw={"base_st": table[0].get("Base.St", said.get("B.State", ""))},
        extra={f"cell_{i:02}_mah": mah for i, (_, mah) in enumerate(charges) if mah is not None}
        | {f"cell_{i:02}_soc_pm": 10 * soc for i, (soc, _) in enumerate(charges) if soc is not None},
    )
    told = [_cell(i, row, currents[0] if currents else 0) for i, row in enumerate(table)]
    return combine(Measured(**scaled(OF_A_PAIR, said)), *told, measured)


def _charge(row: Row) -> tuple[int | None, int | None]:
    """Per cent and mAh of a cell, in one column or in two."""
    percent, _, charge = row.get("CoulombAH", row.get("Coulomb", "")).rpartition("/")
    return number(row.get("SOC", percent)), number(charge)


def _balancing(table: list[Row]) -> int | None:
    if "BAL" not in table[0]:
        return None
    return sum(1 << i for i, row in enumerate(table) if row.get("BAL") == "Y")


def _cell(place: int, row: Row, current_ma: int) -> Measured:
    """Faults of one cell; what is not normal of it stands under its number."""
    told = states(row, current_ma)
    words = {name: word for name, word in told["raw"].items() if name != "base_st"}
    raw = {f"cell_{place:02}_{name}": word for name, word in words.items()}
    return Measured(faults=told["faults"], raw=raw)


def detail(answer: Answer, said: Row, module: int | None) -> tuple[Measured, ...]:
    """`pwr n`. The bits of its fault mask are known of Pylontech's US series only, Pytes has other ones."""
    values = scaled(OF_A_PAIR, said)
    full = said.get("Real Coulomb", said.get("Total Coulomb", ""))
    mask = _mask(said.get("System Fault", "0x0"))
    pytes = "DevType" in said
    word = faults.brand("pylontech")["console_fault"]
    measured = Measured(
        module=number(said.get("Power")) or module,
        full_mah=(number(full) or 0) // (3600 if unit(full) == "mAS" else 1) or None,
        faults=(faults.UNKNOWN,) * bool(mask) if pytes else word.of_mask(mask),
        raw={slug(name): said[name].removeprefix("0x") for name in MASKS if name in said},
        info=_identity(said),
        extra={"heating": int(said["Heater Status"] == "ON")} if "Heater Status" in said else {},
        **{ours: said[name] == "ON" for ours, name in PATHS.items() if name in said},  # type: ignore[arg-type]
    )
    unnamed = {slug(name): text for name, text in said.items() if unit(text) == "?" and name not in NAMED}
    settings = {name: text for name, text in unnamed.items() if name.endswith("_ena")}
    more = Measured(
        extra=others(said, {*OF_A_PAIR, *TELL_OTHERWISE}),
        raw={name: text for name, text in unnamed.items() if name not in settings},
        info=settings,
    )
    told = states(said, values.get("current_ma", 0))
    return (combine(more, Measured(**told), measured, Measured(**values)),)


def _mask(text: str) -> int:
    """`0x2000  NAME`. Raises BadFrame."""
    shape = re.match(r"0x([0-9A-Fa-f]{1,8})\b", text)
    if shape is None:
        raise BadFrame("not a mask", text.encode("latin-1"))
    return int(shape[1], 16)


def machine(answer: Answer, module: int | None) -> tuple[Measured, ...]:
    """`getpwr`: the module, then its cells, then an error mask and the cycles. Raises BadFrame."""
    records = [[part.strip() for part in line.split("#") if part.strip()] for line in answer.lines if "#" in line]
    head, cell, tail = records[0], [r for r in records[1:] if len(r) == 4], [r[0] for r in records if len(r) == 1]
    if len(head) != 8 or len(tail) != 2 or len(cell) + 3 != len(records):
        raise BadFrame("getpwr with records of no known length", "\n".join(answer.lines).encode("latin-1"))
    rows = [
        dict(zip(("Volt", "Curr", "Tempr", "mAh", "Base.St", "Volt.St", "Curr.St", "Temp.St"), head, strict=True)),
        *(dict(zip(("Volt", "Tempr", "B.V.St", "B.T.St"), record, strict=True)) for record in cell),
    ]
    values = [scaled(OF_A_ROW, row) for row in rows]
    board = values[0].pop("temp_dc", (None,))[0]
    current = values[0].get("current_ma", 0)
    measured = Measured(
        module=module,
        remaining_mah=number(rows[0]["mAh"]),
        cycles=number(tail[1]),
        cell_mv=tuple(value.get("voltage_mv") for value in values[1:]),
        temp_dc=tuple(value.get("temp_dc", (None,))[0] for value in values[1:]),
        raw={"error_mask": tail[0]},
        extra={"board_temp_dc": board} if board is not None else {},
        **values[0],
    )
    told = [_cell(i, row, current) for i, row in enumerate(rows[1:])]
    return (combine(measured, Measured(**states(rows[0], current)), *told),)
