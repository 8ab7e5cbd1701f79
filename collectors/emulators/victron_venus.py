"""Emulated batteries behind a Victron GX device: a round of messages, as after a keep-alive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import victron_venus
from collectors.emulators.device import Emulator, Truths
from collectors.fields import value_of
from collectors.telegrams import message

PORTAL = "c0619ab1b2c3"


def paths(truth: Measured) -> Iterator[tuple[str, Any]]:
    """Every path of a battery and its value."""
    yield from (("ProductName", "Emulated battery"), ("DeviceInstance", truth.module), ("Connected", 1))
    for key in victron_venus.KEYS:
        value = value_of(truth, "temp_dc.0" if key.name == "temp_dc" else key.name)
        yield key.paths[0], None if value is None else value / key.times
    yield from ((f"Voltages/Cell{i}", mv and mv / 1000) for i, mv in enumerate(truth.cell_mv, 1))
    for level, word in victron_venus.LEVELS.items():
        codes = faults.brand("victron")[word].values
        yield from (
            (f"Alarms/{name}", level)
            for name, code in codes.items()
            if code.fault and code.fault in (truth.faults or ())
        )
    yield "Alarms/FuseBlown", 0


def push(truths: Truths) -> list[bytes]:
    """A whole round, its end marked."""
    told = [
        message(f"N/{PORTAL}/battery/{at}/{path}", json.dumps({"value": value}).encode())
        for at, truth in truths.items()
        for path, value in paths(truth)
    ]
    return [*told, message(f"N/{PORTAL}/{victron_venus.COMPLETE}", b'{"value":1}')]


EMULATOR = Emulator(answer=lambda request, address, truths: b"", push=push)
