"""An emulated battery that speaks Victron's CAN-bms profile: one round a second, the sum of its modules only."""

from __future__ import annotations

from cellherd import faults
from cellherd.reading import Measured
from collectors.drivers import pylontech_can as lv
from collectors.drivers import victron_can as can
from collectors.emulators.device import Emulator, Truths, mask_of
from collectors.emulators.pylontech_can import limits, whole
from collectors.kernel import CanFrame

OK, ACTIVE = 2, 1
PAIRS = 32


def broadcast(truths: Truths) -> list[CanFrame]:
    """One round of frames."""
    bank = whole(truths)
    return [
        _frame(lv.LIMITS, limits(truths, bank)),
        _frame(
            lv.STATE,
            {"soc": (bank.soc_pm or 0) // 10, "soh": (bank.soh_pm or 0) // 10, "soc_fine": (bank.soc_pm or 0) / 10},
        ),
        _frame(lv.ACTUAL, _actual(bank)),
        alarms(bank),
        CanFrame(lv.MAKER, b"EMULATED"),
        CanFrame(can.NAME, b"Emulated"),
        CanFrame(can.NAME_MORE, b"-bank\0\0\0"),
        _frame(
            can.MODULES,
            {
                "modules_online": len(truths),
                "modules_blocking_charge": 0,
                "modules_blocking_discharge": 0,
                "modules_offline": 0,
            },
        ),
        _frame(can.EXTREMES, _extremes(truths)),
        _frame(
            can.INSTALLED,
            {"installed_capacity": sum(int(m.info.get("nominal_mah", 0)) for m in truths.values()) // 1000},
        ),
    ]


def _actual(bank: Measured) -> dict[str, float]:
    values = {"voltage": bank.voltage_mv or 0, "current": bank.current_ma or 0}
    return {name: value / 1000 for name, value in values.items()} | {
        "temperature": (bank.temp_dc[0] or 0) / 10,
        "cycles": 0,
    }


def _extremes(truths: Truths) -> dict[str, float]:
    cells = [mv or 0 for m in truths.values() for mv in m.cell_mv]
    temps = [(t or 0) // 10 for m in truths.values() for t in m.temp_dc] or [0]
    ends: dict[str, float] = {"cell_voltage_min": min(cells), "cell_voltage_max": max(cells)}
    return ends | {"cell_temperature_min": min(temps), "cell_temperature_max": max(temps)}


def alarms(bank: Measured) -> CanFrame:
    """0x35A, every pair that is not active says that all is fine."""
    mask = mask_of(faults.brand("pylontech")["can_35a"], bank.faults)
    pairs = sum((ACTIVE if mask >> i & 1 else OK) << 2 * i for i in range(PAIRS))
    return CanFrame(lv.ALARMS_V13, pairs.to_bytes(8, "little"))


def _frame(number: int, signals: dict[str, float]) -> CanFrame:
    return CanFrame(number, bytes(lv.database().encode_message(number, signals)))


EMULATOR = Emulator(broadcast=broadcast)
