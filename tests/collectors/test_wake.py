"""A console that sleeps is woken at its own speed, once, and only where a port has a speed."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from cellherd.errors import Silent
from collectors.drivers import driver
from collectors.kernel import Send
from collectors.links import bytewise, wires

CALL, THEN = b"~20014682C0048520FCC3\r", b"\n"
ANSWER = b"pwr\r\n@\r\nCommand completed successfully\r\n$$\r\npylon>"


class Port:
    """A serial port that records at which speed each byte string left."""

    def __init__(self, path: str, baud: int, **more: Any) -> None:
        self.baudrate, self.sent, self.wakes = baud, list[tuple[int, bytes]](), path == "sleeping"
        self.awake, self.coming = False, b""

    def write(self, data: bytes) -> None:
        self.sent.append((self.baudrate, data))
        self.awake |= self.wakes and (self.baudrate, data) == (1200, CALL)
        if self.awake and data == b"pwr\n":
            self.coming = ANSWER

    def read(self, most: int) -> bytes:
        said, self.coming = self.coming[:most], self.coming[most:]
        return said

    @property
    def in_waiting(self) -> int:
        return len(self.coming)

    def flush(self) -> None: ...
    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


def link(path: str, monkeypatch: pytest.MonkeyPatch) -> tuple[bytewise.ByteLink, Port]:
    monkeypatch.setattr(wires.serial, "Serial", Port)
    known, wire = driver("pylontech_console"), wires.SerialWire(path, 115200)
    return bytewise.ByteLink(wire, known, bytewise.Plain(known), Event()), wire._port


def test_a_sleeping_console_is_called_at_1200_baud_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    line, port = link("sleeping", monkeypatch)
    assert line.ask(Send(b"pwr\n"), address=1).startswith(b"pwr")
    usual = (115200, b"pwr\n")
    assert port.sent == [usual, (1200, CALL), (115200, THEN), usual]


def test_a_dead_console_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    line, port = link("dead", monkeypatch)
    for _ in range(2):
        with pytest.raises(Silent):
            line.ask(Send(b"pwr\n"), address=1)
    assert [data for baud, data in port.sent if baud == 1200] == [CALL]
