"""A line that carries bytes: a serial port or a socket. Every read is bounded in bytes and in time."""

from __future__ import annotations

import os
import select
import socket
import termios
from pathlib import Path
from typing import Protocol

import serial

from cellherd.errors import LinkError

SLICE_S = 0.1
"""Longest single wait, so that a stop is obeyed at once."""
CHUNK = 4096
"""Most bytes of one read: a babbling device must not fill the memory."""
WRITE_S = 2.0
CONNECT_S = 5.0


class Wire(Protocol):
    """Bytes out and in. Everything raises LinkError once the line is gone."""

    name: str

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self) -> bytes:
        """What is there, at most CHUNK bytes; nothing if SLICE_S passes without any."""

    def drop(self) -> None:
        """Forget what has arrived: late answers to earlier requests."""

    def close(self) -> None:
        """Give the line back; never raises."""


class SerialWire:
    """A serial port, held exclusively: two programs on one port would take each other's answers."""

    def __init__(self, path: str, baud: int) -> None:
        self.name = path
        try:
            self._port = serial.Serial(path, baud, timeout=SLICE_S, write_timeout=WRITE_S, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise LinkError(_why_not(path, error)) from None

    def write(self, data: bytes) -> None:
        """See Wire."""
        try:
            self._port.write(data)
        except OSError as error:
            raise LinkError(f"{self.name}: cannot write, {error}; is the adapter still plugged in?") from None

    def read(self) -> bytes:
        """See Wire."""
        try:
            first: bytes = self._port.read(1)
            more: bytes = self._port.read(min(self._port.in_waiting, CHUNK - 1)) if first else b""
        except (OSError, TypeError) as error:  # TypeError: pyserial reads on after the port was taken away
            raise LinkError(f"{self.name}: went away, {error}; is the adapter still plugged in?") from None
        return first + more

    def write_at(self, baud: int, data: bytes) -> None:
        """Send this at another speed, and go back once the last bit is out."""
        usual = self._port.baudrate
        try:
            self._port.baudrate = baud
            self._port.write(data)
            self._port.flush()
            self._port.baudrate = usual
        except (OSError, ValueError, termios.error) as error:
            raise LinkError(f"{self.name}: cannot send at {baud} baud, {error}") from None

    def drop(self) -> None:
        """See Wire."""
        try:
            self._port.reset_input_buffer()
        except (OSError, termios.error) as error:  # pyserial lets the latter through
            raise LinkError(f"{self.name}: went away, {error}; is the adapter still plugged in?") from None

    def close(self) -> None:
        """See Wire."""
        try:
            self._port.close()
        except OSError:
            return  # an unplugged port has nothing left to close


def _why_not(path: str, error: Exception) -> str:
    if not Path(path).exists():
        ports = sorted(str(p) for p in Path("/dev/serial/by-path").glob("*"))
        found = f"plugged in now: {', '.join(ports)}" if ports else "no USB serial adapter is plugged in now"
        return f"{path}: there is no such port; `ls /dev/serial/by-path` shows the right one ({found})"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: this user may not open it; `sudo usermod -aG dialout $USER` and log in again"
    if "lock" in str(error) or "busy" in str(error):
        return f"{path}: another program holds this port; `fuser -v {path}` shows which"
    return f"{path}: cannot be opened, {error}"


class TcpWire:
    """A TCP connection to a serial server or a gateway."""

    def __init__(self, host: str, port: int) -> None:
        self.name = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), CONNECT_S)
        except OSError as error:
            raise LinkError(f"{self.name}: no connection, {error}; check address, port and power") from None
        self._socket.settimeout(WRITE_S)

    def write(self, data: bytes) -> None:
        """See Wire."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkError(f"{self.name}: cannot write, {error}") from None

    def read(self) -> bytes:
        """See Wire."""
        return self._receive(SLICE_S)

    def drop(self) -> None:
        """See Wire; bounded, since a babbling peer could fill faster than we drop."""
        for _ in range(16):
            if not self._receive(0):
                return

    def _receive(self, timeout: float) -> bytes:
        try:
            ready, _, _ = select.select([self._socket], [], [], timeout)
            data = self._socket.recv(CHUNK) if ready else None
        except (OSError, ValueError) as error:  # ValueError: the socket was closed
            raise LinkError(f"{self.name}: connection lost, {error}") from None
        if data == b"":
            raise LinkError(f"{self.name}: closed by the other side")
        return data or b""

    def close(self) -> None:
        """See Wire."""
        self._socket.close()
