"""`cellherd capture`: a device's own bytes in a file, to be read later or by somebody else, without the device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.text import Text

from cellherd.clock import Clock, SystemClock
from cellherd.errors import BadFrame, CellherdError, Silent
from collectors.asking import Asker
from collectors.commands_read import by_hand, by_stack
from collectors.events import Device
from collectors.links import Link, open_link
from collectors.links.capture import Recorder, read_capture
from collectors.station import talk

LISTEN_S = 0.5
KEEP_S = 10.0
"""What falls silent unless it is asked (a GX device) is asked no more often: each time it tells everything anew."""


def capture(  # noqa: PLR0913, PLR0917 - each parameter is an option of the command
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="A new file; JSON lines.")],
    stack: Annotated[str | None, typer.Argument(metavar="DEVICE", help="A stack of edge.toml, with its login.")] = None,
    name: Annotated[str | None, typer.Option("--driver", help="A name from `cellherd drivers`.")] = None,
    link: Annotated[str | None, typer.Option(help="For example serial:/dev/ttyUSB0?baud=9600")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long; Ctrl-C ends it earlier.")] = 60,
    address: Annotated[int | None, typer.Option(help="Bus address; the driver knows the usual one.")] = None,
    period_s: Annotated[float, typer.Option(min=0.2, help="Seconds between readings of a device that is asked.")] = 5,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest file; a full one ends the capture.")] = 50,
    config: Annotated[Path, typer.Option(help="Where DEVICE stands.")] = Path("edge.toml"),
) -> None:
    """Write down everything that a battery says, for a bug report or for a device that CellHerd does not know well.

    The file holds serial numbers. Nothing is ever written to the battery.

    Examples:

    cellherd capture --driver jbd --link serial:/dev/ttyUSB0 -o jbd.jsonl --seconds 120

    cellherd capture van -o van.jsonl    (a device of edge.toml; a cloud's keys stay in their files)
    """
    device = by_hand(name, link, address, ask=False) if name and link else by_stack(stack, config, address, ask=False)
    known, clock = device.driver, SystemClock()
    said = Text("")
    with closing(open_link(device.link, known)) as line, _new(out) as file:
        recorder = Recorder(line, file, known, clock.wall)
        until = clock.boot() + round(seconds * 1000)
        step = (
            listening(device, recorder, period_s, SystemClock()) if known.feed else _asking(device, recorder, period_s)
        )
        with suppress(KeyboardInterrupt), Console(stderr=True).status(f"recording {known.name}; Ctrl-C ends it"):
            said = _record(step, lambda: clock.boot() < until, file, round(max_mb * 1_000_000))
    Console().print(said, end="")
    _tell(out, device.link)


def _new(path: Path) -> TextIO:
    try:
        return path.open("x", encoding="utf-8")
    except FileExistsError:
        raise CellherdError(f"{path}: exists already and may be somebody's evidence; name another file") from None
    except OSError as error:
        raise CellherdError(f"{path}: cannot be written, {error.strerror}") from None


def _record(step: Callable[[], None], time_left: Callable[[], bool], file: TextIO, most: int) -> Text:
    """Step by step until the time is over or the file is full, which the text tells."""
    while True:
        step()
        if file.tell() >= most:
            return Text(
                f"Stopped: the file is full at {most / 1_000_000:g} MB; --max-mb allows more.\n", style="yellow"
            )
        if not time_left():
            return Text("")


def listening(device: Device, line: Link, period_s: float, clock: Clock) -> Callable[[], None]:
    """A step of hearing what is said unasked; before it the driver's listed questions, where it must put them."""
    known, due = device.driver, 0
    asker = Asker(known, clock.boot())

    def step() -> None:
        nonlocal due
        now = clock.boot()
        if now >= due and asker.free(now):
            due = now + round(max(period_s, KEEP_S) * 1000)
            asker.plan(device, known.poll)
        pause = asker.speak(line, now)
        chunk = line.hear(LISTEN_S if pause is None else min(pause, LISTEN_S))
        if chunk is not None:
            asker.other_master(chunk, now)

    return step


def _asking(device: Device, line: Link, period_s: float) -> Callable[[], None]:
    """Who it is and what moves slowly at first, then a reading each period; silence is part of the record."""
    due = [device.driver.identify, device.driver.seldom]
    pause = Event()

    def step() -> None:
        for poll in (device.driver.poll, *due):
            with suppress(Silent, BadFrame):
                talk(device, line, poll)
        due.clear()
        pause.wait(period_s)

    return step


def _tell(path: Path, link: str) -> None:
    """What is in the file, read back as `replay` will read it."""
    _, exchanges = read_capture(path)
    told = [exchange for exchange in exchanges if exchange.answer]
    if not told:
        path.unlink()
        raise CellherdError(f"{link}: nothing was heard, so there is no file; `cellherd scan` finds the right settings")
    took = (exchanges[-1].ts - exchanges[0].ts) / 1000
    size = path.stat().st_size / 1000
    broken = sum(exchange.failed is not None for exchange in told)
    answers = f"{len(told) - broken} answers" + (f" and {broken} that are none" if broken else "")
    typer.echo(f"{path}: {answers} in {took:.0f} s, {size:.1f} kB. Look at it: cellherd replay {path}")
