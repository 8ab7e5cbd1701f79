"""Tells systemd that we are up, well or stopping (sd_notify); silent where systemd did not start us."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send READY=1, WATCHDOG=1, STOPPING=1 or STATUS=... to systemd; that its socket is gone is no error."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line, suppress(OSError):
        line.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
