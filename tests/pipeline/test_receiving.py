"""The subscriber's socket: however bytes are cut, each message comes once, and paho gets the other packets whole."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.buffered_socket import PIECE, BufferedSocket, Publish

PINGRESP, SUBACK = b"\xd0\x00", b"\x90\x03\x00\x01\x01"


def length(size: int) -> bytes:
    found = b""
    while True:
        size, low = divmod(size, 128)
        found += bytes([low | (128 if size else 0)])
        if not size:
            return found


def packet(one: Publish) -> bytes:
    mid = struct.pack(">H", one.mid) if one.qos else b""
    body = struct.pack(">H", len(one.topic)) + one.topic + mid + one.payload
    return bytes([0x30 | one.qos << 1]) + length(len(body)) + body


@dataclass
class Plain:
    """A socket whose bytes come in these pieces; then nothing, or the end."""

    pieces: list[bytes]
    ends: bool = False

    def recv_into(self, room: memoryview) -> int:
        if not self.pieces and not self.ends:
            raise BlockingIOError
        piece = self.pieces.pop(0) if self.pieces else b""
        room[: len(piece)] = piece
        return len(piece)


def whole_packet(line: BufferedSocket) -> bytes:
    """As paho does it: a byte at a time, then the body, until there is nothing."""
    found = b""
    try:
        while byte := line.recv(1):
            found += byte
    except BlockingIOError:
        pass
    return found


def taken(line: BufferedSocket, fills: int) -> Iterator[Publish | bytes]:
    for _ in range(fills):
        line.fill()
        yield from line.publishes()
        while line.others():
            yield whole_packet(line)
            yield from line.publishes()


publishes = st.builds(
    Publish, st.binary(max_size=40), st.binary(max_size=300), st.integers(1, 65535), st.sampled_from([0, 1])
).map(lambda one: one if one.qos else one._replace(mid=0))


@given(
    st.lists(publishes | st.sampled_from([PINGRESP, SUBACK]), max_size=12), st.lists(st.integers(1, 400), max_size=40)
)
def test_however_the_bytes_are_cut_everything_comes_once_and_in_order(
    packets: list[Publish | bytes], cuts: list[int]
) -> None:
    stream = b"".join(one if isinstance(one, bytes) else packet(one) for one in packets)
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    pieces = [piece for piece in [*pieces, stream] if piece]
    assert list(taken(BufferedSocket(Plain(pieces)), len(cuts) + 2)) == packets


def test_a_packet_of_a_higher_quality_of_service_is_for_paho() -> None:
    odd = b"\x34" + length(7) + b"\x00\x01t\x00\x05xy"
    assert list(taken(BufferedSocket(Plain([odd])), 1)) == [odd]


def test_the_end_of_the_line_is_told_even_with_half_a_packet_left() -> None:
    line = BufferedSocket(Plain([packet(Publish(b"t", b"x" * 50, 1, 1))[:-3]], ends=True))
    line.fill()
    assert line.publishes() == []
    assert not line.others()
    line.fill()
    assert line.others()
    assert line.recv(1) == b""


def test_a_length_that_is_none_goes_to_paho_to_be_refused() -> None:
    assert whole_packet_of(b"\x30\xff\xff\xff\xff\xff\x01") == b"\x30\xff\xff\xff\xff\xff\x01"


def whole_packet_of(stream: bytes) -> bytes:
    line = BufferedSocket(Plain([stream]))
    line.fill()
    assert line.publishes() == []
    assert line.others()
    return whole_packet(line)


def test_a_line_that_breaks_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = BufferedSocket(ours)
    theirs.close()
    line.fill()
    assert line.others()
    assert line.recv(1) == b""
    with pytest.raises(BlockingIOError):
        BufferedSocket(Plain([])).recv(1)
    line.close()


def test_a_read_takes_no_more_memory_than_what_came() -> None:
    """A new piece for each read left holes in the thread's heap: 80 kB became 6 MB within 24,000 messages."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = BufferedSocket(ours)
    theirs.sendall(packet(Publish(b"t", b"x" * 500, 1, 1)))
    tracemalloc.start()
    line.fill()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(line.publishes()) == 1
    assert most < PIECE // 16
    line.close()
    theirs.close()
