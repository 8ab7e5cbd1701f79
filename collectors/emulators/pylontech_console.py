"""An emulated Pylontech stack on its text console: the master answers for every module."""

from __future__ import annotations

import re
from collections.abc import Callable

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers.pylontech_console import text
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.kernel import Request, Send

COLUMNS = (
    "Power Volt   Curr   Tempr  Tlow   Thigh  Vlow   Vhigh  Base.St  Volt.St  Curr.St  Temp.St  Coulomb  Time"
    "                 B.V.St   B.T.St   MosTempr M.T.St"
)
CELL_COLUMNS = (
    "Battery  Volt     Curr     Tempr    Base State   Volt. State  Curr. State  Temp. State"
    "  SOC          Coulomb      BAL"
)
POSITIONS = 16
WHEN = "2025-06-01 12:00:00"
COUNTERS = {  # of `stat`: what the battery counts
    "COC Times": "charge_overcurrent", "DOC Times": "discharge_overcurrent", "Bat OV Times": "cell_overvoltage",
    "Bat UV Times": "cell_undervoltage", "COT Times": "charge_overtemperature", "CUT Times": "charge_undertemperature",
    "DOT Times": "discharge_overtemperature", "DUT Times": "discharge_undertemperature",
}  # fmt: skip


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """What the console prints; silence for a module that is not there."""
    line = request.data.decode("latin-1") if isinstance(request, Send) else ""
    shape = re.fullmatch(rf"({text.READS})(?: (\d+))?\s*", line)
    if shape is None:
        return None
    command, number = shape[1], int(shape[2]) if shape[2] else None
    if number is not None and command in OF_ONE and number in truths:
        return _dressed(f"{command} {number}", OF_ONE[command](number, truths[number]))
    if command in OF_ALL and number is None:
        return _dressed(command, OF_ALL[command](truths))
    return f"{shape[0].strip()}\r\r\nInvalid command or {text.FAILED}.\r\n\rpylon>".encode()


def _dressed(echo: str, lines: list[str]) -> bytes:
    """With the console's own mix of line ends."""
    body = "".join(f"{line}\r\r\n" for line in lines)
    return f"{echo}\n\r@\r\r\n{body}\rCommand completed successfully\r\n\r$$\r\n\rpylon>".encode()


def word(column: str, truth: Measured) -> str:
    """The state word of a column for the faults of the truth."""
    told = set(truth.faults or ())
    values = faults.brand("pylontech")[f"console_{column}"].values
    return next((said for said, code in values.items() if told & set(code.faults)), "Normal")


def _base(truth: Measured) -> str:
    current = truth.current_ma or 0
    return "Charge" if current > 0 else "Dischg" if current < 0 else "Idle"


def _percent(truth: Measured) -> int:
    return (truth.soc_pm or 0) // 10


def stack(truths: Truths) -> list[str]:
    """`pwr`."""
    lines = [COLUMNS]
    for place in range(1, POSITIONS + 1):
        truth = truths.get(place)
        if truth is None:
            lines.append(f"{place} - - - - - - - Absent - - - - - - -")
            continue
        cells, temps = [mv or 0 for mv in truth.cell_mv], [100 * (t or 0) for t in truth.temp_dc] or [0]
        numbers = (place, truth.voltage_mv, truth.current_ma, temps[0], min(temps), max(temps), min(cells), max(cells))
        states = (_base(truth), "Normal", word("current", truth), "Normal")
        about = (f"{_percent(truth)}%", WHEN, word("voltage", truth), word("temperature", truth))
        mos = (100 * (truth.mos_temp_dc or 0), word("mosfet", truth))
        lines.append("  ".join(map(str, (*numbers, *states, *about, *mos))))
    return lines


def module(place: int, truth: Measured) -> list[str]:
    """`pwr n`."""
    mask = mask_of(faults.brand("pylontech")["console_fault"], truth.faults)
    return [
        f" Power  {place}",
        f" Voltage         : {truth.voltage_mv}       mV",
        f" Current         : {truth.current_ma}        mA",
        f" Temperature     : {100 * ((truth.temp_dc or (0,))[0] or 0)}       mC",
        f" Coulomb         : {_percent(truth)}          %",
        f" Total Coulomb   : {truth.full_mah}       mAH",
        f" Basic Status    : {_base(truth)}",
        f" Volt Status     : {word('voltage', truth)}",
        f" Current Status  : {word('current', truth)}",
        f" Tmpr. Status    : {word('temperature', truth)}",
        f" Coul. Status    : {word('coulomb', truth)}",
        " Heater Status   : OFF",
        " Bat Events      : 0x0",
        f" System Fault    : {mask:#x}",
    ]


def cells(place: int, truth: Measured) -> list[str]:
    """`bat n`."""
    lines = [CELL_COLUMNS]
    for i, mv in enumerate(truth.cell_mv):
        sensor = truth.temp_dc[i * len(truth.temp_dc) // len(truth.cell_mv)] if truth.temp_dc else 0
        balancing = "Y" if (truth.balancing or 0) >> i & 1 else "N"
        states = f"{_base(truth)}  Normal  Normal  Normal  {_percent(truth)}%  {truth.remaining_mah} mAH  {balancing}"
        lines.append(f"{i}  {mv}  {truth.current_ma}  {100 * (sensor or 0)}  {states}")
    return lines


def health(place: int, truth: Measured) -> list[str]:
    """`soh n`."""
    return ["Battery    Voltage    SOHCount   SOHStatus", *(f"{i} {mv} 0 Normal" for i, mv in enumerate(truth.cell_mv))]


def counters(place: int, truth: Measured) -> list[str]:
    """`stat n`."""
    counts = [f"{name:<16}: {truth.counters.get(f'trips_{ours}', 0):>8}" for name, ours in COUNTERS.items()]
    told = {"Idle Times": 0, "CYCLE Times": truth.cycles or 0, "SOH": (truth.soh_pm or 0) // 10}
    return [f"Device address           {place}", *counts, *(f"{name:<16}: {n:>8}" for name, n in told.items())]


def identity(place: int, truth: Measured) -> list[str]:
    """`info n`."""
    info, limits = truth.info, truth.limits
    return [
        f"Device address      : {place}",
        "Manufacturer        : Pylon",
        f"Device name         : {info.get('model', '')}",
        f"Soft  version       : {info.get('firmware', '')}",
        f"Barcode             : {info.get('serial', '')}",
        f"Specification       : 48V/{int(info.get('nominal_mah', 0)) // 1000}AH",
        f"Cell Number         : {len(truth.cell_mv)}",
        f"Max Dischg Curr     : -{limits.get('discharge_ma', 0)}mA",
        f"Max Charge Curr     : {limits.get('charge_ma', 0)}mA",
    ]


def log(truths: Truths) -> list[str]:
    """`log`."""
    lines = (" Index   : 0", " Time    : 25-06-01 12:00:00", " ModID   : BMM", " Code    : 0")
    return [*lines, " Info    : The device start charging."]


def sums(truths: Truths) -> list[str]:
    """`pwrsys`."""
    modules = list(truths.values())
    return [
        f" Total Num                : {len(modules)}",
        f" System Volt              : {sum(m.voltage_mv or 0 for m in modules) // len(modules)}    mV",
        f" System Curr              : {sum(m.current_ma or 0 for m in modules)}   mA",
        f" System SOC               : {sum(_percent(m) for m in modules) // len(modules)}       %",
    ]


OF_ONE: dict[str, Callable[[int, Measured], list[str]]] = {
    "pwr": module,
    "bat": cells,
    "soh": health,
    "stat": counters,
    "info": identity,
}
OF_ALL: dict[str, Callable[[Truths], list[str]]] = {"pwr": stack, "log": log, "pwrsys": sums}


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One line off the buffer."""
    shape = re.search(rb"[\r\n]", buffer)
    return (buffer[: shape.end()], buffer[shape.end() :]) if shape else (None, buffer)


EMULATOR = Emulator(answer=answer, cut=cut)
