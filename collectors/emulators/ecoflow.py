"""An emulated EcoFlow station as the maker's cloud tells of it: the whole quota when asked, messages by itself."""

from __future__ import annotations

import json
from typing import Any

from cellherd.reading import Measured
from collectors.drivers import ecoflow
from collectors.emulators.device import Emulator, Truths
from collectors.kernel import Request
from collectors.telegrams import message


def keys(truth: Measured) -> dict[str, Any]:
    """A pack's values by the names of telemetry."""
    cells = [mv or 0 for mv in truth.cell_mv]
    known = {
        "soc": (truth.soc_pm or 0) // 10,
        "f32ShowSoc": (truth.soc_pm or 0) / 10,
        "vol": truth.voltage_mv,
        "amp": truth.current_ma,
        "cellVol": cells,
        "cellSeriesNum": len(cells),
        "minCellVol": min(cells, default=0),
        "maxCellVol": max(cells, default=0),
        "fullCap": truth.full_mah,
        "remainCap": truth.remaining_mah,
        "cycles": truth.cycles,
        "soh": (truth.soh_pm or 0) // 10,
        "errCode": 301 if "cell_undervoltage_protection" in (truth.faults or ()) else 0,
        "bmsFault": 0,
        "balanceState": int(bool(truth.balancing)),
    }
    return {name: value for name, value in known.items() if value is not None}


def quota(truths: Truths) -> dict[str, Any]:
    """All packs in flat keys; the first one is the station's own."""
    groups = ["bms_bmsStatus", *(f"bms_slave_bmsSlaveStatus_{i}" for i in range(1, len(truths)))]
    each = zip(groups, truths.values(), strict=True)
    return {f"{group}.{name}": value for group, truth in each for name, value in keys(truth).items()}


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """The cloud's answer to the quota."""
    if request != ecoflow.QUOTA:
        return None
    return json.dumps({"code": "0", "message": "Success", "data": quota(truths)}).encode()


def push(truths: Truths) -> list[bytes]:
    """One message with everything."""
    body = {"id": 1, "version": "1.0", "params": quota(truths)}
    return [message("/open/open-1/R331/quota", json.dumps(body).encode())]


EMULATOR = Emulator(answer=answer, push=push)
