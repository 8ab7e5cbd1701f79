"""Frames made worse: what a bad wire, a second device or a mad BMS may send. Seeded, so that every find repeats.

Half of what is done to a frame is done to its payload alone, and the frame is closed again with a right length and
checksum: what comes behind the checksum must be as hard as what stands before it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from cellherd.errors import BadFrame
from collectors.drivers import ant_new, ant_old, chargery, daly_uart, jbd, jk_nw, seplos_v2, victron_hex
from collectors.drivers.jk import frames as jk
from collectors.drivers.pylontech_rs485 import frames as ascii_hex
from collectors.kernel import CanFrame, Chunk
from collectors.modbus_rtu import frame_of
from tests.fuzz.vectors import Case, cases

Change = Callable[[bytes], bytes]
Seal = Callable[[bytes, Change], bytes]
"""seal(frame, change): the frame with its payload changed, and a length and checksum that fit."""
MOST = 64 * 1024


# ---- one frame made worse ----


def flip(draw: random.Random, data: bytes, other: bytes) -> bytes:
    raw = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(raw)


def cut(draw: random.Random, data: bytes, other: bytes) -> bytes:
    start = draw.choice((0, 0, draw.randrange(len(data))))
    return data[start : draw.randint(start, len(data))]


def extend(draw: random.Random, data: bytes, other: bytes) -> bytes:
    more = draw.randbytes(draw.choice((1, 2, 4, 16, 300)))
    at = draw.choice((0, len(data), draw.randint(0, len(data))))
    return data[:at] + more + data[at:]


def glue(draw: random.Random, data: bytes, other: bytes) -> bytes:
    return draw.choice((data + other, other + data, data * 2, data[: draw.randint(0, len(data))] + other))


def swap(draw: random.Random, data: bytes, other: bytes) -> bytes:
    raw, (one, two) = bytearray(data), (draw.randrange(len(data)) for _ in range(2))
    raw[one], raw[two] = raw[two], raw[one]
    return bytes(raw)


def absurd(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """The values at the ends of every width."""
    at, width = draw.randrange(len(data)), draw.choice((1, 2, 4, 8, 32))
    value = draw.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\x7f", b"\0\x80", b"\xfe"))
    return data[:at] + (value * width)[:width] + data[at + width :]


def scribble(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """What happens to text: case, blanks, line ends, signs, and numbers that never end."""
    changes: tuple[Change, ...] = (
        bytes.swapcase,
        lambda text: re.sub(rb"\s", lambda _: draw.choice((b"", b"  ", b"\t", b"\r\n", b"\0")), text),
        lambda text: re.sub(rb"\d+", lambda found: _number(draw, found[0]), text),
        lambda text: text.replace(b"-", b"--").replace(b"/", b"-"),
        lambda text: b"".join(draw.sample(lines := text.splitlines(keepends=True), len(lines))),
    )
    return draw.choice(changes)(data)


def _number(draw: random.Random, text: bytes) -> bytes:
    if draw.random() < 0.8:
        return text
    return draw.choice((b"-" + text, b"9" * draw.choice((5, 12, 20, 5000)), b"0", b"-1", text * 2, b"\xb2"))


WORSE = (flip, flip, cut, extend, glue, swap, absurd, absurd, scribble)


# ---- closed again ----


def _counted(change: Change, payload: bytes, most: int = 0xFF) -> tuple[bytes, bytes]:
    """The changed payload and its length in one byte."""
    changed = change(payload)[:most]
    return bytes((len(changed),)), changed


def _of_modbus(frame: bytes, change: Change) -> bytes:
    return frame_of(frame[:2] + b"".join(_counted(change, frame[3:-2])))


def _of_jbd(frame: bytes, change: Change) -> bytes:
    body = frame[2:3] + b"".join(_counted(change, frame[4:-3]))
    return frame[:2] + body + jbd.checksum(body).to_bytes(2, "big") + frame[-1:]


def _of_jbd_up16s(frame: bytes, change: Change) -> bytes:
    data = change(frame[8:-2])
    return frame_of(frame[:6] + len(data).to_bytes(2, "big") + data)


def _of_daly(frame: bytes, change: Change) -> bytes:
    body = frame[:4] + change(frame[4:12])[:8].ljust(8, b"\0")
    return body + bytes((sum(body) & 0xFF,)) + frame[daly_uart.SIZE :]


def _of_ant_new(frame: bytes, change: Change) -> bytes:
    size, data = _counted(change, frame[6:-4])
    return ant_new.frame_of(frame[2], int.from_bytes(frame[3:5], "little"), size[0], data)


def _of_ant_old(frame: bytes, change: Change) -> bytes:
    body = frame[:4] + change(frame[4:-2])[: ant_old.SIZE - 6].ljust(ant_old.SIZE - 6, b"\0")
    return body + ant_old.checksum(body).to_bytes(2, "big")


def _of_chargery(frame: bytes, change: Change) -> bytes:
    at = max(frame.find(chargery.START), 0)
    data = change(frame[at + 4 : at + frame[at + 3] - 1])[:0xFA]
    body = frame[at : at + 3] + bytes((len(data) + 5,)) + data
    return body + bytes((sum(body) & 0xFF,))


def _of_jk(frame: bytes, change: Change) -> bytes:
    at = max(frame.find(jk.HEAD), 0)
    body = frame[at : at + 5] + change(frame[at + 5 : at + jk.SIZE - 1])
    body = body[: jk.SIZE - 1].ljust(jk.SIZE - 1, b"\0")
    return frame[:at] + body + bytes((jk.checksum(body),)) + frame[at + jk.SIZE :]


def _of_jk_nw(frame: bytes, change: Change) -> bytes:
    return jk_nw.frame_of(frame[8], frame[9], frame[10], change(frame[jk_nw.INFO_AT : -jk_nw.TAIL])[:60_000])


def _of_ascii_hex(frame: bytes, change: Change) -> bytes:
    told = ascii_hex.split(frame)
    return ascii_hex.write(told.address, told.code, change(told.info)[:0x7FF], told.version)


def _of_seplos_v2(frame: bytes, change: Change) -> bytes:
    if frame[1] != seplos_v2.BINARY[1]:
        return _of_ascii_hex(frame, change)
    data = change(frame[7:-3])
    body = frame[1:5] + len(data).to_bytes(2, "big") + data
    return frame[:1] + body + seplos_v2.crc(body).to_bytes(2, "big") + frame[-1:]


def _of_hex(frame: bytes, change: Change) -> bytes:
    command, body = victron_hex.split(frame)
    return victron_hex.write(command, change(body))


def _of_vedirect(frame: bytes, change: Change) -> bytes:
    body = change(frame[:-1].rpartition(b"\r\nChecksum\t")[0]) + b"\r\nChecksum\t"
    return body + bytes((-sum(body) & 0xFF,))


SEALS: dict[str, Seal] = {
    "ant_new": _of_ant_new,
    "ant_old": _of_ant_old,
    "chargery": _of_chargery,
    "daly_d2": _of_modbus,
    "daly_uart": _of_daly,
    "jbd": _of_jbd,
    "jbd_up16s": _of_jbd_up16s,
    "jk_ble": _of_jk,
    "jk_modbus": _of_modbus,
    "jk_nw": _of_jk_nw,
    "jk_pb": _of_jk,
    "pace": _of_ascii_hex,
    "pylontech_force_modbus": _of_modbus,
    "pylontech_rs485": _of_ascii_hex,
    "seplos_v2": _of_seplos_v2,
    "seplos_v3": _of_modbus,
    "victron_hex": _of_hex,
    "victron_vedirect": _of_vedirect,
}
"""Drivers whose frames have a checksum; those of CAN and of the console have none of their own."""


# ---- all together ----


def mutants(name: str, case: Case, count: int, seed: int) -> Iterator[Case]:
    """`count` worse frames of one case; the same seed gives the same."""
    draw = random.Random(f"{seed} {name} {case.name} {bytes_of(case.frame).hex()[:64]}")
    pool = cases(name)
    for _ in range(count):
        other = draw.choice(pool)
        request = draw.choice((case.request, case.request, case.request, other.request, None))
        worse = _change(draw, bytes_of(other.frame))
        yield replace(case, frame=_frame(draw, name, case.frame, worse), request=request)


def bytes_of(frame: Chunk) -> bytes:
    return frame.data if isinstance(frame, CanFrame) else frame


def _change(draw: random.Random, other: bytes) -> Change:
    def change(data: bytes) -> bytes:
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            data = draw.choice(WORSE)(draw, data or b"\0", other)[:MOST]
        return data

    return change


def _frame(draw: random.Random, name: str, frame: Chunk, change: Change) -> Chunk:
    if isinstance(frame, CanFrame):
        return _of_can(draw, frame, change)
    seal = SEALS.get(name)
    if seal and draw.random() < 0.5:
        with suppress(BadFrame, IndexError):  # a vector that is broken by intent cannot be closed
            return seal(frame, change)
    return change(frame)


def _of_can(draw: random.Random, frame: CanFrame, change: Change) -> CanFrame:
    """Any id of the same kind of bus, and any length, those of CAN FD too."""
    near = frame.id ^ draw.choice((0, 0, 0, 1, 0x10, 0x100, draw.getrandbits(29)))
    data = change(frame.data)[: draw.choice((8, 8, 8, 7, 4, 1, 0, 64))]
    return CanFrame(near & (0x1FFFFFFF if frame.extended else 0x7FF), data, frame.extended ^ (draw.random() < 0.05))
