"""Bluetooth batteries that aiobmsble knows: its results in our names, with its signs put right and its codes named.

Fields: docs/devices/ble.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.kernel import Chunk, Conversation, Driver, Send
from collectors.telegrams import Key, document, parts, read

SAMPLE, INFO = "sample", "info"
MOST_PACKS = 16
KEYS = (
    Key("voltage_mv", ("voltage",), 1000, least=0),
    Key("current_ma", ("current",), 1000),
    Key("soc_pm", ("battery_level",), 10, least=0, most=1000),
    Key("soh_pm", ("battery_health",), 10, absent=(0,), least=0, most=1500),
    Key("remaining_mah", ("cycle_charge",), 1000, least=0),
    Key("cycles", ("cycles",), least=0),
    Key("cell_mv", ("cell_voltages",), 1000, least=0, most=6000),
    Key("info.nominal_mah", ("design_capacity",), 1000, absent=(0,), least=0),
    Key("info.n_cells", ("cell_count",), absent=(0,), least=0, most=1000),
    Key("counters.discharge_mah", ("total_charge",), 1000, least=0),
    Key("extra.balance_ma", ("balance_current",), 1000),
    Key("extra.heater_ma", ("heater_current",), 1000),
    Key("extra.balancer", ("balancer",), least=0),
    Key("extra.mode", ("battery_mode",)),
)
SWITCHES = {"charge_on": "chrg_mosfet", "discharge_on": "dischrg_mosfet"}
CELLS = ("GENERIC", "CELL")
"""Sensors of cells; all others are one number each."""
TEMPS = {"CELL_MAX": "temp_max_dc", "CELL_MIN": "temp_min_dc", "MOSFET": "mos_temp_dc"}
TEMPERATURE = Key("temp", ("value",), 10, least=-600, most=2000)
ABOUT = {
    "serial": ("serial_number",),
    "model": ("model", "model_id"),
    "firmware": ("sw_version", "fw_version"),
    "hardware": ("hw_version",),
}
DISCHARGING_POSITIVE = ("ant",)
"""aiobmsble 0.31.0 says +1 A of a capture in which the counter of discharge rises."""
MOSFETS_SWAPPED = ("ant",)
"""Which comes first is disputed: docs/devices/ant_new.md. Both ways of reading an ANT shall say the same."""


def _daly(code: int) -> tuple[str, ...]:
    """Four registers of a D2, the first one in the highest bytes; a P81's code is shorter, and nobody explains it."""
    if code < 2**32:
        return (faults.UNKNOWN,)
    data = code.to_bytes(8, "big")
    mask = sum(int.from_bytes(data[i : i + 2], "big") << 8 * i for i in range(0, 8, 2))
    return faults.brand("daly")["failure"].of_mask(mask)


def _ant(code: int) -> tuple[str, ...]:
    """State codes of both MOSFETs, four bits each, 0 where the state is none of trouble."""
    words, said = faults.brand("ant"), {"discharge_mosfet": code & 0xF, "charge_mosfet": code >> 8 & 0xF}
    return tuple(dict.fromkeys(fault for name, one in said.items() if one for fault in words[name].of_value(str(one))))


NAMES: Mapping[str, Callable[[int], tuple[str, ...]]] = {"ant": _ant, "daly": _daly}
MASKS = {"jbd": ("jbd", "protection"), "jikong": ("jk", "alarm")}  # of JK the lower 16 bits are kept
"""Kind of aiobmsble -> what its problem code says, or brand and word. Of all others only that there is one."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """One result, as JSON: {"kind": "redodo", "sample": {...}} or with "info". Raises BadFrame."""
    payload = parts(frame)[1]
    found = document(payload)
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str):
        raise BadFrame("no result of aiobmsble with its kind", payload[:512])
    kind, sample, info = found["kind"], found.get(SAMPLE), found.get(INFO)
    if isinstance(info, dict):
        return (Measured(info=_about(info)),)
    if not isinstance(sample, dict) or not {"voltage", "cell_voltages", "battery_level"} & {*sample}:
        raise BadFrame("a result without voltage, cells and charge", payload[:512])
    packs = sample.get("packs")
    inner = [each for each in packs if isinstance(each, dict)][:MOST_PACKS] if isinstance(packs, list) else []
    whole = _measured(kind, sample, packs=inner)
    return (whole, *(_measured(kind, each, module=at) for at, each in enumerate(inner, 1)))


def _measured(
    kind: str, sample: Mapping[str, Any], *, module: int | None = None, packs: list[dict[str, Any]] | None = None
) -> Measured:
    said = read(KEYS, {k: int(v) if isinstance(v, bool) else v for k, v in sample.items()})
    if kind in DISCHARGING_POSITIVE and "current_ma" in said:
        said["current_ma"] = -said["current_ma"]
    ways = (*SWITCHES.values(),) if kind not in MOSFETS_SWAPPED else (*reversed(SWITCHES.values()),)
    said |= {name: sample[way] for name, way in zip(SWITCHES, ways, strict=True) if isinstance(sample.get(way), bool)}
    if isinstance(heater := sample.get("heater"), bool):
        said.setdefault("extra", {})["heating"] = int(heater)
    said |= _temperatures(sample.get("temp_values"), said.setdefault("extra", {}))
    code = sample.get("problem_code")
    if isinstance(code, int) and not isinstance(code, bool) and 0 <= code < 2**72:
        said |= {"faults": _named(kind, code), "raw": {"problem": f"{code:x}"}}
    return Measured(module=module, kind="bank" if packs else "module", **said)


def _named(kind: str, code: int) -> tuple[str, ...]:
    if not code:
        return ()
    if kind in MASKS:
        brand, word = MASKS[kind]
        return faults.brand(brand)[word].of_mask(code)
    return NAMES[kind](code) if kind in NAMES and code < 2**64 else (faults.UNKNOWN,)


def _temperatures(sensors: object, extra: dict[str, int]) -> dict[str, Any]:
    """Those of the cells as a list, the others by their kind; `extra` takes those without a name of ours."""
    cells: list[int | None] = []
    single: dict[str, Any] = {}
    for each in sensors if isinstance(sensors, list) else ():
        typed = each if isinstance(each, dict) else {"value": each, "type": CELLS[0]}
        kind, value = str(typed.get("type")), TEMPERATURE.one(typed.get("value"))
        if kind in CELLS:
            cells.append(value)
        elif kind in TEMPS and value is not None:
            single.setdefault(TEMPS[kind], value)
        elif kind.isidentifier() and value is not None:
            extra.setdefault(f"{kind.lower()[:20]}_temp_dc", value)
    return single | ({"temp_dc": tuple(cells)} if cells else {})


def _about(info: Mapping[str, Any]) -> dict[str, str]:
    told = {name: next((info[key] for key in keys if info.get(key)), "") for name, keys in ABOUT.items()}
    return {name: str(text)[:64] for name, text in told.items() if text}


def poll(address: int) -> Conversation:
    """One update."""
    return decode((yield Send(SAMPLE.encode())))


def identify(address: int) -> Conversation:
    """What the standard service of Bluetooth tells of the device."""
    return decode((yield Send(INFO.encode())))


DRIVER = Driver(
    name="ble",
    brand="generic",
    title="Bluetooth batteries that aiobmsble knows (Redodo, Renogy, LiTime, Epoch and 40 others)",
    line="Bluetooth LE; one client only, the phone's app must be closed; Python 3.12 or newer",
    links=("ble",),
    decode=decode,
    allow=tuple(re.compile(what) for what in (SAMPLE.encode(), INFO.encode())),
    poll=poll,
    identify=identify,
    timeout_s=20.0,
    ascii=True,
    spans_lines=True,
    whole_bus=True,
)
