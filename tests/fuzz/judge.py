"""What every answer of a driver must be, whatever came over the wire.

A BMS may say anything with a right checksum, and whether 65 V are a cell is not for a driver to judge: a value travels
as it is, in its column where it fits and under its own name in `extra` where it does not, beside the raw words; which
of them are plausible is a bit of data quality that the server sets. So "flagged" means here: nothing that a driver
gives can be refused by the server, and so cost its neighbours in the message their way.
"""

from __future__ import annotations

import time

from cellherd import wire
from cellherd.errors import BadFrame
from cellherd.reading import Measured, as_row
from cellherd.topics import is_id
from collectors.drivers import driver
from collectors.events import Device
from collectors.kernel import Chunk
from collectors.notices import Notices
from pipeline.decoding import records

SOURCE = ("ab" * 16, "cd" * 8)
BOOT = "0badcafe"
SLOW_S = 2.0
"""Processor time that no 64 KiB may cost; sound drivers need a fiftieth of it on the slowest machine that we have."""


def judge(name: str, frame: Chunk, request: bytes | None) -> tuple[Measured, ...]:
    """Decode; what comes out must reach the archive. Nothing for a BadFrame; everything else fails."""
    begin = time.thread_time()
    try:
        found = driver(name).decode(frame, request)
    except BadFrame:
        found = ()
    assert time.thread_time() - begin < SLOW_S, "too slow"
    assert isinstance(found, tuple)
    for measured in found:
        accepted(name, measured)
    return found


def accepted(name: str, measured: Measured) -> None:
    """The server takes the reading and all records that are made of it, and gives back what was said."""
    assert isinstance(measured, Measured)
    module = Device("stack", driver(name), "virtual:x", 0, {}).module_of(measured)
    assert is_id(module), module
    row = as_row(measured)
    source = wire.Source(*SOURCE, module, measured.kind, name, BOOT, "ntp")
    packed = wire.pack(source, [wire.Line(1, 0, 0, row)], sent_ts=0, sent_bt=0)
    assert len(packed) <= wire.MAX_OUT, "more than a message holds"
    _, (line,) = wire.unpack(packed)
    assert {key: value for key, value in row.items() if _told(value)} == line.row
    stream, epoch = SOURCE
    head = {"stream": stream, "epoch": epoch, "seq": 1, "module": module, "kind": measured.kind, "boot": BOOT}
    head |= {"bt": 0, "ts": 0, "clk": "ntp", "sent_bt": 0, "sent_ts": 0}
    for event, body in Notices().of(measured):
        payload = wire.pack_record(head, event, body)
        assert len(payload) <= wire.MAX_OUT, "more than a message holds"
        records.read(payload)


def _told(value: object) -> bool:
    """A list of absent cells only says nothing on the wire."""
    return not isinstance(value, list) or value == [] or any(each is not None for each in value)
