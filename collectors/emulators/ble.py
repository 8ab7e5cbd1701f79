"""An emulated battery as aiobmsble tells of it: the names and units of its published BMSSample, as JSON."""

from __future__ import annotations

import json
from typing import Any

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import ble
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.kernel import Request, Send

KIND = "jbd"
"""One whose problem code we can name."""


def answer(request: Request, address: int, truths: Truths) -> bytes | None:
    """A result for one battery, or for a bank of packs."""
    if not isinstance(request, Send) or not truths:
        return None
    first, *more = truths.values()
    if request.data == ble.INFO.encode():
        named = {"serial_number": first.info.get("serial", ""), "model": first.info.get("model", "")}
        return json.dumps({"kind": KIND, ble.INFO: named}).encode()
    said = sample(first)
    if more:
        said["packs"] = [sample(each) for each in truths.values()]
    return json.dumps({"kind": KIND, ble.SAMPLE: said}).encode()


def sample(truth: Measured) -> dict[str, Any]:
    """What a BMSSample holds of a battery."""
    temps = [{"value": dc / 10, "type": "CELL"} for dc in truth.temp_dc if dc is not None]
    mos = [] if truth.mos_temp_dc is None else [{"value": truth.mos_temp_dc / 10, "type": "MOSFET"}]
    return {
        "voltage": (truth.voltage_mv or 0) / 1000,
        "current": (truth.current_ma or 0) / 1000,
        "battery_level": (truth.soc_pm or 0) / 10,
        "cycle_charge": (truth.remaining_mah or 0) / 1000,
        "cycles": truth.cycles or 0,
        "cell_count": len(truth.cell_mv),
        "cell_voltages": [(mv or 0) / 1000 for mv in truth.cell_mv],
        "temp_values": temps + mos,
        "chrg_mosfet": bool(truth.charge_on),
        "dischrg_mosfet": bool(truth.discharge_on),
        "problem_code": mask_of(faults.brand("jbd")["protection"], truth.faults),
    }


EMULATOR = Emulator(answer=answer)
