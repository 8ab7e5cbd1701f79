"""An emulated JK BMS as its 300-byte frames: what Bluetooth carries, and the RS485 of the PB series too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cellherd.reading import Measured
from collectors.drivers import jk_ble
from collectors.drivers.jk import frames, maps
from collectors.emulators.device import Emulator, Truths
from collectors.emulators.jk_modbus import WIRE_MOHM, alarm
from collectors.fields import Table, write
from collectors.kernel import Request, Send

REQUEST_BYTES = 20
HEAD = bytes.fromhex("aa5590eb")


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The frames that one command brings; there is one BMS and no address."""
    if not isinstance(request, Send) or request.data[4] not in jk_ble.ANSWERS or not truths:
        return None
    truth = next(iter(truths.values()))
    return b"".join(FRAMES[kind](truth) for kind in jk_ble.ANSWERS[request.data[4]])


def frame(kind: int, tables: Table = (), truth: Measured | None = None, body: bytes = b"") -> bytes:
    """A whole frame: the table's fields of the truth, or these bytes behind the header."""
    data = bytearray(frames.HEAD + bytes((kind, 0)) + body).ljust(frames.SIZE - 1, b"\0")
    if truth is not None:
        write(tables, truth, data)
    whole = bytes(data)
    return whole + bytes((frames.checksum(whole),))


def cell_info(truth: Measured, layout: frames.Layout = frames.LONG) -> bytes:
    """Type 2."""
    cells, (_, table) = len(truth.cell_mv), layout
    words = {"cells_present": (1 << cells) - 1, "alarm": alarm(truth), "sensors_present": 0xFF}
    told = {f"wire_{i:02}_mohm": WIRE_MOHM for i in range(cells)}
    masks = [field.name.removeprefix("raw.") for field in table if field.name.startswith("raw.")]
    raw = {name: words.get(name, 0) for name in masks}
    whole = replace(truth, raw=raw, extra={**told, **truth.extra})  # type: ignore[arg-type] # masks as numbers
    return frame(frames.CELL_INFO, table, whole)


def settings(truth: Measured) -> bytes:
    """Type 1."""
    return frame(frames.SETTINGS, frames.LIMITS_IN_FRAME, truth)


def device(truth: Measured) -> bytes:
    """Type 3."""
    body = bytearray(160)
    for name, at, size in maps.TEXTS:
        text = str(truth.info.get(name, "")).encode("ascii", "replace")[:size]
        body[at : at + len(text)] = text
    return frame(frames.DEVICE, body=bytes(body))


def log(truth: Measured) -> bytes:
    """Type 5: the entries of the truth, else that it was switched on."""
    entries = [(entry.device_ts or frames.CLOCK_BEGINS_MS, int(entry.code)) for entry in truth.log]
    entries = entries or [(frames.CLOCK_BEGINS_MS, 1)]
    seconds = [((ts - frames.CLOCK_BEGINS_MS) // 1000, code) for ts, code in entries]
    records = b"".join(at.to_bytes(4, "little") + bytes((code,)) for at, code in seconds)
    return frame(frames.LOG, body=len(entries).to_bytes(4, "little") + b"\0" + records)


FRAMES: dict[int, Callable[[Measured], bytes]] = {
    frames.SETTINGS: settings,
    frames.CELL_INFO: cell_info,
    frames.DEVICE: device,
    frames.LOG: log,
}


def cut(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One command off the buffer."""
    at = buffer.find(HEAD)
    if at < 0 or len(buffer) < at + REQUEST_BYTES:
        return None, buffer[max(at, 0) :]
    return buffer[at : at + REQUEST_BYTES], buffer[at + REQUEST_BYTES :]


EMULATOR = Emulator(answer=answer, cut=cut)
