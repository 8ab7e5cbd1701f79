"""An emulated Anker C1000 as its cloud sends it: a binary frame in base64 in JSON."""

from __future__ import annotations

import base64
import json
from functools import reduce
from operator import xor

from collectors.drivers import anker
from collectors.emulators.device import Emulator, Truths
from collectors.telegrams import message


def frame(truths: Truths) -> bytes:
    """Message type 0405: the station and at most one extra battery."""
    first, *more = truths.values()
    warm = max((t for t in first.temp_dc if t is not None), default=200) // 10
    fields = {0xC1: (first.soc_pm or 0) // 10, 0xC3: (first.soh_pm or 0) // 10, 0xBD: warm, 0xC5: len(more[:1])}
    for pack in more[:1]:
        fields |= {0xC2: (pack.soc_pm or 0) // 10, 0xC4: (pack.soh_pm or 0) // 10, 0xBE: warm}
    body = b"\x03\x01\x0f\x04\x05\xa1\x01\x34" + b"".join(bytes((id_, 2, 1, value)) for id_, value in fields.items())
    whole = anker.HEAD + (len(body) + 5).to_bytes(2, "little") + body
    return whole + bytes((reduce(xor, whole),))


def push(truths: Truths) -> list[bytes]:
    """One message."""
    data = base64.b64encode(frame(truths)).decode()
    payload = json.dumps({"head": {"cmd": 16}, "payload": {"data": data, "pn": "A1761"}})
    return [message("dt/anker_power/A1761/SN1/param_info", payload.encode())]


EMULATOR = Emulator(push=push)
