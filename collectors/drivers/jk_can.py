"""JK (JiKong) on CAN, 250 kbit/s, heard only; several devices on one bus. Protocol: docs/devices/jk_can.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured, combine
from collectors import can_signals
from collectors.kernel import CanFrame, Chunk, Driver

STATE, EXTREMES, TEMPERATURES, LEVELS = 0x2F4, 0x4F4, 0x5F4, 0x7F4
COUNTERS, SENSORS, ERRORS, ABOUT, SWITCHES = 0x18F128F4, 0x18F228F4, 0x18F328F4, 0x18F428F4, 0x18F528F4
CELLS = tuple(0x18E028F4 + (i << 16) for i in range(8))
REQUEST = 0x1806E5F4
STANDARD = (STATE, EXTREMES, TEMPERATURES, LEVELS)
EXTENDED = (COUNTERS, SENSORS, ERRORS, ABOUT, SWITCHES, *CELLS, REQUEST)
ADDRESSES = range(16)
"""A device adds its address to every id."""

SIGNALS: Mapping[str, tuple[str, int]] = {  # of dbc/jk_can.dbc: our name, our units in one of theirs
    "voltage": ("voltage_mv", 1000),
    "current": ("current_ma", 1000),
    "soc": ("soc_pm", 10),
    "discharge_time": ("extra.discharge_time_h", 1),
    "cell_voltage_max": ("cell_max_mv", 1),
    "cell_voltage_min": ("cell_min_mv", 1),
    "temperature_max": ("temp_max_dc", 10),
    "temperature_min": ("temp_min_dc", 10),
    "temperature_avg": ("extra.temp_mean_dc", 10),
    "temperature_max_no": ("extra.temp_max_no", 1),
    "temperature_min_no": ("extra.temp_min_no", 1),
    "remaining_capacity": ("remaining_mah", 1000),
    "full_capacity": ("full_mah", 1000),
    "cycled_charge": ("counters.throughput_mah", 1000),
    "cycles": ("cycles", 1),
    "run_time": ("extra.run_time_s", 1),
    "heater_current": ("extra.heater_ma", 1),
    "soh": ("soh_pm", 10),
    "charge_enable": ("charge_on", 1),
    "discharge_enable": ("discharge_on", 1),
    "balancing": ("extra.balance_state", 1),
    "heating": ("extra.heating", 1),
    "charger_plugged": ("extra.charger_plugged", 1),
    "acc": ("extra.acc", 1),
    "charge_voltage": ("extra.charge_limit_mv", 1000),
    "charge_current": ("extra.charge_limit_ma", 1000),
}
PLACES = {"cell_voltage_max_no": "cell_max_at", "cell_voltage_min_no": "cell_min_at"}  # from 1 on
SERIOUS = 1


database = partial(can_signals.database, "jk_can")


def known(frame: CanFrame) -> tuple[int, int] | None:
    """The id of a device at address 0, and the address that this one has; None for a frame of something else."""
    for number in EXTENDED if frame.extended else STANDARD:
        if frame.id - number in ADDRESSES:
            return number, frame.id - number
    return None


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:  # nobody asks here
    """What one frame says. Raises BadFrame for a frame of another family."""
    if not isinstance(frame, CanFrame):
        raise BadFrame("not a CAN frame", frame)
    found = known(frame)
    if found is None:
        raise BadFrame(f"id {frame.id:#x} is not one of a JK", frame.data)
    if len(frame.data) > 8:
        raise BadFrame("more than 8 bytes on classic CAN", frame.data)
    number, address = found
    signals: dict[str, float] = database().decode_message(
        number | frame.extended << 31, frame.data, decode_choices=False, allow_truncated=True
    )
    said = SPECIAL[number](signals, frame.data) if number in SPECIAL else Measured()
    return (combine(Measured(module=address), _named(signals), said),)


def _named(signals: Mapping[str, float]) -> Measured:
    values = can_signals.in_our_names(signals, SIGNALS)
    values |= {name: int(signals[signal]) - 1 for signal, name in PLACES.items() if signals.get(signal)}
    return Measured(**values)


def _cells(signals: Mapping[str, float], data: bytes) -> Measured:
    """Four cells a frame; the slots behind the last cell are 0."""
    told = {int(signal[-2:]): int(mv) for signal, mv in signals.items() if mv}
    return Measured(cell_mv=tuple(told.get(place) for place in range(1, max(told, default=0) + 1)))


def _sensors(signals: Mapping[str, float], data: bytes) -> Measured:
    """Degrees from -49 on; a byte of 0 is a sensor that is not there."""
    dc = {name: 10 * round(value) for name, value in signals.items() if value > -50}
    temps = tuple(dc.get(f"temperature_{i}") for i in (1, 2, 4, 5))
    raw = {"sensors": data[:1].hex()} if data else {}
    return Measured(mos_temp_dc=dc.get("temperature_mos"), temp_dc=temps if set(temps) != {None} else (), raw=raw)


def _levels(signals: Mapping[str, float], data: bytes) -> Measured:
    """Pairs of bits: 0 nothing, 1 serious, 2 important, 3 general."""
    mask, words = int.from_bytes(data, "little"), faults.brand("jk")
    level = {pair: mask >> 2 * pair & 3 for pair in range(4 * len(data))}
    serious = sum(1 << pair for pair, at in level.items() if at == SERIOUS)
    lesser = sum(1 << pair for pair, at in level.items() if at > SERIOUS)
    told = words["can_serious"].of_mask(serious) + words["can_lesser"].of_mask(lesser)
    return Measured(faults=tuple(dict.fromkeys(told)), raw={"7f4": data.hex()})


def _errors(signals: Mapping[str, float], data: bytes) -> Measured:
    """Bits, and behind them a code and a level that nobody has explained."""
    mask = int.from_bytes(data[:3], "little") & 0x3FFFF
    return Measured(faults=faults.brand("jk")["can_error"].of_mask(mask), raw={"18f328f4": data.hex()})


def _request(signals: Mapping[str, float], data: bytes) -> Measured:
    return Measured(raw={"1806e5f4": data.hex()})


SPECIAL: Mapping[int, Callable[[Mapping[str, float], bytes], Measured]] = {
    **dict.fromkeys(CELLS, _cells),
    SENSORS: _sensors,
    LEVELS: _levels,
    ERRORS: _errors,
    REQUEST: _request,
}

PACE = (CELLS[0], SENSORS, ABOUT, SWITCHES, TEMPERATURES)
"""Slow frames, the slowest first: a set is whole when the slowest one that a device sends comes again."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one device said since its last reading, by id, and the frame that began it."""

    heard: Mapping[int, Measured] = field(default_factory=dict)
    began: int | None = None


Rounds = Mapping[int, Round]
"""By address."""


def feed(state: Rounds, chunk: Chunk) -> tuple[Rounds, tuple[Measured, ...]]:
    """A reading of each device about once a second. An alarm frame that has not come for a round says: no alarm."""
    if not isinstance(chunk, CanFrame) or len(chunk.data) > 8 or (found := known(chunk)) is None:
        return state, ()
    number, address = found
    now = state.get(address, Round())
    (said,) = decode(chunk)
    if number == now.began and STATE in now.heard:
        return {**state, address: Round({number: said}, number)}, (whole(now.heard),)
    slower = number in PACE and (now.began is None or PACE.index(number) < PACE.index(now.began))
    return {**state, address: Round({**now.heard, number: said}, number if slower else now.began)}, ()


def whole(heard: Mapping[int, Measured]) -> Measured:
    """One reading of a round; cells come in several frames."""
    cells = [heard[number].cell_mv for number in CELLS if number in heard]
    longest = max(map(len, cells), default=0)
    padded = [told + (None,) * (longest - len(told)) for told in cells]
    joined = tuple(next((mv for mv in place if mv is not None), None) for place in zip(*padded, strict=True))
    told = combine(*heard.values())
    return replace(told, cell_mv=joined, faults=told.faults or ())


DRIVER = Driver(
    name="jk_can",
    brand="jk",
    title="JK (JiKong) with a CAN port, its own protocol",
    line="CAN 250 kbit/s, listen only; in the app choose JK's own CAN protocol",
    links=("can",),
    decode=decode,
    feed=feed,
    fresh=dict,
    baud=250_000,
)
