"""How long `cellherd scan` takes: each emulated device alone on a port, a port that is silent, one that talks.

    python -m tests.bench.scan

Prints one line a port with its bar. Pseudo terminals have no baud rate: real adapters take a little longer to open.
"""

from __future__ import annotations

from threading import Event
from time import monotonic

from collectors import scan
from collectors.drivers import driver
from collectors.emulators.battery import Battery, Plan
from collectors.emulators.device import EmulatedDevice
from collectors.emulators.fleet import start
from collectors.survey import Survey
from collectors.survey.port import Port

FOUND_S, SILENT_S = 5.0, 20.0


def device(name: str) -> EmulatedDevice:
    """One module; one that only speaks when it is triggered has a master beside it."""
    return EmulatedDevice(name, {driver(name).default_address: Battery(Plan())}, master=name in scan.TALKING)


def measure(name: str, *, silent: bool = False) -> tuple[float, str]:
    """Seconds, and what was found."""
    (running,) = start([device(name)])
    running.device.trouble.silent = silent
    port = Port(running.link.partition(":")[2])
    try:
        began = monotonic()
        report = Survey(port, lambda doing: None, Event()).walk([scan.quick(), scan.patient()])
        took = monotonic() - began
    finally:
        running.stop()
    return took, " ".join(f"{found.driver}@{found.address}" for found in report.finds) or "nothing"


def tell(what: str, took: float, bar: float, *, right: bool) -> None:
    """One line."""
    print(f"{what:<24} {took:6.2f} s  bar {bar:4.0f}  {'met' if right and took <= bar else 'MISSED'}", flush=True)


def main() -> None:
    """Measure and print."""
    for name in (*(asks.driver for asks in scan.TABLE), *scan.TALKING):
        took, found = measure(name)
        tell(name, took, FOUND_S, right=found.partition("@")[0] == name)
    took, found = measure("jbd", silent=True)
    tell("a silent port", took, SILENT_S, right=found == "nothing")


if __name__ == "__main__":
    main()
