"""The command line. Each room brings its own commands; a room is opened only when one of them is called for."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.console import Console

from cellherd import __version__
from cellherd.errors import CellherdError
from cellherd.secrecy import LEVEL, begin_log, guard_tracebacks, redacted


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its words, the function that does it, and what the help says before the room is opened."""

    words: str
    target: str
    about: str


COMMANDS = (
    Command("demo", "cellherd.demo:demo", "See it all: a simulated fleet, live, on this machine, in about a minute."),
    Command("decode", "collectors.commands:decode", "Decode frames of a BMS from hex or text into JSON lines."),
    Command("drivers", "collectors.commands:drivers", "List the devices that CellHerd reads, and over what."),
    Command("read", "collectors.commands_read:read", "Read a battery now and show it: cells, amps, faults in words."),
    Command("scan", "collectors.commands_scan:scan", "Find out which battery hangs on which port."),
    Command("capture", "collectors.commands_capture:capture", "Record what a battery says, byte for byte."),
    Command("replay", "collectors.commands_read:replay", "Decode a recorded conversation with a BMS again."),
    Command("edge run", "collectors.commands_edge:run", "Read this site's batteries and publish them, losing none."),
    Command("edge emulate", "collectors.commands_emulate:emulate", "Emulated batteries for an edge to read."),
    Command("enroll", "pipeline.commands_enrol:enroll", "Let an edge in: its login, rights and a ready config for it."),
    Command("revoke", "pipeline.commands_enrol:revoke", "Shut an edge out at once, its live connection included."),
    Command("broker certificate", "pipeline.commands_broker:certificate", "Make or renew the broker's certificate."),
    Command("broker acl", "pipeline.commands_broker:acl", "Write users and rights for a Mosquitto of your own."),
    Command("ingest run", "pipeline.commands:ingest_run", "Take readings in and write them to every store."),
    Command("ingest status", "pipeline.commands:ingest_status", "Show each edge, and which of its numbers never came."),
    Command("nightly", "pipeline.commands_nightly:nightly", "Work out a day's tables and findings."),
    Command("validate", "pipeline.commands_validate:validate", "How right the analyses are: figures beside targets."),
    Command("report", "pipeline.commands_report:report", "Write the report as one HTML file."),
    Command("serve", "pipeline.commands_serve:serve", "Show the fleet in a browser: live page and report."),
    Command("simulate", "pipeline.commands_simulate:simulate", "Make a fleet that does not exist, with the truth."),
    Command("events list", "pipeline.commands_events:list_events", "List fault events in words, and why they came."),
    Command("events replay", "pipeline.commands_events:replay_events", "Find the events of readings that came late."),
    Command("archive import", "pipeline.commands_import:import_", "Bring measured data of others into the archive."),
    Command("notify run", "pipeline.commands_notify:run", "Tell people what is found, within seconds."),
    Command("alerts list", "pipeline.commands_alerts:list_alerts", "List the alerts that are open."),
    Command("alerts show", "pipeline.commands_alerts:show", "Show one alert and every message about it."),
    Command("alerts ack", "pipeline.commands_alerts:ack", "Take an alert on, or snooze it."),
    Command("alerts silence", "pipeline.commands_alerts:silence", "Keep troubles back during planned work."),
    Command("alerts history", "pipeline.commands_alerts:history", "Show who was sent what, and what became of it."),
    Command("archive past", "pipeline.commands_past:give", "Give a simulated fleet a past of months, aged by law."),
    Command("alerts test", "pipeline.commands_alerts:test", "Send a sample alert through every route."),
    Command(
        "deadletter list", "pipeline.commands:deadletter_list", "Show messages that could not be taken in, and why."
    ),
    Command("deadletter replay", "pipeline.commands:deadletter_replay", "Try dead letters again."),
    Command("archive upkeep", "pipeline.commands_archive:upkeep", "Sort, thin and clean the archive now."),
    Command("archive show", "pipeline.commands_archive:show", "What lies in the archive, and what it weighs."),
    Command("influx setup", "pipeline.commands_influx:setup", "Make buckets, InfluxQL names and tokens in InfluxDB 2."),
    Command("influx fill", "pipeline.commands_influx:fill", "Write the archive into InfluxDB once more."),
    Command("dashboards build", "dashboards.commands:build", "Write the Grafana dashboards as JSON."),
    Command("dashboards check", "dashboards.commands_check:check", "Schemas, links, questions asked of InfluxDB."),
    Command("dashboards render", "dashboards.commands_check:render", "Draw the dashboards without Grafana."),
    Command("dashboards push", "dashboards.commands:push", "Send the dashboards to a Grafana."),
    Command("flows serve", "pipeline.commands_flows:serve", "Run the nightly work under Prefect's schedule."),
    Command("faults show", "cellherd.commands_faults:show", "Explain a fault, a code or what the display shows."),
    Command("faults add", "pipeline.commands_faults:add", "Enter a code that a person read off a battery."),
    Command("config check", "cellherd.commands:check", "Check edge.toml or fleet.toml; all errors at once."),
    Command("config schema", "cellherd.commands:schema", "Print the JSON Schema of a config file, for editors."),
    Command("init", "cellherd.commands_init:init", "Write a first config: a few questions, then what comes next."),
    Command("support-bundle", "cellherd.commands_support:support_bundle", "One zip for who helps, without secrets."),
    Command("doctor", "cellherd.commands:doctor", "Look for what would keep this machine from working."),
)
GROUPS = {
    "edge": "The collector on a Raspberry Pi.",
    "ingest": "The server's intake.",
    "events": "Faults as they came and went.",
    "broker": "Certificates and rights of the MQTT broker.",
    "alerts": "What people are told.",
    "archive": "The readings and tables on disk.",
    "notify": "Whoever tells them.",
    "deadletter": "Messages that could not be taken in.",
    "influx": "The dashboards' store.",
    "dashboards": "Grafana dashboards.",
    "faults": "What faults and codes mean, and what to do.",
    "flows": "The nightly work under Prefect.",
    "config": "Config files.",
}
EXTRAS = {"collectors": "edge", "pipeline": "server", "dashboards": "dashboards"}
DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def main() -> None:
    """Run the command line; errors that a person can mend are one line, without a traceback unless --debug."""
    completing = os.environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:]
    debug = "--debug" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--debug"]
    guard_tracebacks()
    if debug:
        os.environ.setdefault(LEVEL, "debug")
    begin_log("%(levelname)s %(message)s", level=logging.WARNING)
    try:
        app_for(completing or words)(args=words)
    except CellherdError as error:
        if debug:
            raise
        _say(str(error))
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        if debug or error.errno not in DISK_REFUSES:
            raise
        _say(f"the disk takes no more: {error.strerror}{f' ({error.filename})' if error.filename else ''}")
        raise SystemExit(CellherdError.exit_code) from None
    except KeyboardInterrupt:
        if debug:
            raise
        raise SystemExit(130) from None


def _say(why: str) -> None:
    told = redacted(f"cellherd: {why}")
    Console(stderr=True, soft_wrap=True).print(told, style="red", markup=False, highlight=False)


def app_for(words: list[str]) -> typer.Typer:
    """All commands by name and help, and only the one that `words` call for with its code."""
    app = typer.Typer(
        name="cellherd",
        help="Watch a fleet of batteries: every BMS, no reading lost, faults in plain words.",
        epilog="Begin with: cellherd demo",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    groups = {name: typer.Typer(help=about, no_args_is_help=True) for name, about in GROUPS.items()}
    for name, group in groups.items():
        app.add_typer(group, name=name)
    for command in COMMANDS:
        path = command.words.split()
        called = words[: len(path)] == path
        place = app if len(path) == 1 else groups[path[0]]
        place.command(path[-1], short_help=command.about)(_open(command) if called else _closed(command))
    return app


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cellherd {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", is_eager=True, callback=_say_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and log at debug level.")] = False,
) -> None:
    """Hold the options of every command: --version is said before anything else, --debug is read by main()."""


def _closed(command: Command) -> Callable[[], None]:
    def closed() -> None:
        raise AssertionError(f"{command.words} was called but not opened")

    closed.__doc__ = command.about
    return closed


def _open(command: Command) -> Callable[..., Any]:
    module, _, function = command.target.partition(":")
    with _extra(command):
        opened: Callable[..., Any] = getattr(import_module(module), function)

    @wraps(opened)
    def run(*args: Any, **options: Any) -> Any:
        with _extra(command):  # a command opens what is heavy when it is called
            return opened(*args, **options)

    return run


@contextmanager
def _extra(command: Command) -> Iterator[None]:
    """Raises CellherdError that names the extra where a package of the command's room is not installed."""
    room = command.target.partition(".")[0]
    try:
        yield
    except ModuleNotFoundError as error:
        if room not in EXTRAS or (error.name or "").partition(".")[0] in (room, "cellherd"):
            raise
        raise CellherdError(
            f"`cellherd {command.words}` needs {error.name}; install it with: pip install 'cellherd[{EXTRAS[room]}]'"
        ) from None


if __name__ == "__main__":
    main()
