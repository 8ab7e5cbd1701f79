"""A herd of emulated devices: live on their wires, or lived through quickly to make history."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from uuid import uuid4

from cellherd.clock import Clock, SystemClock
from cellherd.errors import CellherdError, Silent
from cellherd.reading import Measured
from collectors import drivers
from collectors.emulators import framing, wires
from collectors.emulators.device import EmulatedDevice, Emulator, Truths
from collectors.kernel import Answer, CanFrame, Chunk, Conversation, Driver, Request, converse
from collectors.links import NETWORKED

WHERE = {
    name: f"collectors.emulators.{name}"
    for name in (
        "anker",
        "ant_new",
        "ant_old",
        "ble",
        "bluetti",
        "chargery",
        "daly_can",
        "daly_d2",
        "daly_uart",
        "ecoflow",
        "foxess",
        "givenergy",
        "jackery",
        "jbd",
        "jbd_up16s",
        "jk_ble",
        "jk_can",
        "jk_modbus",
        "jk_nw",
        "jk_pb",
        "mqtt_map",
        "pace",
        "pylontech_can",
        "pylontech_console",
        "pylontech_force_modbus",
        "pylontech_hv_can",
        "pylontech_rs485",
        "seplos_v2",
        "seplos_v3",
        "solis",
        "victron_can",
        "victron_hex",
        "victron_vedirect",
        "victron_venus",
    )
}
"""Driver name -> module; the module's last line is `EMULATOR`."""
CAN_PERIOD_S = 1.0


def emulator(name: str) -> Emulator:
    """The emulator of a driver's device. Raises CellherdError."""
    if name not in WHERE:
        raise CellherdError(f"no emulator for {name!r}; there are {', '.join(WHERE)}")
    found: Emulator = import_module(WHERE[name]).EMULATOR
    return found


@dataclass(frozen=True, slots=True)
class Running:
    """A device on its wire; `link` is what stands in edge.toml, `device.trouble` what goes wrong."""

    device: EmulatedDevice
    wire: wires.Wire

    @property
    def link(self) -> str:
        """The link text of the device."""
        return self.wire.link

    def stop(self) -> None:
        """Take the device off its wire; returns when its thread has ended."""
        self.wire.stop()


def start(spec: Iterable[EmulatedDevice], clock: Clock | None = None, *, can_s: float = CAN_PERIOD_S) -> list[Running]:
    """Put devices on their wires, living on by the clock from where their history ended.

    `can_s` is the period of devices that send by themselves. Raises CellherdError for a wire that a device cannot
    hang on.
    """
    running = [Running(device, _wire(device, clock or SystemClock(), can_s)) for device in spec]
    for one in running:
        one.wire.start()
    return running


def _wire(device: EmulatedDevice, clock: Clock, can_s: float) -> wires.Wire:
    known = drivers.driver(device.driver)
    acts = device.acts or emulator(device.driver)
    if {*known.links} <= {*NETWORKED}:
        raise CellherdError(f"an emulated {device.driver} speaks through a broker or a cloud and hangs on no wire")
    if device.wire in ("virtual", "slcan") and "can" in known.links:
        talk = wires.CanTalk(partial(_broadcast, device, acts, clock), partial(_hear, device, acts, clock), can_s)
        if device.wire == "slcan":
            return wires.SlcanWire(device.trouble, talk)
        return wires.VirtualBus(device.trouble, talk, f"emulated-{uuid4().hex[:8]}")
    pushes = acts.push if device.master or known.poll is None else None
    if pushes and device.wire == "pty":
        return wires.PushWire(device.trouble, partial(_push, device, pushes, clock), can_s)
    if device.wire not in ("pty", "tcp") or "can" in known.links or pushes:
        raise CellherdError(f"an emulated {device.driver} cannot hang on {device.wire!r}")
    modbus = "modbus" in known.links
    reply = partial(_reply, device, acts, clock)
    if device.wire == "pty":
        serve = framing.rtu(reply) if modbus else framing.plain(acts, reply)
        return wires.PtyWire(device.trouble, serve, "modbus" if modbus else "serial")
    serve = framing.tcp(reply) if modbus else framing.plain(acts, reply)
    return wires.TcpWire(device.trouble, serve, "modbus-tcp" if modbus else "tcp")


def _reply(device: EmulatedDevice, acts: Emulator, clock: Clock, request: Request, address: int) -> Answer | None:
    return acts.answer(request, address, device.truths(clock.wall()))


def _broadcast(device: EmulatedDevice, acts: Emulator, clock: Clock) -> list[CanFrame]:
    waits = acts.hear is not None and not device.master
    return [] if waits else acts.broadcast(device.truths(clock.wall()))


def _hear(device: EmulatedDevice, acts: Emulator, clock: Clock, frame: CanFrame) -> list[CanFrame]:
    return acts.hear(frame, device.truths(clock.wall())) if acts.hear else []


def _push(device: EmulatedDevice, push: Callable[[Truths], list[bytes]], clock: Clock) -> bytes:
    return b"".join(push(device.truths(clock.wall())))


def history(device: EmulatedDevice, start_ts: int, end_ts: int, step_s: float) -> Iterator[tuple[int, int, Measured]]:
    """Live from `start_ts` until before `end_ts` (ms UTC) in steps, and read the device at each of them.

    Yields (ts, bus address, what the driver decoded from the device's real frames). `start` goes on from there.
    """
    known, acts = drivers.driver(device.driver), device.acts or emulator(device.driver)
    if device.at is None:
        device.at = start_ts
    for ts in range(start_ts, end_ts, round(step_s * 1000)):
        truths = device.truths(ts)
        for address in _asked(known, truths):
            for measured in _overhear(known, acts, truths) if known.feed else _poll(known, acts, address, truths):
                yield ts, address if measured.module is None else measured.module, measured


def identities(device: EmulatedDevice, ts: int) -> Iterator[tuple[int, Measured]]:
    """Who the modules of an asked device say they are at `ts` (ms UTC): bus address, what its driver found out."""
    known, acts, truths = drivers.driver(device.driver), device.acts or emulator(device.driver), device.truths(ts)
    if known.identify is None:
        return
    for address in _asked(known, truths):
        for measured in _talk(known.identify(address), acts, address, truths):
            yield address if measured.module is None else measured.module, measured


def _asked(known: Driver, truths: Truths) -> list[int]:
    return [min(truths)] if known.whole_bus or known.feed else list(truths)


def _poll(known: Driver, acts: Emulator, address: int, truths: Truths) -> tuple[Measured, ...]:
    return _talk(known.poll(address), acts, address, truths) if known.poll else ()


def _talk(conversation: Conversation, acts: Emulator, address: int, truths: Truths) -> tuple[Measured, ...]:
    def ask(request: Request) -> Answer:
        if isinstance(request, CanFrame):
            return b""  # its answers are heard
        answer = acts.answer(request, address, truths)
        if answer is None:
            raise Silent(f"the emulated device does not answer {request}")
        return answer

    return converse(conversation, ask)


def _overhear(known: Driver, acts: Emulator, truths: Truths) -> Iterator[Measured]:
    state, told = known.fresh(), set[int | None]()
    one: list[Chunk] = [*acts.broadcast(truths), *(acts.push(truths) if acts.push else ())]
    for chunk in one * 2:  # some rounds are whole only when the next one begins
        state, found = known.feed(state, chunk) if known.feed else (state, ())
        yield from (measured for measured in found if measured.module not in told)
        told |= {measured.module for measured in found}
