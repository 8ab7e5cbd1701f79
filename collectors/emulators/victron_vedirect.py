"""An emulated Victron shunt on VE.Direct: it sends its two blocks by itself."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.emulators.device import Emulator, Truths, mask_of

PRODUCT, FIRMWARE = "0xA389", "0414"


def push(truths: Truths) -> list[bytes]:
    """History, then what is measured now."""
    truth = next(iter(truths.values()))
    return [block(past(truth)), block(now(truth))]


def block(said: dict[str, str]) -> bytes:
    """Lines, and the byte that makes their sum 0."""
    body = "".join(f"\r\n{label}\t{value}" for label, value in said.items()).encode("ascii") + b"\r\nChecksum\t"
    return body + bytes((-sum(body) & 0xFF,))


def now(truth: Measured) -> dict[str, str]:
    """The live block; a shunt knows one temperature and no cells."""
    mask = mask_of(faults.brand("victron")["vedirect_alarm"], truth.faults)
    current, voltage = truth.current_ma or 0, truth.voltage_mv or 0
    return {
        "PID": PRODUCT,
        "V": f"{voltage}",
        "I": f"{current}",
        "P": f"{voltage * current // 1_000_000}",
        "T": f"{truth.temp_dc[0] // 10}" if truth.temp_dc and truth.temp_dc[0] is not None else "---",
        "CE": f"{(truth.remaining_mah or 0) - (truth.full_mah or 0)}",
        "SOC": f"{truth.soc_pm}",
        "TTG": "-1",
        "Alarm": "ON" if mask else "OFF",
        "AR": f"{mask}",
        "BMV": "SmartShunt 500A/50mV",
        "FW": FIRMWARE,
        "MON": "0",
    }


def past(truth: Measured) -> dict[str, str]:
    """The block of history."""
    return {"H4": f"{truth.cycles or 0}", "H6": f"-{truth.counters.get('throughput_mah', 0)}", "H17": "0", "H18": "0"}


EMULATOR = Emulator(push=push)
