"""Turns rows of the outbox into messages: topic and payload (design A.1 and A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cellherd import topics, wire
from collectors.entries import About, Instant
from collectors.outbox import Reading


@dataclass(frozen=True, slots=True)
class Whose:
    """The edge and its outbox."""

    edge: str
    stream: str


def message(whose: Whose, rows: Sequence[Reading], now: Instant) -> tuple[str, bytes] | None:
    """The rows of one batch as one message; None if the server takes it only in parts, or a single one not at all."""
    about = rows[0][0].about
    if about.event:
        topic, payload = topics.records(whose.edge, about.stack, about.module), _record(whose, rows[0], now)
        return (topic, payload) if len(payload) <= wire.MAX_OUT else None
    payload = _readings(whose, rows, now)
    small = wire.deflate(payload) if len(payload) > wire.DEFLATE_ABOVE else payload
    dense = len(payload) > wire.MAX_RATIO * len(small)  # hours of a battery at rest: refused as a bomb might be
    if len(payload) > wire.MAX_OUT or (dense and len(rows) > 1):
        return None
    deflated = small is not payload and not dense
    topic = topics.readings(whose.edge, about.stack, about.module, deflated=deflated)
    return topic, small if deflated else payload


def _readings(whose: Whose, rows: Sequence[Reading], now: Instant) -> bytes:
    row = rows[0][0]
    about = row.about
    source = wire.Source(whose.stream, row.epoch, about.module, about.kind, about.driver, about.boot, about.clk)
    lines = [wire.Line(row.seq, row.about.ts, row.about.bt, body) for row, body in rows]
    return wire.pack(source, lines, sent_ts=now.ts, sent_bt=_sent_bt(about, now))


def _sent_bt(about: About, now: Instant) -> int:
    """What the boot clock of these rows would show now: the server takes it for where that boot stands in time."""
    return now.bt if about.boot == now.boot else now.ts - (about.ts - about.bt)


def _record(whose: Whose, reading: Reading, now: Instant) -> bytes:
    row, body = reading
    head = {"stream": whose.stream, "epoch": row.epoch, "seq": row.seq}
    told = {
        name: value
        for name, value in asdict(row.about).items()
        if name in ("module", "kind", "boot", "bt", "ts", "clk")
    }
    return wire.pack_record(
        head | told | {"sent_bt": _sent_bt(row.about, now), "sent_ts": now.ts}, row.about.event, body
    )
