"""The radio that all Bluetooth links of a process share: which adapter, and whose turn to look for a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from time import monotonic
from typing import Any

from cellherd.errors import LinkError
from collectors.links import Place
from collectors.links.wires import SLICE_S

SEEK_S = 15.0
"""How long a device is looked for: a quiet one advertises every few seconds."""
CONNECT_S = 30.0
TURN_S = 10.0
"""How long to wait while another device is connected: BlueZ looks for one at a time."""
LEAVE_S = 5.0
_SEEKING = Lock()


def radio_options(place: Place) -> dict[str, Any]:
    """Which adapter, as bleak wants it."""
    adapter = place.options.get("adapter")
    return {} if adapter is None else {"bluez": {"adapter": f"hci{adapter}"}}


@contextmanager
def one_at_a_time(name: str, halt: Event) -> Iterator[None]:
    """Wait until no other device of this process is looked for. Raises LinkError."""
    until = monotonic() + TURN_S
    while not _SEEKING.acquire(timeout=SLICE_S):
        if halt.is_set() or monotonic() > until:
            raise LinkError(f"{name}: the radio looks for another device; tried again later")
    try:
        yield
    finally:
        _SEEKING.release()
