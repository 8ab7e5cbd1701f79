"""Batteries of any brand that speak Victron's CAN-bms profile, heard only. Protocol: docs/devices/victron_can.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors.drivers import pylontech_can as lv
from collectors.fields import Field, Table, read
from collectors.kernel import CanFrame, Chunk, Driver

CAPACITY, VOLTAGE, ALARMS, IDENTITY, CHARGE_REQUEST, NAME, NAME_MORE = 0x354, 0x356, 0x35A, 0x35F, 0x360, 0x370, 0x371
MODULES, EXTREMES, ENERGY, INSTALLED = 0x372, 0x373, 0x378, 0x379
KNOWN = lv.KNOWN | {CAPACITY, MODULES, EXTREMES, ENERGY, INSTALLED}
HEARTBEATS = {0x305, 0x306, 0x307}
"""Frames of an inverter: it is alive and on this bus."""
TEXTS = {NAME: "model", NAME_MORE: "model_more", 0x380: "serial", 0x381: "serial_more", 0x382: "product"}
PLACES = {0x374: "cell_min_id", 0x375: "cell_max_id", 0x376: "temp_min_id", 0x377: "temp_max_id"}
LEAST_MV = 8_000
"""Discover counts its volts in tenths, not hundredths: no bank of four cells and more is as low as that looks."""
BYD = b"Li"
"""Chemistry as BYD writes it; its version is to be read as hex digits."""

SIGNALS: Mapping[str, tuple[str, int]] = {
    **lv.SIGNALS,
    "rated_capacity": ("full_mah", 1000),
    "remaining_capacity": ("remaining_mah", 1000),
    "modules_online": ("extra.modules", 1),
    "modules_blocking_charge": ("extra.modules_blocking_charge", 1),
    "modules_blocking_discharge": ("extra.modules_blocking_discharge", 1),
    "modules_offline": ("extra.modules_offline", 1),
    "cell_voltage_min": ("cell_min_mv", 1),
    "cell_voltage_max": ("cell_max_mv", 1),
    "cell_temperature_min": ("temp_min_dc", 10),
    "cell_temperature_max": ("temp_max_dc", 10),
    "charged_energy": ("counters.charged_wh", 1000),
    "discharged_energy": ("counters.discharged_wh", 1000),
    "installed_capacity": ("info.nominal_mah", 1000),
}
LETTERS = re.compile(rb"[ -~]*\x00*")
BINARY_370: Table = (  # Deye style: where others put their name
    Field("temp_max_dc", 0, "<h"),
    Field("temp_min_dc", 2, "<h"),
    Field("cell_max_mv", 4, "<H"),
    Field("cell_min_mv", 6, "<H"),
)
PYTES: Mapping[int, Table] = {
    0x400: (
        Field("extra.charge_limit_mv", 0, "<H", times=100),
        Field("extra.charge_limit_ma", 2, "<h", times=100),
        Field("extra.discharge_limit_ma", 4, "<h", times=100),
        Field("extra.discharge_limit_mv", 6, "<H", times=100),
    ),
    0x401: (
        Field("cell_max_mv", 0, "<H"),
        Field("cell_min_mv", 2, "<H"),
        Field("extra.cell_max_no", 4, "<H"),
        Field("extra.cell_min_no", 6, "<H"),
    ),
    0x402: (
        Field("temp_max_dc", 0, "<h"),
        Field("temp_min_dc", 2, "<h"),
        Field("extra.temp_max_no", 4, "<H"),
        Field("extra.temp_min_no", 6, "<H"),
    ),
    0x404: (Field("soc_pm", 0, "<H", times=10), Field("soh_pm", 2, "<H", times=10), Field("cycles", 6, "<H")),
    0x405: (
        Field("voltage_mv", 0, "<H", times=10),
        Field("current_ma", 2, "<h", times=100),
        Field("temp_dc.0", 4, "<h"),
    ),
    0x409: (Field("full_mah", 0, "<I"), Field("remaining_mah", 4, "<I")),
    0x41E: (Field("counters.charged_wh", 0, "<I", times=100), Field("counters.discharged_wh", 4, "<I", times=100)),
}
PYTES_VALUES, PYTES_NAME, PYTES_FAMILY = 0x405, 0x40A, range(0x400, 0x420)


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # nobody asks here
    """What one frame says about the bank. Raises BadFrame for a frame of another family."""
    if not isinstance(frame, CanFrame):
        raise BadFrame("not a CAN frame", frame)
    if not _of_the_family(frame):
        raise BadFrame(f"id {frame.id:#05x} is not one of a low-voltage battery", frame.data)
    if len(frame.data) > 8:
        raise BadFrame("more than 8 bytes on classic CAN", frame.data)
    return (replace(_said(frame), kind="bank"),)


def _of_the_family(frame: CanFrame) -> bool:
    known = frame.id in lv.FAMILY or frame.id in HEARTBEATS or frame.id in PYTES_FAMILY
    return known and not frame.extended


def _said(frame: CanFrame) -> Measured:
    if frame.id in HEARTBEATS:
        return Measured(extra={"inverter_heard": 1})
    if frame.id in PYTES_FAMILY:
        return _pytes(frame)
    if frame.id in TEXTS or frame.id in (lv.MAKER, *PLACES):
        return _named(frame)
    if frame.id == CHARGE_REQUEST and frame.data:
        return Measured(extra={"charge_request": int(frame.data[0] == 0xFF)})
    if frame.id not in KNOWN:
        return Measured(raw={f"{frame.id:03x}": frame.data.hex()})
    signals: dict[str, float] = lv.database().decode_message(
        frame.id, frame.data, decode_choices=False, allow_truncated=True
    )
    lv.mend(signals)
    if 0 < 1000 * signals.get("voltage", 0) < LEAST_MV:
        signals["voltage"] *= 10
    return combine(lv.named(signals, SIGNALS), lv.alarms(frame), lv.identity(frame), _byd(frame), _offline(signals))


def _named(frame: CanFrame) -> Measured:
    """Letters; but 0x370 and 0x371 carry numbers on some makes."""
    said = lv.text(frame.data)
    if frame.id in (NAME, NAME_MORE) and not LETTERS.fullmatch(frame.data):
        raw = Measured(raw={f"{frame.id:03x}": frame.data.hex()})
        return combine(raw, Measured(**read(BINARY_370, frame.data))) if frame.id == NAME else raw
    if frame.id in PLACES:  # changes with every reading, so it is no identity
        return Measured(raw={PLACES[frame.id]: said})
    name = "maker" if frame.id == lv.MAKER else TEXTS[frame.id]
    return Measured(info={name: said} if said else {})


def _byd(frame: CanFrame) -> Measured:
    if frame.id != IDENTITY or frame.data[:2] != BYD or len(frame.data) < 4:
        return Measured()
    return Measured(info={"firmware": f"{frame.data[2]:x}.{frame.data[3]:02x}"})


def _offline(signals: Mapping[str, float]) -> Measured:
    return Measured(faults=("module_missing",) if signals.get("modules_offline") else None)


def _pytes(frame: CanFrame) -> Measured:
    """Pytes' own ids; those that nobody has explained travel on as raw."""
    if frame.id == PYTES_NAME:
        return Measured(info={"model": lv.text(frame.data)})
    if frame.id not in PYTES:
        return Measured(raw={f"{frame.id:03x}": frame.data.hex()})
    values = read(PYTES[frame.id], frame.data)
    extra = values.get("extra", {})
    if "discharge_limit_ma" in extra:
        extra["discharge_limit_ma"] = abs(extra["discharge_limit_ma"])
    return Measured(**values)


Set = Mapping[int, Measured]
"""What was heard since the last whole set, by id."""


def feed(state: Set, chunk: Chunk) -> tuple[Set, tuple[Measured, ...]]:
    """Collect the frames of a round; the set is whole when one of its ids comes again and a voltage was heard."""
    if not isinstance(chunk, CanFrame) or not _of_the_family(chunk):
        return state, ()
    try:
        heard = {chunk.id: decode(chunk)[0]}
    except BadFrame:
        return state, ()
    if chunk.id in state and chunk.id not in HEARTBEATS and {VOLTAGE, PYTES_VALUES} & state.keys():
        return heard, (whole(state),)
    return {**state, **heard}, ()


def whole(state: Set) -> Measured:
    """One reading of a set: what only several frames together tell."""
    measured = combine(*state.values())
    info, extra = measured.info, measured.extra
    told: dict[str, Any] = {"info": {}}
    for name in ("model", "serial"):
        if f"{name}_more" in info:
            told["info"][name] = f"{info.get(name, '')}{info[f'{name}_more']}"
    if INSTALLED in state and IDENTITY in state:  # then 0x35F tells what is online, or left
        told["info"] |= state[INSTALLED].info
        told["extra"] = {"capacity_online_mah": int(state[IDENTITY].info.get("nominal_mah", 0))}
    if CAPACITY in state and info.get("maker") not in (None, "DISCOVER"):  # others count in 0.1 Ah
        told |= {name: (getattr(state[CAPACITY], name) or 0) // 10 for name in ("full_mah", "remaining_mah")}
    paths = (("charge_on", "charge_limit_ma"), ("discharge_on", "discharge_limit_ma"))
    told |= {path: extra[limit] > 0 for path, limit in paths if limit in extra and getattr(measured, path) is None}
    return combine(measured, Measured(kind="bank", **told))


DRIVER = Driver(
    name="victron_can",
    brand="victron",
    title="CAN-bms of BYD LVS, Discover, SHEnergy, Pytes and others beside a Victron or other inverter",
    line="CAN 500 kbit/s, listen only beside the inverter",
    links=("can",),
    decode=decode,
    feed=feed,
    fresh=dict,
    baud=500_000,
)
