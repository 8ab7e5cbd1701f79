"""Tells systemd that we are up and well: READY=1 and WATCHDOG=1 (sd_notify), nothing where systemd did not start us."""

from __future__ import annotations

import os
import socket


def notify(word: str) -> None:
    """Send one line to the socket that systemd named in NOTIFY_SOCKET. A supervisor that is gone is no error."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        try:
            line.sendto(word.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return
