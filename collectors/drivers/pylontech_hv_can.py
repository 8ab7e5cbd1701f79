"""Pylontech high-voltage stacks on CAN (Force H, SC0500, PowerCube). Protocol: docs/devices/pylontech_hv_can.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors import can_signals
from collectors.kernel import CanFrame, Chunk, Conversation, Driver

BASIC, LIMITS, CELLS, TEMPERATURES, STATUS, MODULES, MODULE_TEMPERATURES, FORBIDDEN, EXTENSION = range(
    0x4210, 0x42A0, 0x10
)
VERSIONS, STACK, NAME, NAME_MORE = 0x7310, 0x7320, 0x7330, 0x7340
KNOWN = {*range(0x4210, 0x42A0, 0x10), STACK}
TEXTS = {NAME: "model", NAME_MORE: "model_more"}
FAMILIES = (range(0x4210, 0x4300), range(0x5000, 0x6000), range(0x7310, 0x7400))
"""Answers; those that nobody has explained travel on as raw. The lowest digit is the pile's address."""
ASK_VALUES, ASK_STACK = (CanFrame(0x4200, bytes((what, *bytes(7))), extended=True) for what in (0x00, 0x02))
YES = 0xAA

SIGNALS: Mapping[str, tuple[str, int]] = {  # of dbc/pylon_hv.dbc: our name, our units in one of theirs
    "voltage": ("voltage_mv", 1000),
    "current": ("current_ma", 1000),
    "temperature": ("temp_dc", 10),
    "soc": ("soc_pm", 10),
    "soh": ("soh_pm", 10),
    "charge_voltage_limit": ("extra.charge_limit_mv", 1000),
    "discharge_voltage_limit": ("extra.discharge_limit_mv", 1000),
    "charge_current_limit": ("extra.charge_limit_ma", 1000),
    "discharge_current_limit": ("extra.discharge_limit_ma", 1000),
    "cell_voltage_max": ("cell_max_mv", 1),
    "cell_voltage_min": ("cell_min_mv", 1),
    "cell_voltage_max_no": ("extra.cell_max_no", 1),  # whether they count from 0 or 1, no source says
    "cell_voltage_min_no": ("extra.cell_min_no", 1),
    "cell_temperature_max": ("temp_max_dc", 10),
    "cell_temperature_min": ("temp_min_dc", 10),
    "cell_temperature_max_no": ("extra.temp_max_no", 1),
    "cell_temperature_min_no": ("extra.temp_min_no", 1),
    "cycles": ("cycles", 1),
    "basic_status": ("extra.basic_status", 1),
    "force_charge_request": ("extra.force_charge_request", 1),
    "balance_charge_request": ("extra.balance_charge_request", 1),
    "module_voltage_max": ("extra.module_max_mv", 1000),
    "module_voltage_min": ("extra.module_min_mv", 1000),
    "module_voltage_max_no": ("extra.module_max_no", 1),
    "module_voltage_min_no": ("extra.module_min_no", 1),
    "module_temperature_max": ("extra.module_temp_max_dc", 10),
    "module_temperature_min": ("extra.module_temp_min_dc", 10),
    "module_temperature_max_no": ("extra.module_temp_max_no", 1),
    "module_temperature_min_no": ("extra.module_temp_min_no", 1),
    "cell_count": ("info.n_cells", 1),
    "module_count": ("info.modules", 1),
    "cells_per_module": ("info.cells_per_module", 1),
    "voltage_level": ("info.nominal_mv", 1000),
    "rated_capacity": ("info.nominal_mah", 1000),
}
WORDS = (("hv_error", 3, 4), ("hv_can_warning", 4, 6), ("hv_can_protection", 6, 8))  # of 0x4250, their bytes
SIZES = ("charge_current_limit", "discharge_current_limit")
CURRENTS = ("current", *SIZES)
MOST_A = 600


database = partial(can_signals.database, "pylon_hv")


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # an answer names itself
    """What one frame says about its pile. Raises BadFrame for a frame of another family."""
    if not isinstance(frame, CanFrame):
        raise BadFrame("not a CAN frame", frame)
    if not _of_the_family(frame):
        raise BadFrame(f"id {frame.id:#x} is not one of a high-voltage battery", frame.data)
    if len(frame.data) > 8:
        raise BadFrame("more than 8 bytes on classic CAN", frame.data)
    kind, pile = frame.id & ~15, frame.id & 15
    at = Measured(module=pile, kind="bank")
    if kind in TEXTS:
        return (combine(at, Measured(kind="bank", info={TEXTS[kind]: _text(frame.data)})),)
    if kind not in KNOWN:
        return (combine(at, Measured(kind="bank", raw={f"{kind:04x}": frame.data.hex()})),)
    signals: dict[str, float] = database().decode_message(
        kind | 1 << 31, frame.data, decode_choices=False, allow_truncated=True
    )
    _mend(signals)
    return (combine(at, _named(signals), _alarms(kind, frame.data), _paths(kind, frame.data)),)


def _mend(signals: dict[str, float]) -> None:
    """Some senders leave the offset of 3000 A away, which makes a current that no stack has."""
    for name in CURRENTS:
        if name in signals and abs(signals[name]) > MOST_A:
            raw = round(10 * (signals[name] + 3000))
            signals[name] = (raw - (1 << 16) * (raw > 0x7FFF)) / 10


def _of_the_family(frame: CanFrame) -> bool:
    return frame.extended and any(frame.id in family for family in FAMILIES)


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace").strip()


def _named(signals: Mapping[str, float]) -> Measured:
    sizes = {signal: abs(signals[signal]) for signal in SIZES if signal in signals}
    return Measured(kind="bank", **can_signals.in_our_names({**signals, **sizes}, SIGNALS))


def _alarms(kind: int, data: bytes) -> Measured:
    if kind == EXTENSION and data:
        word = faults.brand("pylontech")["hv_can_extension"]
        return Measured(kind="bank", faults=word.of_mask(data[0]), raw={"4290": data.hex()})
    if kind != STATUS:
        return Measured(kind="bank")
    if len(data) < 8:
        return Measured(kind="bank", raw={"4250": data.hex()})
    words = faults.brand("pylontech")
    found = [words[name].of_mask(int.from_bytes(data[at:end], "little")) for name, at, end in WORDS]
    told = tuple(dict.fromkeys(fault for some in found for fault in some))
    return Measured(kind="bank", faults=told, raw={"4250": data.hex()})


def _paths(kind: int, data: bytes) -> Measured:
    """0x4280: the battery forbids a path by AA."""
    if kind != FORBIDDEN or len(data) < 2:
        return Measured(kind="bank")
    return Measured(kind="bank", charge_on=data[0] != YES, discharge_on=data[1] != YES, raw={"4280": data.hex()})


@dataclass(frozen=True, slots=True)
class Pile:
    """What a pile said since its last whole set, by id, and of itself; and every id that its sets had so far."""

    heard: Mapping[int, Measured] = field(default_factory=dict)
    usual: frozenset[int] = frozenset()

    def measured(self) -> frozenset[int]:
        """Ids of this set, without those that a pile says of itself."""
        return frozenset(number for number in self.heard if number < VERSIONS)

    def told(self) -> Pile:
        """This set is told; what a pile says of itself stays."""
        stays = {number: said for number, said in self.heard.items() if number >= VERSIONS}
        return Pile(stays, self.usual | self.measured())


State = Mapping[int, Pile]
"""By address."""


def feed(state: State, chunk: Chunk) -> tuple[State, tuple[Measured, ...]]:
    """Collect the answers of a pile; a set is whole when it has every id of those before it.

    The first one, and one that lost a frame, is known to be over when one of its ids comes again.
    """
    if not isinstance(chunk, CanFrame) or not _of_the_family(chunk):
        return state, ()
    try:
        (said,) = decode(chunk)
    except BadFrame:
        return state, ()
    kind, address = chunk.id & ~15, chunk.id & 15
    pile, found = state.get(address, Pile()), list[Measured]()
    if kind in pile.measured() and BASIC in pile.heard:
        found.append(combine(*pile.heard.values()))
        pile = pile.told()
    if kind < VERSIONS and pile.usual and kind not in pile.usual and not pile.measured():
        return {**state, address: replace(pile, usual=pile.usual | {kind})}, ()  # a new id, behind its set
    pile = replace(pile, heard={**pile.heard, kind: said})
    if BASIC in pile.usual and pile.measured() >= pile.usual:
        found.append(combine(*pile.heard.values()))
        pile = pile.told()
    return {**state, address: pile}, tuple(found)


def poll(address: int) -> Conversation:
    """Ask for the values. The answers have several frames and come in by `feed`."""
    yield ASK_VALUES
    return ()


def identify(address: int) -> Conversation:
    """Ask what the stack consists of."""
    yield ASK_STACK
    return ()


DRIVER = Driver(
    name="pylontech_hv_can",
    brand="pylontech",
    title="Pylontech high voltage (Force H1 to H3, SC0500, PowerCube) on CAN",
    line="CAN 500 kbit/s (250 in places), 29-bit ids; answers only while an inverter, or CellHerd with `ask`, asks",
    links=("can",),
    decode=decode,
    allow=(ASK_VALUES, ASK_STACK),
    poll=poll,
    identify=identify,
    feed=feed,
    fresh=dict,
    baud=500_000,
)
