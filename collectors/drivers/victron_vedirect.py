"""Victron shunts and solar chargers, VE.Direct text. Protocol: docs/devices/victron_vedirect.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Kind, Measured, combine
from collectors.kernel import Chunk, Driver

NUMBERS: Mapping[str, tuple[str, int]] = {  # label -> our name, our units in one of theirs
    "V": ("voltage_mv", 1),
    "I": ("current_ma", 1),
    "SOC": ("soc_pm", 1),
    "PPV": ("power_in_w", 1),
    "V2": ("extra.voltage_2_mv", 1),
    "V3": ("extra.voltage_3_mv", 1),
    "VS": ("extra.starter_mv", 1),
    "VM": ("extra.mid_mv", 1),
    "DM": ("extra.mid_deviation_pm", 1),
    "VPV": ("extra.pv_mv", 1),
    "I2": ("extra.current_2_ma", 1),
    "I3": ("extra.current_3_ma", 1),
    "IL": ("extra.load_ma", 1),
    "P": ("extra.power_w", 1),
    "CE": ("extra.consumed_mah", 1),
    "TTG": ("extra.time_to_go_min", 1),
    "H1": ("extra.deepest_discharge_mah", 1),
    "H2": ("extra.last_discharge_mah", 1),
    "H3": ("extra.average_discharge_mah", 1),
    "H4": ("cycles", 1),
    "H5": ("counters.full_discharges", 1),
    "H6": ("counters.drawn_mah", 1),
    "H7": ("extra.lowest_mv", 1),
    "H8": ("extra.highest_mv", 1),
    "H9": ("extra.since_full_s", 1),
    "H10": ("counters.synchronisations", 1),
    "H11": ("counters.low_voltage_alarms", 1),
    "H12": ("counters.high_voltage_alarms", 1),
    "H13": ("counters.starter_low_voltage_alarms", 1),
    "H14": ("counters.starter_high_voltage_alarms", 1),
    "H15": ("extra.starter_lowest_mv", 1),
    "H16": ("extra.starter_highest_mv", 1),
    "H17": ("counters.discharged_wh", 10),
    "H18": ("counters.charged_wh", 10),
    "H19": ("counters.yield_wh", 10),
    "H20": ("extra.yield_today_wh", 10),
    "H21": ("extra.power_today_max_w", 1),
    "H22": ("extra.yield_yesterday_wh", 10),
    "H23": ("extra.power_yesterday_max_w", 1),
    "HSDS": ("extra.day", 1),
    "CS": ("extra.charger_state", 1),
    "MPPT": ("extra.tracker_mode", 1),
    "MODE": ("extra.mode", 1),
    "MON": ("extra.monitor_mode", 1),
    "AC_OUT_V": ("extra.ac_out_mv", 10),
    "AC_OUT_I": ("extra.ac_out_ma", 100),
    "AC_OUT_S": ("extra.ac_out_va", 1),
    "DC_IN_V": ("extra.dc_in_mv", 10),
    "DC_IN_I": ("extra.dc_in_ma", 100),
    "DC_IN_P": ("extra.dc_in_w", 1),
}
SWITCHES = {"LOAD": "load_on", "Relay": "relay_on"}
MASKS = {"AR": "vedirect_alarm", "WARN": "vedirect_alarm", "OR": "vedirect_off"}
INVERTERS = {"VPV", "PPV", "CS", "MPPT", "AC_OUT_V", "H19", "H20", "DC_IN_V"}
"""Labels that a charger or an inverter has and no shunt."""
MODELS = {
    0x203: "BMV-700", 0x204: "BMV-702", 0x205: "BMV-700H", 0xA381: "BMV-712 Smart", 0xA383: "BMV-712 Smart",
    0xA389: "SmartShunt 500A", 0xA38A: "SmartShunt 1000A", 0xA38B: "SmartShunt 2000A",
}  # fmt: skip
UNKNOWN_TIME, NO_SENSOR = "-1", "---"
HEX_FRAME = re.compile(rb":[0-9A-F]+\n")
LINE = re.compile(rb"\r\n([A-Za-z0-9#_]{1,9})\t([^\r\n\t]*)")
LAST = re.compile(rb"\r\nChecksum\t(?s:(.))")
MOST = 1024
"""Bytes of the longest block, twice over; a stream without a checksum is cut to this."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block that checks: its labels, and where it ends in the bytes."""

    said: Mapping[str, str]
    end: int


def blocks(data: bytes) -> Iterator[Block]:
    """Every block whose bytes add up to 0. HEX frames may stand between and inside blocks and do not count."""
    at = 0
    while (last := LAST.search(data, at)) is not None:
        block = HEX_FRAME.sub(b"", data[at : last.end() - 1]) + last[1]
        start = block.find(b"\r\n", max(0, len(block) - MOST))
        while start >= 0:  # what stands before the first whole line is the rest of a block that we missed
            if sum(block[start:]) & 0xFF == 0:
                lines = LINE.findall(block, start)
                yield Block({label.decode(): value.decode("latin-1") for label, value in lines[:-1]}, last.end())
                break
            start = block.find(b"\r\nPID\t", start + 1)
        at = last.end()


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # nobody asks here
    """One reading for each block in the bytes. Raises BadFrame if there is none that checks."""
    if not isinstance(frame, bytes):
        raise BadFrame("VE.Direct is no CAN", frame.data)
    found = tuple(measure(block.said) for block in blocks(frame))
    if not found:
        raise BadFrame("no VE.Direct block whose bytes add up to 0", frame)
    return found


def measure(said: Mapping[str, str]) -> Measured:
    """What the labels of a block say."""
    kind: Kind = "inverter" if INVERTERS & said.keys() else "shunt"
    values: dict[str, Any] = {"extra": {}}
    for label, (name, times) in NUMBERS.items():
        if (number := _number(said.get(label))) is not None and (label, said[label]) != ("TTG", UNKNOWN_TIME):
            group, _, key = name.rpartition(".")
            (values.setdefault(group, {}) if group else values)[key] = number * times
    if (celsius := _number(said.get("T"))) is not None:
        values["temp_dc"] = (10 * celsius,)
    values["extra"] |= {name: int(said[label] == "ON") for label, name in SWITCHES.items() if label in said}
    unknown = {label: text for label, text in said.items() if label not in KNOWN}
    told = Measured(kind=kind, info=_identity(said), raw=unknown | _raw(said), faults=_faults(said))
    return combine(told, Measured(kind=kind, **values))


KNOWN = {*NUMBERS, *SWITCHES, *MASKS, "T", "ERR", "Alarm", "PID", "FW", "FWE", "SER#", "BMV"}


def _number(text: str | None) -> int | None:
    """Decimal, or hex behind 0x."""
    shape = re.fullmatch(r"0x([0-9A-Fa-f]{1,8})|(-?\d{1,12})", text or "")
    if shape is None:
        return None
    return int(shape[1], 16) if shape[1] else int(shape[2])


def _raw(said: Mapping[str, str]) -> dict[str, str]:
    numbers = ((label, _number(said.get(label))) for label in (*MASKS, "ERR"))
    return {label.lower(): f"{number & 0xFFFFFFFF:04x}" for label, number in numbers if number is not None}


def _faults(said: Mapping[str, str]) -> tuple[str, ...] | None:
    """None for a block of history, which does not speak of alarms."""
    if not {"Alarm", "AR", "WARN", "OR", "ERR"} & said.keys():
        return None
    words = faults.brand("victron")
    masks = {word: (_number(said.get(label)) or 0) & 0xFFFFFFFF for label, word in MASKS.items() if label in said}
    found = [fault for word, mask in masks.items() for fault in words[word].of_mask(mask)]
    if (error := _number(said.get("ERR"))) is not None:
        found += words["vedirect_error"].of_value(str(error))
    if said.get("Alarm") == "ON" and not found:
        found = ["alarm_unspecified"]
    return tuple(dict.fromkeys(found))


def _identity(said: Mapping[str, str]) -> dict[str, str]:
    """Texts stay texts: a firmware of 0308 is 3.08, one of 139 is 1.39, C208 a candidate for 2.08."""
    product = _number(said.get("PID"))
    model = said["BMV"] if "BMV" in said and not said["BMV"].isdecimal() else MODELS.get(product or 0)
    firmware = said.get("FW", said.get("FWE", "")[:-2])
    texts = {
        "model": model,
        "product_id": said.get("PID"),
        "serial": said.get("SER#"),
        "firmware": f"{firmware[:-2].lstrip('0') or '0'}.{firmware[-2:]}" if len(firmware) > 2 else None,
    }
    return {name: text for name, text in texts.items() if text}


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes that are no whole block yet, and what the block before said that this one does not repeat."""

    rest: bytes = b""
    history: Measured = field(default_factory=Measured)


def feed(state: Heard, chunk: Chunk) -> tuple[Heard, tuple[Measured, ...]]:
    """A reading for each block with a voltage; a block of history goes along with the next one."""
    if not isinstance(chunk, bytes):
        return state, ()
    data, history, readings, end = state.rest + chunk, state.history, [], 0
    for block in blocks(data):
        said, end = measure(block.said), block.end
        if said.voltage_mv is None:
            history = said
        else:
            readings.append(combine(history, said))
    return Heard(data[end:][-MOST:], history), tuple(readings)


DRIVER = Driver(
    name="victron_vedirect",
    brand="victron",
    title="Victron BMV, SmartShunt, BlueSolar and SmartSolar (VE.Direct text)",
    line="VE.Direct port, 19200 8N1, VE.Direct to USB cable or 3.3/5 V UART; one device a port",
    links=("serial", "tcp"),
    decode=decode,
    feed=feed,
    fresh=Heard,
    baud=19200,
    silence_s=5.0,
    spans_lines=True,
)
