"""Pylontech low-voltage stacks on CAN, protocols V1.2 and V1.3, heard only. Protocol: docs/devices/pylontech_can.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors import can_signals
from collectors.kernel import CanFrame, Chunk, Driver

LIMITS, STATE, ACTUAL, ALARMS_V12, ALARMS_V13, REQUESTS, MAKER, IDENTITY = (
    0x351, 0x355, 0x356, 0x359, 0x35A, 0x35C, 0x35E, 0x35F,
)  # fmt: skip
KNOWN = {LIMITS, STATE, ACTUAL, ALARMS_V12, ALARMS_V13, REQUESTS, MAKER, IDENTITY}
FAMILY = range(0x350, 0x390)
"""Ids of this family; those without a row below travel on as raw."""

SIGNALS: Mapping[str, tuple[str, int]] = {  # of dbc/pylon_lv.dbc: our name, our units in one of theirs
    "charge_voltage_limit": ("extra.charge_limit_mv", 1000),
    "charge_current_limit": ("extra.charge_limit_ma", 1000),
    "discharge_current_limit": ("extra.discharge_limit_ma", 1000),
    "discharge_voltage_limit": ("extra.discharge_limit_mv", 1000),
    "soc": ("soc_pm", 10),
    "soh": ("soh_pm", 10),
    "voltage": ("voltage_mv", 1000),
    "current": ("current_ma", 1000),
    "temperature": ("temp_dc", 10),
    "cycles": ("cycles", 1),
    "modules": ("extra.modules", 1),
    "charge_enable": ("charge_on", 1),
    "discharge_enable": ("discharge_on", 1),
    "force_charge_1": ("extra.force_charge_1", 1),
    "force_charge_2": ("extra.force_charge_2", 1),
    "full_charge_request": ("extra.full_charge_request", 1),
    "capacity": ("info.nominal_mah", 1000),
}
ONLINE_STATUS = 29  # pair of 0x35A that is no alarm


database = partial(can_signals.database, "pylon_lv")


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # nobody asks here
    """What one frame says about the stack. Raises BadFrame for a frame of another family."""
    if not isinstance(frame, CanFrame):
        raise BadFrame("not a CAN frame", frame)
    if frame.extended or frame.id not in FAMILY:
        raise BadFrame(f"id {frame.id:#05x} is not one of a low-voltage battery", frame.data)
    if len(frame.data) > 8:
        raise BadFrame("more than 8 bytes on classic CAN", frame.data)
    if frame.id == MAKER:
        return (Measured(kind="bank", info={"maker": text(frame.data)}),)
    if frame.id not in KNOWN:
        return (Measured(kind="bank", raw={f"{frame.id:03x}": frame.data.hex()}),)
    signals: dict[str, float] = database().decode_message(
        frame.id, frame.data, decode_choices=False, allow_truncated=True
    )
    mend(signals)
    return (combine(named(signals, SIGNALS), alarms(frame), identity(frame)),)


def mend(signals: dict[str, float]) -> None:
    """Some senders give a negative limit, a second SOC of zero, or nothing where others count cycles."""
    if "discharge_current_limit" in signals:
        signals["discharge_current_limit"] = abs(signals["discharge_current_limit"])
    fine = signals.pop("soc_fine", None)
    if fine is not None and abs(fine - signals["soc"]) <= 1:
        signals["soc"] = fine
    if signals.get("cycles") == 0:
        del signals["cycles"]


def named(signals: Mapping[str, float], names: Mapping[str, tuple[str, int]]) -> Measured:
    """Signals by our names and in our units."""
    return Measured(kind="bank", **can_signals.in_our_names(signals, names))


def alarms(frame: CanFrame) -> Measured:
    """Bits of 0x359, pairs of 0x35A: 01 is active, 10 fine, 00 not supported, 11 not available."""
    if frame.id not in (ALARMS_V12, ALARMS_V13) or not frame.data:
        return Measured(kind="bank")
    data = frame.data[:4] if frame.id == ALARMS_V12 else frame.data
    mask = int.from_bytes(data, "little")
    if frame.id == ALARMS_V13:
        active = (i for i in range(4 * len(data)) if mask >> 2 * i & 3 == 1 and i != ONLINE_STATUS)
        mask = sum(1 << i for i in active)
    word = faults.brand("pylontech")[f"can_{frame.id:03x}"]
    return Measured(kind="bank", faults=word.of_mask(mask), raw={f"{frame.id:03x}": data.hex()})


def identity(frame: CanFrame) -> Measured:
    """Chemistry and version of 0x35F."""
    if frame.id != IDENTITY or len(frame.data) < 4:
        return Measured(kind="bank")
    chemistry = text(frame.data[:2]) if frame.data[:2].isalpha() else frame.data[:2].hex()
    return Measured(kind="bank", info={"chemistry": chemistry, "firmware": f"{frame.data[2]}.{frame.data[3]}"})


def text(data: bytes) -> str:
    """Letters up to the first zero."""
    return data.split(b"\0")[0].decode("ascii", "replace").strip()


Set = Mapping[int, Measured]
"""What was heard since the last whole set, by id."""


def feed(state: Set, chunk: Chunk) -> tuple[Set, tuple[Measured, ...]]:
    """Collect the frames of one second; the set is whole when one of its ids comes again.

    Nothing is told before voltage and current were heard; frames of other devices on the bus are passed over.
    """
    if not isinstance(chunk, CanFrame) or chunk.extended or chunk.id not in FAMILY:
        return state, ()
    try:
        heard = {chunk.id: decode(chunk)[0]}
    except BadFrame:
        return state, ()
    if chunk.id in state and ACTUAL in state:
        return heard, (whole(state),)
    return {**state, **heard}, ()


def whole(state: Set) -> Measured:
    """One reading of a set. V1.3 has no enable bits: a limit of 0 A says that the path is shut."""
    measured = combine(*state.values())
    version = "V1.2" if {ALARMS_V12, REQUESTS} & state.keys() else "V1.3" if ALARMS_V13 in state else None
    extra = measured.extra
    derived: dict[str, Any] = {"info": {"protocol": version}} if version else {}
    if version == "V1.3":
        paths = (("charge_on", "charge_limit_ma"), ("discharge_on", "discharge_limit_ma"))
        derived |= {path: extra[limit] > 0 for path, limit in paths if limit in extra}
    return combine(measured, Measured(kind="bank", **derived))


DRIVER = Driver(
    name="pylontech_can",
    brand="pylontech",
    title="Pylontech low-voltage stack (and others that speak its CAN)",
    line="CAN 500 kbit/s, pins 4 and 5, listen only beside the inverter",
    links=("can",),
    decode=decode,
    feed=feed,
    fresh=dict,
    baud=500_000,
)
