"""An emulated bridge that publishes a pack as one JSON object, as the preset `packs` reads it."""

from __future__ import annotations

import json

from collectors.emulators.device import Emulator, Truths
from collectors.telegrams import message


def push(truths: Truths) -> list[bytes]:
    """One message a pack."""
    told = []
    for at, truth in truths.items():
        body = {
            "voltage": (truth.voltage_mv or 0) / 1000,
            "current": (truth.current_ma or 0) / 1000,
            "soc": (truth.soc_pm or 0) / 10,
            "cells": [(mv or 0) / 1000 for mv in truth.cell_mv],
        }
        told.append(message(f"battery/shed/pack{at}", json.dumps(body).encode()))
    return told


EMULATOR = Emulator(push=push)
