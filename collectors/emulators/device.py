"""An emulated device: its batteries, the bytes that it answers with, and the troubles it can be told to make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock

from cellherd import faults
from cellherd.reading import Measured
from collectors.emulators.battery import Battery
from collectors.kernel import Answer, CanFrame, Request

Truths = Mapping[int, Measured]
"""Bus address -> what that module measures now."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """What a driver's device does, as pure functions.

    `answer(request, address, truths)` gives the bytes of the answer, register bytes for Registers, None to stay
    silent. `cut` takes one whole request off a buffer: (request or None, rest). `broadcast(truths)` gives one round
    of CAN frames, `push(truths)` one round of what a device sends over a serial line by itself, and
    `hear(frame, truths)` the frames with which it answers one on CAN. What a device does that can be asked and heard,
    `broadcast` and `push` give as it sounds beside a master that asks.
    """

    answer: Callable[[Request, int, Truths], Answer | None] = lambda request, address, truths: None
    cut: Callable[[bytes], tuple[bytes | None, bytes]] = lambda buffer: (buffer or None, b"")
    broadcast: Callable[[Truths], list[CanFrame]] = lambda truths: []
    push: Callable[[Truths], list[bytes]] | None = None
    hear: Callable[[CanFrame, Truths], list[CanFrame]] | None = None


@dataclass(slots=True)
class Trouble:
    """What goes wrong on the wire from now on; tests and the chaos plan set it while the device runs."""

    silent: bool = False
    cut_at: int | None = None
    noise: bytes = b""
    echo: bool = False
    delay_s: float = 0.0

    def spoil(self, request: bytes, answer: bytes) -> bytes:
        """The answer as it comes over the troubled wire."""
        if self.silent:
            return b""
        return self.noise + (request if self.echo else b"") + answer[: self.cut_at]


@dataclass(slots=True)
class EmulatedDevice:
    """One BMS or one bus of several: driver name, battery by bus address, and the kind of wire it hangs on.

    `wire` is pty, tcp, virtual (CAN inside this process) or slcan. `at` is how far the batteries have lived, ms UTC.
    `master` puts another master on the wire of a device that speaks only when it is asked.
    `acts` stands in for the driver's own emulator, for example one that answers from a capture.
    """

    driver: str
    batteries: dict[int, Battery]
    wire: str = "pty"
    trouble: Trouble = field(default_factory=Trouble)
    at: int | None = None
    acts: Emulator | None = None
    master: bool = False
    lock: Lock = field(default_factory=Lock)

    def truths(self, ts: int) -> dict[int, Measured]:
        """What every module measures at `ts` (ms UTC); time never runs backwards here."""
        with self.lock:
            for battery in self.batteries.values():
                if self.at is not None and ts > self.at:
                    battery.step(ts, (ts - self.at) / 1000)
            self.at = max(ts, self.at or ts)
            return {address: replace(b.truth(), module=address) for address, b in self.batteries.items()}


def mask_of(word: faults.Word, told: tuple[str, ...] | None) -> int:
    """The bits of a brand's alarm word that say these faults, as far as the brand has bits for them."""
    return sum(1 << bit for bit, code in word.bits.items() if code.fault in (told or ()))
