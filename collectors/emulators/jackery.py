"""An emulated Jackery Explorer as the cloud pushes its properties."""

from __future__ import annotations

import json

from collectors.emulators.device import Emulator, Truths
from collectors.telegrams import message


def push(truths: Truths) -> list[bytes]:
    """All properties of the station, and a message with its extra batteries."""
    first, *more = truths.values()
    watts = (first.voltage_mv or 0) * (first.current_ma or 0) // 1_000_000
    body = {
        "rb": (first.soc_pm or 0) // 10,
        "bt": next((t for t in first.temp_dc if t is not None), 200),
        "ip": max(watts, 0),
        "op": max(-watts, 0),
        "ec": int(bool(first.faults)),
        "ta": 0,
        "pal": 0,
        "onlineStatus": 1,
    }
    told = [{"messageType": "DevicePropertyChange", "deviceSn": "0", "body": body}]
    if more:
        packs = [{"deviceSn": f"P{i}", "rb": (each.soc_pm or 0) // 10, "ec": 0} for i, each in enumerate(more)]
        told.append({"messageType": "SubDevicePropertyChange", "deviceSn": "0", "body": {"subDevices": packs}})
    return [message("jackery/E2000/push", json.dumps(each).encode()) for each in told]


EMULATOR = Emulator(push=push)
