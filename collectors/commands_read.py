"""`cellherd read` and `cellherd replay`: a battery on the screen, for the person who stands beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cellherd import faults
from cellherd.clock import SystemClock, as_text
from cellherd.config import load_edge
from cellherd.errors import BadFrame, CellherdError, Silent
from cellherd.reading import Measured
from collectors.asking import Asker, configured
from collectors.drivers import chosen, driver
from collectors.events import Device, joined, modules_by_address
from collectors.kernel import Login
from collectors.links import Link, open_link
from collectors.links.capture import Recorder, Replay, WasSilent, read_capture
from collectors.station import talk
from collectors.watch import watch as watching

COLOURS = {1: "bold red", 2: "yellow", 3: "cyan", 4: "dim"}
"""By a fault's priority."""
LISTEN_S = 0.5
ASK_MS = 1000
"""Where questions are put, they are put again after this time: some answers count only when the next begin."""
CELLS_A_LINE = 4


def read(  # noqa: PLR0913, PLR0917 - each parameter is an option of the command
    stack: Annotated[str | None, typer.Argument(metavar="DEVICE", help="A stack of edge.toml.")] = None,
    name: Annotated[str | None, typer.Option("--driver", help="A name from `cellherd drivers`.")] = None,
    link: Annotated[str | None, typer.Option(help="For example serial:/dev/ttyUSB0?baud=9600")] = None,
    address: Annotated[int | None, typer.Option(help="Bus address; the driver knows the usual one.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask where else is only listened; no other master there.")] = False,
    watch: Annotated[bool, typer.Option("--watch/--once", help="Go on until Ctrl-C, or read once.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the conversation down for `cellherd replay`.")] = None,
    config: Annotated[Path, typer.Option(help="Where DEVICE stands.")] = Path("edge.toml"),
) -> None:
    """Read a battery now and show it: cells, amps, temperatures, faults in words. Nothing is ever written to it.

    Examples:

    cellherd read --driver jbd --link serial:/dev/ttyUSB0

    cellherd read cellar --watch

    cellherd read --driver daly_can --link slcan:/dev/ttyACM0 --ask
    """
    device = by_hand(name, link, address, ask) if name and link else by_stack(stack, config, address, ask)
    with ExitStack() as opened:
        line: Link = opened.enter_context(closing(open_link(device.link, device.driver)))
        if record:
            file = opened.enter_context(record.open("w", encoding="utf-8"))
            line = Recorder(line, file, device.driver, SystemClock().wall)
        if watch:
            watching(_taking(device, line), SystemClock(), Console())
        else:
            found = joined(device, take(device, line) + ask_who(device, line))
            Console().print(shown(device, found, SystemClock().wall()))


def by_hand(name: str, link: str, address: int | None, ask: bool) -> Device:
    """A device as a person names it. Raises CellherdError."""
    known = configured(driver(name), ask=ask, link=link)
    return Device("battery", known, link, known.default_address if address is None else address, {})


def by_stack(stack: str | None, config: Path, address: int | None, ask: bool) -> Device:
    """A device as edge.toml names it, with its login and preset. Raises CellherdError."""
    if stack is None:
        raise CellherdError("name a stack of edge.toml, or give --driver and --link; `cellherd drivers` lists drivers")
    devices = load_edge(config).device
    for entry in devices:
        if entry.stack == stack and address in (None, entry.address):
            login = Login(**entry.login.model_dump()) if entry.login else None
            known = chosen(entry.driver, entry.preset)
            known = configured(known, ask=ask or entry.ask, ack=entry.ack, link=entry.link, login=login)
            modules = modules_by_address(known, entry.address, entry.modules)
            place = known.default_address if entry.address is None else entry.address
            return Device(stack, known, entry.link, place, modules, entry.period_s)
    stacks = ", ".join(sorted({entry.stack for entry in devices})) or "none"
    raise CellherdError(f"{config}: no device of stack {stack!r}; there are {stacks}")


def take(device: Device, line: Link) -> tuple[Measured, ...]:
    """One reading of everything behind the link. Raises Silent, BadFrame, LinkError."""
    if device.driver.feed is not None:
        return _overhear(device, line)
    return talk(device, line, device.driver.poll)


def ask_who(device: Device, line: Link) -> tuple[Measured, ...]:
    """What the device says of itself; nothing if it does not, or is listened to."""
    if device.driver.feed is not None:
        return ()
    try:
        return talk(device, line, device.driver.identify)
    except (Silent, BadFrame):
        return ()


def _ask_seldom(device: Device, line: Link) -> tuple[Measured, ...]:
    """What moves slowly, as a capture asks it once; nothing if the device does not say."""
    try:
        return talk(device, line, device.driver.seldom)
    except (Silent, BadFrame):
        return ()


def _overhear(device: Device, line: Link) -> tuple[Measured, ...]:
    known, begin = device.driver, time.monotonic()
    asker, ask_at, state = Asker(known, 0), 0, known.fresh()
    while known.feed is not None and (since := time.monotonic() - begin) < known.silence_s:
        now = round(since * 1000)
        if now >= ask_at and asker.free(now):
            ask_at = now + ASK_MS
            asker.plan(device, known.identify)
            asker.plan(device, known.poll)
        pause = asker.speak(line, now)
        chunk = line.hear(LISTEN_S if pause is None else pause)
        if chunk is None:
            continue
        asker.other_master(chunk, now)
        state, found = known.feed(state, chunk)
        if found:
            return found
    raise Silent(
        f"nothing that {known.name} understands was heard for {known.silence_s:g} s; check wiring and bit rate"
    )


def _taking(device: Device, line: Link) -> Callable[[], RenderableType]:
    """Reads and shows; who the device is, is asked once."""
    who: list[Measured] = []

    def reading() -> RenderableType:
        found = take(device, line)
        if not who:
            who.extend(ask_who(device, line) or (Measured(),))
        return shown(device, joined(device, (*found, *who)), SystemClock().wall())

    return reading


def shown(device: Device, found: list[Measured], ts: int) -> RenderableType:
    """Readings for people: volts, amperes, degrees Celsius, cells counted from 1, faults in words."""
    return Group(*(_panel(device, measured, ts) for measured in found))


def _panel(device: Device, measured: Measured, ts: int) -> Panel:
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(measured):
        facts.add_row(Text(name, style="dim"), value)
    parts: list[RenderableType] = [facts]
    if measured.cell_mv:
        parts.append(_cells(measured))
    parts.append(_faults(measured))
    who = " ".join(str(measured.info[key]) for key in ("model", "serial", "firmware") if key in measured.info)
    title = f"{device.stack} / {device.module_of(measured)}  {who}"
    return Panel(Group(*parts), title=Text(title), subtitle=as_text(ts), expand=False)


def _facts(measured: Measured) -> Iterator[tuple[str, str]]:
    units = (
        ("voltage", measured.voltage_mv, 1000, "V", 2),
        ("current", measured.current_ma, 1000, "A", 2),
        ("state of charge", measured.soc_pm, 10, "%", 1),
        ("state of health", measured.soh_pm, 10, "%", 1),
        ("remaining", measured.remaining_mah, 1000, "Ah", 1),
        ("full", measured.full_mah, 1000, "Ah", 1),
        ("MOSFETs", measured.mos_temp_dc, 10, "°C", 1),
    )
    for name, value, over, unit, digits in units:
        if value is not None:
            yield name, f"{value / over:.{digits}f} {unit}" + _way(name, value)
    if measured.cycles is not None:
        yield "cycles", str(measured.cycles)
    temps = [f"{t / 10:.1f}" if t is not None else "-" for t in measured.temp_dc]
    if temps:
        yield "temperatures", f"{'  '.join(temps)} °C"
    for name, on in (("charging", measured.charge_on), ("discharging", measured.discharge_on)):
        if on is not None:
            yield name, "allowed" if on else "cut by the BMS"


def _way(name: str, value: int) -> str:
    if name != "current" or value == 0:
        return ""
    return ", charging" if value > 0 else ", discharging"


def _cells(measured: Measured) -> Table:
    """Cells counted from 1; the lowest and the highest stand out, balancing ones have a mark."""
    said = [mv for mv in measured.cell_mv if mv is not None]
    low, high = min(said, default=0), max(said, default=0)
    table = Table(
        title=f"cells, V (spread {high - low} mV, ▲ highest, ▼ lowest, * balancing)",
        show_header=False,
        title_justify="left",
    )
    cells = []
    for i, mv in enumerate(measured.cell_mv):
        style = "cyan" if mv == low else "magenta" if mv == high else ""
        mark = "" if high == low else "▲" if mv == high else "▼" if mv == low else ""
        mark += "*" if (measured.balancing or 0) >> i & 1 else ""
        cells.append(Text(f"{i + 1:>2}: {mv / 1000:.3f}{mark}" if mv is not None else f"{i + 1:>2}: -", style=style))
    for at in range(0, len(cells), CELLS_A_LINE):
        table.add_row(*cells[at : at + CELLS_A_LINE])
    return table


def _faults(measured: Measured) -> RenderableType:
    if measured.faults is None:
        return Text("the device does not speak of faults in this reading", style="dim")
    if not measured.faults:
        return Text("no faults", style="green")
    known = sorted((faults.catalogue()[fault] for fault in measured.faults), key=lambda fault: fault.priority)
    lines = [
        Text(f"{fault.title}. Do: {'; '.join(fault.actions[:1])}", style=COLOURS[fault.priority]) for fault in known
    ]
    return Group(*lines)


def replay(
    file: Annotated[Path, typer.Argument(help="A capture, for example from `cellherd read --record`.")],
) -> None:
    """Decode a recorded conversation again, reading by reading, without a device.

    Exit code 1 if a reading cannot be decoded; decoding goes on.

    Example: cellherd replay morning.jsonl
    """
    name, said = read_capture(file)
    known = driver(name)
    if "can" not in known.links:  # there, answers stand among what was heard
        known = configured(known, ask=any(exchange.request for exchange in said))
    address = next((exchange.address for exchange in said if exchange.request is not None), known.default_address)
    device = Device(file.stem, known, f"replay:{file}", address, {})
    line = Replay(file, known, Event())
    bad = count = 0
    for ts, found in readings(device, line):
        count += 1
        bad += isinstance(found, BadFrame)
        view = Text(f"{as_text(ts)}: {found}", style="red") if isinstance(found, BadFrame) else shown(device, found, ts)
        Console().print(view)
    if not count:
        raise CellherdError(f"{file}: holds no whole reading of {name} at address {device.address}")
    if bad:
        raise typer.Exit(1)


def readings(device: Device, line: Replay) -> Iterator[tuple[int, list[Measured] | BadFrame]]:
    """Every reading of a capture, or why it is none, with its time in ms UTC, until the capture ends."""
    who: tuple[Measured, ...] | None = None
    while True:
        try:
            found = take(device, line)
            who = (*ask_who(device, line), *_ask_seldom(device, line)) if who is None else who
            yield line.ts, joined(device, found + who)
        except BadFrame as error:
            yield line.ts, error
        except WasSilent:
            continue
        except Silent:
            return
