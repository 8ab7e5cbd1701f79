"""Batteries that a Victron GX device knows, over its MQTT broker. Protocol: docs/devices/victron_venus.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import CELLS, Kind, Measured
from collectors.kernel import Chunk, Conversation, Driver, Send
from collectors.telegrams import Key, document, number, parts, read

KEEP_ALIVE = Send(b"R/{unit}/keepalive ")
"""Venus OS falls silent a minute after the last one; an empty one makes it tell everything again."""
TOPICS = ("N/{unit}/system/0/Serial", "N/{unit}/battery/#", "N/{unit}/full_publish_completed")
BATTERY = re.compile(r"N/([^/]+)/battery/(\d{1,5})/(.+)")
CELL = re.compile(r"Voltages/Cell(\d{1,3})")
ALARM = "Alarms/"
LEVELS = {1: "venus_warning", 2: "venus_alarm"}
COMPLETE = "full_publish_completed"
LISTED_ONCE = ("DeviceInstance", "ProductId", "ProductName")
"""Paths that only come with a full round: one of them heard again is the next round."""
SHUNTS = re.compile(r"BMV|SmartShunt|Shunt", re.IGNORECASE)
MOST_INSTANCES = 64
MOST_PATHS = 400

KEYS = (
    Key("voltage_mv", ("Dc/0/Voltage",), 1000),
    Key("current_ma", ("Dc/0/Current",), 1000),
    Key("soc_pm", ("Soc",), 10, least=0, most=1000),
    Key("soh_pm", ("Soh",), 10, least=0, most=1100),
    Key("full_mah", ("InstalledCapacity",), 1000, (0,), 0),
    Key("remaining_mah", ("Capacity",), 1000, least=0),
    Key("cycles", ("History/ChargeCycles",), least=0),
    Key("cell_min_mv", ("System/MinCellVoltage",), 1000, (0,), 0),
    Key("cell_max_mv", ("System/MaxCellVoltage",), 1000, (0,), 0),
    Key("temp_min_dc", ("System/MinCellTemperature",), 10, least=-600, most=1500),
    Key("temp_max_dc", ("System/MaxCellTemperature",), 10, least=-600, most=1500),
    Key("temp_dc", ("Dc/0/Temperature",), 10, least=-600, most=1500),
    Key("charge_on", ("Io/AllowToCharge",), least=0, most=1),
    Key("discharge_on", ("Io/AllowToDischarge",), least=0, most=1),
    Key("limits.charge_mv", ("Info/MaxChargeVoltage",), 1000, least=0),
    Key("limits.charge_ma", ("Info/MaxChargeCurrent",), 1000, least=0),
    Key("limits.discharge_ma", ("Info/MaxDischargeCurrent",), 1000, least=0),
    Key("limits.voltage_min_mv", ("Info/BatteryLowVoltage",), 1000, least=0),
    Key("extra.consumed_mah", ("ConsumedAmphours",), 1000),
    Key("extra.mid_mv", ("Dc/0/MidVoltage",), 1000),
    Key("extra.mid_deviation_pm", ("Dc/0/MidVoltageDeviation",), 10),
    Key("extra.starter_mv", ("Dc/1/Voltage",), 1000),
    Key("extra.power_w", ("Dc/0/Power",)),
    Key("extra.modules_online", ("System/NrOfModulesOnline",), least=0),
    Key("extra.modules_offline", ("System/NrOfModulesOffline",), least=0),
    Key("extra.modules_blocking_charge", ("System/NrOfModulesBlockingCharge",), least=0),
    Key("extra.modules_blocking_discharge", ("System/NrOfModulesBlockingDischarge",), least=0),
    Key("extra.error_code", ("ErrorCode",)),
    Key("extra.connected", ("Connected",)),
    Key("counters.charged_wh", ("History/ChargedEnergy",), 1000, least=0),
    Key("counters.discharged_wh", ("History/DischargedEnergy",), 1000, least=0),
    Key("counters.cumulative_mah", ("History/TotalAhDrawn",), -1000, least=0),
    Key("info.n_cells", ("System/NrOfCellsPerBattery",), absent=(0,), least=0, most=1000),
)
TEXTS = {"ProductName": "model", "CustomName": "name", "Serial": "serial", "FirmwareVersion": "firmware"}
BOOLEANS = ("charge_on", "discharge_on")

Heard = Mapping[int, Mapping[str, Any]]
"""Instance -> path -> value, since the last whole round."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """What one message says of a battery. Raises BadFrame for one of another service."""
    topic, payload = parts(frame)
    shape = BATTERY.fullmatch(topic)
    if shape is None:
        raise BadFrame("not a message of a battery, N/<portal>/battery/<instance>/<path>", payload[:512])
    value = _value(payload)
    return (whole(int(shape[2]), {shape[3]: value}),)


def _value(payload: bytes) -> Any:
    """None where Venus says that it has none: null, an empty list, an empty message."""
    tree = document(payload) if payload else {}
    if not isinstance(tree, dict):
        raise BadFrame('not {"value": ...}', payload[:512])
    value = tree.get("value")
    return value if isinstance(value, str | int | float) else None


def whole(instance: int, said: Mapping[str, Any]) -> Measured:
    """One reading of a battery from its paths."""
    values = read(KEYS, said)
    values |= {name: bool(values[name]) for name in BOOLEANS if name in values}
    texts = {name: str(said[path]) for path, name in TEXTS.items() if said.get(path) not in (None, "")}
    values["info"] = {**values.get("info", {}), **texts}
    told, raw = _alarms(said)
    extra = values.get("extra", {})
    if extra.get("modules_offline"):
        told = (*(told or ()), "module_missing")
    return Measured(module=instance, kind=_kind(said), cell_mv=_cells(said), faults=told, raw=raw, **values)


def _kind(said: Mapping[str, Any]) -> Kind:
    """A shunt measures a battery, several modules told as one are a bank, all else is a module."""
    modules = [number(said.get(f"System/NrOfModules{state}")) or 0 for state in ("Online", "Offline")]
    if sum(modules) > 1:
        return "bank"
    return "shunt" if SHUNTS.search(str(said.get("ProductName", ""))) else "module"


def _cells(said: Mapping[str, Any]) -> tuple[int | None, ...]:
    places = {int(shape[1]): path for path in said if (shape := CELL.fullmatch(path)) and 0 < int(shape[1]) <= CELLS}
    key = Key("cell_mv", (), 1000, (0,), 1, 10_000)
    return tuple(key.one(said.get(places.get(i, ""))) for i in range(1, max(places, default=0) + 1))


def _alarms(said: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    levels = {path.removeprefix(ALARM): number(value) for path, value in said.items() if path.startswith(ALARM)}
    known = {name: int(level) for name, level in levels.items() if level is not None}
    if not known:
        return None, {}
    words = faults.brand("victron")
    told = [
        fault
        for name, level in known.items()
        if level
        for fault in (words[LEVELS[level]].of_value(name) if level in LEVELS else (faults.UNKNOWN,))
    ]
    raw = {name: f"{level:x}" for name, level in known.items() if level > 0}
    return tuple(dict.fromkeys(told)), raw


def feed(state: Heard, chunk: Chunk) -> tuple[Heard, tuple[Measured, ...]]:
    """Collect the messages of a round: it is whole when Venus says so, or when what is told once comes again."""
    try:
        topic, payload = parts(chunk)
        shape = BATTERY.fullmatch(topic)
        value = _value(payload) if shape else None
    except BadFrame:
        return state, ()
    if topic.endswith(COMPLETE):
        return {}, _told(state)
    if shape is None or value is None:
        return state, ()
    instance, path = int(shape[2]), shape[3]
    told: tuple[Measured, ...] = ()
    if path in LISTED_ONCE and path in state.get(instance, {}):
        state, told = {}, _told(state)
    full = instance not in state and len(state) >= MOST_INSTANCES
    if full or len(state.get(instance, {})) >= MOST_PATHS:
        return state, told
    return {**state, instance: {**state.get(instance, {}), path: value}}, told


def _told(state: Heard) -> tuple[Measured, ...]:
    """Batteries that were heard of as a whole; what only moved between two rounds waits for the next."""
    ready = {at: said for at, said in state.items() if any(path in said for path in LISTED_ONCE)}
    found = [whole(at, said) for at, said in ready.items() if said.get("Connected", 1)]
    return tuple(each for each in found if each.voltage_mv is not None)


def poll(address: int) -> Conversation:
    """Keep Venus talking; what it says is heard."""
    yield KEEP_ALIVE
    return ()


DRIVER = Driver(
    name="victron_venus",
    brand="victron",
    title="any battery behind a Victron GX device (Cerbo GX, Venus OS)",
    line="MQTT of the GX device, switched on in its settings; period_s from 10 to 50",
    links=("mqtt",),
    decode=decode,
    allow=(re.compile(re.escape(KEEP_ALIVE.data)),),
    poll=poll,
    feed=feed,
    fresh=dict,
    topics=TOPICS,
    silence_s=60.0,
    ascii=True,
    ask=True,
)
