"""`cellherd demo`: the whole product on one machine. The batteries are simulated, everything else is the real thing.

It only starts the commands that a person would start, one process each, and looks at their results.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cellherd.errors import CellherdError
from cellherd.paths import default_state

MARK = ".cellherd-demo"
"""Stands in every folder that a demo made, and only there: nothing else is ever cleared."""
SERVER = ("--config", "fleet.toml", "--state", "server")
WORN = "lake-view/barn/m4"
"""The module that is behind its knee, in the year that the demo makes up."""
PATIENCE_S, LOOK_S = 120, 0.2
BARS = (TextColumn("{task.description:<38}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())


@dataclass(slots=True)
class Told:
    """What an emulated site last said of itself."""

    done: int = 0
    of: int = 1
    unsent: int | None = None
    live: int = 0
    past: bool = False


@dataclass(slots=True)
class Stage:
    """The demo's folder and the processes on it."""

    folder: Path
    listen: str
    stack: ExitStack
    told: dict[str, Told] = field(default_factory=dict)
    children: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> subprocess.Popen[str]:
        """Start `cellherd words...`; it is ended with the demo. What it says goes to logs/."""
        log = self.stack.enter_context((self.folder / "logs" / f"{name}.log").open("w"))
        child = subprocess.Popen(
            [sys.executable, "-m", "cellherd", *words],
            stdout=subprocess.PIPE if name.startswith("site-") else log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **({"CELLHERD_BROKER__LISTEN": self.listen} if name == "server" else {})},
            text=True,
            start_new_session=True,  # Ctrl-C is for the demo, which ends its children in order
        )
        self.children[name] = child
        self.stack.callback(end, child)
        return child

    def check(self) -> None:
        """Raise CellherdError if a process has ended that should not have."""
        for name, child in self.children.items():
            if child.poll() is not None:
                raise CellherdError(f"{name} ended with code {child.returncode}: {self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """The last line of a process's log, and where the rest is."""
        path = self.folder / "logs" / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} ({path})"


def end(*children: subprocess.Popen[str]) -> None:
    """Ask processes to stop, all at once, and make one that does not within ten seconds."""
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout:
            child.stdout.close()


def demo(
    state: Annotated[Path | None, typer.Option(help="Folder of the demo; cleared if a demo made it.")] = None,
    hours: Annotated[float, typer.Option(help="History to make.", min=1, max=24 * 14)] = 48,
    live: Annotated[float, typer.Option(help="Seconds to read the emulated batteries live.", min=5)] = 8,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """See it all: a simulated fleet of four sites and 24 modules, live, on this machine, in about a minute.

    Emulated batteries speak their real protocols on pseudo terminals, a TCP port and a CAN line. Edges read them
    and publish over MQTT, the ingester stores every reading, and the simulator makes up the year before. The night's
    work finds a weak cell, a worn module and a lockout that repeats, and a report shows it. Needs no network, no
    root, no Docker; leaves nothing running.

    Example: cellherd demo --open
    """
    folder = state or default_state() / "demo"
    clear(folder)
    console = Console()
    console.print(f"[bold]A simulated fleet[/] in {folder}: every number in it is made up by emulated batteries.")
    with ExitStack() as stack:
        stage = Stage(folder, f"127.0.0.1:{free_port()}", stack)
        progress = stack.enter_context(Progress(*BARS, console=console))
        play(stage, progress, hours, live)
    run(stage, console, "archive", "past", *SERVER, "--worn", WORN)
    run(stage, console, "nightly", "--due", *SERVER)
    report = folder / "report.html"
    run(stage, console, "report", *SERVER, "-o", report.name)
    _goodbye(console, folder, report)
    if show:
        webbrowser.open(report.resolve().as_uri())


def _goodbye(console: Console, folder: Path, report: Path) -> None:
    console.print(f"\n[bold green]The report:[/] {report}", soft_wrap=True)
    console.print(f"Archive, logs and configs are in {folder}; nothing is left running. Run it again at any time.")
    live = ["cellherd", "serve", "--config", str(folder / "fleet.toml"), "--state", str(folder / "server")]
    console.print(f"The live page:\n  {shlex.join(live)}", soft_wrap=True, highlight=False, markup=False)


def clear(folder: Path) -> None:
    """An empty demo folder. Raises CellherdError rather than touch a folder that no demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise CellherdError(f"{folder} is not empty and no demo made it; give another folder with --state")
        shutil.rmtree(folder)
    (folder / "logs").mkdir(parents=True)
    (folder / MARK).touch()
    fleet = resources.files("cellherd").joinpath("demo_fleet")
    for source in fleet.iterdir():
        (folder / source.name).write_text(source.read_text(encoding="utf-8"))


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def play(stage: Stage, progress: Progress, hours: float, live: float) -> None:
    """Server, sites and edges up; history made and sent; live readings for a while; everything down again."""
    sites = sorted(p.stem for p in stage.folder.glob("*.toml") if p.stem != "fleet")
    with step(progress, "starting the broker and the ingester"):
        stage.start("server", "ingest", "run", "--config", str(stage.folder / "fleet.toml"), *_state(stage, "server"))
        wait(stage, lambda: all(_password(stage, site).exists() for site in sites))
    for site in sites:
        _emulate(stage, site, hours)
    making = progress.add_task(f"{hours:g} hours of history, as frames", told="", total=1)
    wait(stage, lambda: _making(stage, progress, making))
    sending = progress.add_task("sending it through broker and ingester", told="", total=1)
    reading = progress.add_task("live readings from the emulators", told="", total=live)
    # not `and`: both look each time, since reading begins while the past is still on its way
    wait(stage, lambda: _sending(stage, progress, sending) & _reading(stage, progress, reading), live)
    with step(progress, "writing the last of them to the archive"):
        end(*(stage.children.pop(f"edge-{site}") for site in sites))
        end(*(stage.children.pop(name) for name in ["server", *(f"site-{site}" for site in sites)]))


def _state(stage: Stage, name: str) -> tuple[str, str]:
    return "--state", str(stage.folder / name)


def _password(stage: Stage, site: str) -> Path:
    return stage.folder / "server" / "broker" / "secrets" / site


def _emulate(stage: Stage, site: str, hours: float) -> None:
    stage.told[site] = Told()
    words = ["edge", "emulate", str(stage.folder / f"{site}.toml"), "--out", str(stage.folder / site)]
    words += ["--history-hours", str(hours), "--mqtt-url", f"mqtt://{stage.listen}"]
    child = stage.start(f"site-{site}", *words, "--password-file", str(_password(stage, site)))
    Thread(target=_listen, args=(child, stage.told[site]), daemon=True).start()


def _listen(child: subprocess.Popen[str], told: Told) -> None:
    for line in child.stdout or ():
        said: dict[str, Any] = json.loads(line)
        for name, value in said.items():
            setattr(told, name, value)


def _making(stage: Stage, progress: Progress, task: Any) -> bool:
    """How far the past of the sites is; an edge begins to send once its own is made."""
    for site, told in stage.told.items():
        if told.past and f"edge-{site}" not in stage.children:
            words = ("--config", str(stage.folder / site / "edge.toml"), *_state(stage, f"{site}/state"))
            stage.start(f"edge-{site}", "edge", "run", *words)
    done, of = (sum(getattr(t, name) for t in stage.told.values()) for name in ("done", "of"))
    progress.update(task, completed=done, total=of, told=f"{done:,} readings")
    return all(f"edge-{site}" in stage.children for site in stage.told)  # a past may have been told of since


def _sending(stage: Stage, progress: Progress, task: Any) -> bool:
    of = sum(t.done for t in stage.told.values())
    left = sum(of if t.unsent is None else t.unsent for t in stage.told.values())
    progress.update(task, completed=max(0, of - left), total=of, told=f"{max(0, of - left):,} receipted")
    return left <= len(stage.told) * 16  # live ones are always on their way


def _reading(stage: Stage, progress: Progress, task: Any) -> bool:
    """Counts from when every edge has read something, while it still sends the past."""
    lives = [t.live for t in stage.told.values()]
    progress.update(task, advance=LOOK_S if all(lives) else 0, told=f"{sum(lives):,} readings")
    finished: bool = progress.tasks[task].finished
    return finished


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """A bar without numbers, for work that cannot say how far it is."""
    task = progress.add_task(what, total=None, told="")
    yield
    progress.update(task, total=1, completed=1)


def wait(stage: Stage, ready: Any, at_least: float = 0) -> None:
    """Until `ready()`, which takes so many seconds; raises CellherdError if a process dies or nothing comes of it."""
    patience = PATIENCE_S + round(at_least)
    for _ in range(round(patience / LOOK_S)):
        if ready():
            return
        Event().wait(LOOK_S)
        stage.check()
    raise CellherdError(f"the demo got no further within {patience} s; its logs are in {stage.folder / 'logs'}")


def run(stage: Stage, console: Console, *words: str) -> None:
    """Run a command in the demo's folder to its end, in the terminal."""
    console.print(f"\n[bold]$ cellherd {' '.join(words)}[/]", highlight=False)
    command = [sys.executable, "-m", "cellherd", *words]
    code = subprocess.run(command, cwd=stage.folder, check=False).returncode
    if code:
        raise CellherdError(f"`cellherd {' '.join(words)}` ended with code {code}")
