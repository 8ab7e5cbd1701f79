"""The same frames through our drivers and through aiobmsble, in one process; started by tests.bench.decode.

aiobmsble has no decoder without a transport: a class hears notifications of Bluetooth and decodes what it kept of them.
So its own update runs here, with the waiting taken out: each request is answered at once through its notification
handler. Ours finds the same answers in the same bytes, checks, decodes and joins them, which is what a port does.
Of the other brands that both know it speaks other protocols (PACE's new one, Pylontech's RT series), or asks for
frames that our emulated devices do not give (Seplos: of the stack, and of Bluetooth).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from platform import python_version
from time import process_time
from typing import Any

from cellherd.reading import Measured, combine
from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan
from collectors.kernel import Send

ROUNDS, UPDATES = 7, 200
Pair = tuple[bytes, bytes]
PLACES: dict[str, tuple[str, dict[str, object]]] = {  # driver -> module of aiobmsble, what its connecting would set
    "ant_new": ("ant_bms", {}),
    "ant_old": ("ant_leg_bms", {}),
    "daly_d2": ("daly_bms", {"_mos_avail": False}),
    "jbd": ("jbd_bms", {}),
    "jk_ble": ("jikong_bms", {"_sw_version": 15, "_prot_offset": 0, "_valid_reply": 2, "_char_write_handle": 1}),
}


def main() -> None:
    print(f"beside aiobmsble {version('aiobmsble')} on Python {python_version()}, us an update")
    for name in sorted(PLACES):
        pairs: list[Pair] = []
        theirs = their_update(name, pairs)
        said = theirs()
        pairs, known = list(dict.fromkeys(pairs)), our_update(name, pairs)
        assert [round(1000 * volt) for volt in said["cell_voltages"]] == list(known().cell_mv), name
        ours, other = best(known), best(theirs)
        figures = f"{ours:8.1f}{other:8.1f}   ratio {other / ours:.2f}"
        print(f"{name:24}{figures}   {numbers(asdict(known()))} and {numbers(said)} values of {len(pairs)} frames")


def numbers(said: object) -> int:
    """How many values an answer gives, those of lists and mappings one by one."""
    if isinstance(said, dict):
        return sum(map(numbers, said.values()))
    if isinstance(said, (list, tuple)):
        return sum(map(numbers, said))
    return int(said is not None)


def best(update: Callable[[], object]) -> float:
    return min(_once(update) for _ in range(ROUNDS))


def _once(update: Callable[[], object]) -> float:
    begin = process_time()
    for _ in range(UPDATES):
        update()
    return 1e6 * (process_time() - begin) / UPDATES


def answer_to(name: str, request: bytes) -> bytes:
    """What our emulated device answers to aiobmsble's request."""
    acts, truth = import_module(f"collectors.emulators.{name}").EMULATOR, Battery(Plan()).truth()
    if name == "ant_old":  # it asks with other bytes for the same frame
        request = driver(name).allow[0].pattern.replace(b"\\", b"")  # type: ignore[union-attr]
    address = max(driver(name).default_address, 1)
    found: bytes = acts.answer(Send(request), address, {address: truth})
    return found[-300:] if name == "jk_ble" else found  # the settings that come before, it passes over


def their_update(name: str, pairs: list[Pair]) -> Callable[[], Any]:
    """aiobmsble's update, answered at once; what it asks the first time is written into `pairs`."""
    from bleak.backends.device import BLEDevice  # noqa: PLC0415 - in the other environment only

    module, settings = PLACES[name]
    bms = import_module(f"aiobmsble.bms.{module}").BMS(BLEDevice("00:00:00:00:00:00", name, {"path": "/"}))
    for key, value in settings.items():
        setattr(bms, key, value)
    answers: dict[bytes, bytes] = {}

    async def at_once(data: bytes, *args: object, **more: object) -> None:
        if data not in answers:
            answers[data] = answer_to(name, data)
            pairs.append((data, answers[data]))
        if name == "jbd":
            bms._valid_reply = data[2]
        if name == "ant_new":
            bms._valid_reply = data[2] | 0x10
        bms._notification_handler(None, bytearray(answers[data]))

    bms._await_msg = at_once

    def update() -> Any:
        try:
            bms._async_update().send(None)
        except StopIteration as end:
            return end.value
        raise RuntimeError("it waits for something")

    return update


def our_update(name: str, pairs: list[Pair]) -> Callable[[], Measured]:
    """Find, check, decode and join the same answers."""
    known = driver(name)
    extract, decode = known.extract, known.decode
    if name in ("ant_old", "jk_ble"):  # whose requests differ from ours, not the answers
        ask = driver(name).allow[0].pattern.replace(b"\\", b"")  # type: ignore[union-attr]
        pairs = [(ask, answer) for _, answer in pairs]

    def update() -> Measured:
        found: list[Measured] = []
        for request, answer in pairs:
            frame = extract(request, answer) if extract else answer
            assert frame
            found += decode(frame, request)
        return combine(*found)

    return update


if __name__ == "__main__":
    main()
