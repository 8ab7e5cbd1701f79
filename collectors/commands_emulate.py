"""`cellherd edge emulate`: a site of emulated batteries that an edge can read, and a past for it to send."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from heapq import merge
from itertools import islice
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from cellherd.clock import Clock, SystemClock
from cellherd.reading import as_row
from cellherd.signals import sets
from collectors.emulators import fleet, site
from collectors.entries import About, Entry
from collectors.outbox import Outbox
from collectors.safekeeping import FILE

CAP_BYTES = 512 * 2**20
COMMIT = 2_000
"""Readings of the past in one commit."""
TELL_S = 0.5


def emulate(  # noqa: PLR0913, PLR0917 - each parameter is an option that a person types
    file: Annotated[Path, typer.Argument(help="The site: stacks, drivers, batteries; see cellherd/demo_fleet.")],
    out: Annotated[Path, typer.Option(help="Folder for edge.toml and the edge's state.")] = Path("emulated"),
    history_hours: Annotated[float, typer.Option(help="Hours of past to put into the edge's outbox.")] = 0,
    step_s: Annotated[float, typer.Option(help="Seconds between readings of the past.")] = 60,
    period_s: Annotated[float, typer.Option(help="Seconds between live readings.")] = 5,
    mqtt_url: Annotated[str, typer.Option(help="The broker for edge.toml.")] = "mqtt://127.0.0.1:1883",
    password_file: Annotated[Path | None, typer.Option(help="The edge's password, for edge.toml.")] = None,
) -> None:
    """Bring a site's emulated batteries to life, until Ctrl-C.

    They answer with real protocol bytes on pseudo terminals, TCP ports and CAN lines; `cellherd edge run --config
    OUT/edge.toml --state OUT/state` reads them. What it does is told as one JSON object a line.

    Example: cellherd edge emulate barn.toml --out emulated --history-hours 48
    """
    stop = Event()
    sets(stop, signal.SIGTERM, signal.SIGINT)
    spec, clock = site.load(file), SystemClock()
    state = out / "state"
    state.mkdir(parents=True, exist_ok=True)
    devices = [site.emulated(device) for device in spec.device]
    if history_hours:
        past = span(clock.wall(), history_hours, step_s)
        told = merge(*(site.past(s, d, past) for s, d in zip(spec.device, devices, strict=True)), key=attrgetter("ts"))
        total = len(past) * sum(len(device.module) for device in spec.device)
        _keep(_entries(told, clock), Outbox(state / FILE, clock, CAP_BYTES), total, stop)
    running = fleet.start(devices, clock)
    mqtt = {"url": mqtt_url} | ({"password_file": str(password_file)} if password_file else {})
    (out / "edge.toml").write_text(site.edge_toml(spec, running, mqtt, period_s))
    _tell(past=True)
    while not stop.wait(TELL_S):
        _tell(**_waiting(state / FILE))
    for one in running:
        one.stop()


def span(now: int, hours: float, step_s: float) -> range:
    """The past to live through, ms UTC; ends one step before now."""
    step = round(step_s * 1000)
    return range(now - round(hours * 3_600_000), now - step, step)


def _keep(entries: Iterator[Entry], outbox: Outbox, total: int, stop: Event) -> None:
    done = 0
    while not stop.is_set() and (rows := outbox.commit(list(islice(entries, COMMIT)))):
        done += len(rows)
        _tell(done=done, of=max(total, done))
    outbox.close()


def _entries(told: Iterator[site.Told], clock: Clock) -> Iterator[Entry]:
    boot, since = clock.boot_id(), clock.wall() - clock.boot()
    for one in told:
        kind, name, event = one.measured.kind, one.device.driver.name, "info" if one.identity else ""
        about = About(one.device.stack, one.module, kind, name, event, one.ts, one.ts - since, "ntp", boot)
        body = {**one.measured.info, "limits": one.measured.limits} if event else as_row(one.measured)
        yield Entry(about, body, urgent=one.identity)


def _waiting(path: Path) -> dict[str, int]:
    """Rows without a receipt, and rows read live: those of the newest opening, once an edge has opened the outbox."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            waiting, epochs = db.execute("select coalesce(sum(waiting), 0), count(*) from epoch").fetchone()
            live = db.execute("select last_seq from epoch order by n desc limit 1").fetchone()
    except sqlite3.OperationalError:  # without a past there is no outbox until an edge makes one
        return {}
    return {"unsent": waiting, "live": live[0]} if epochs > 1 else {}


def _tell(**said: object) -> None:
    typer.echo(json.dumps(said))
