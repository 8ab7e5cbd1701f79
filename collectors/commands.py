"""`cellherd decode` and `cellherd drivers`: what needs no port, only bytes that somebody has."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cellherd.errors import BadFrame, ConfigError
from collectors.decode import HEX, parse, results
from collectors.drivers import WHERE, driver
from collectors.kernel import CanFrame, Driver


def decode(
    name: Annotated[str, typer.Argument(metavar="DRIVER", help="A name from `cellherd drivers`.")],
    frames: Annotated[
        list[str] | None,
        typer.Argument(metavar="FRAME...", help="Hex, ID#DATA for CAN, the text itself; - reads lines from stdin."),
    ] = None,
    request: Annotated[
        str | None, typer.Option(help="The request these frames answer, where they do not tell it themselves.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take the frames from a file: one a line, or a whole console answer."),
    ] = None,
) -> None:
    """Decode frames of a BMS into JSON lines, one for each frame and module.

    Names and units are those of a reading: mV, mA (charging positive), 0.1 %, 0.1 degC. A bad frame gives
    {"error": "bad_frame", ...}; decoding goes on, and the exit code is 1.

    Examples:

    cellherd decode jbd dd0400080d660d610d680d59fe3c77

    cellherd decode jk_modbus --request 010312bc00020097 0103040005a823d42b

    cellherd decode pylontech_can 356#7A13F2FE6B01 359#0000000006504E

    cellherd decode pylontech_rs485 --text answers.txt

    cellherd decode pylontech_console --text pwr.txt
    """
    known = driver(name)
    if not frames and text is None:
        raise typer.BadParameter("give a frame, - for standard input, or --text FILE")
    asked = None if request is None else _request(known, request)
    bad = False
    for said in results(known, _texts(known, frames or [], text), asked):
        typer.echo(json.dumps(said))
        bad = bad or "error" in said
    if bad:
        raise typer.Exit(1)


def _request(known: Driver, text: str) -> bytes:
    try:
        chunk = parse(known, text)
    except BadFrame as error:
        raise typer.BadParameter(f"--request: {error.reason}") from None
    return chunk.data if isinstance(chunk, CanFrame) else chunk


def _texts(known: Driver, frames: list[str], path: Path | None) -> Iterator[str]:
    if path is not None:
        try:
            yield from _frames(known, path.read_bytes())
        except OSError as error:
            raise ConfigError(str(path), [error.strerror or "cannot be read"]) from None
    for frame in frames:
        if frame == "-":
            yield from _frames(known, sys.stdin.buffer.read()) if known.spans_lines else filter(str.strip, sys.stdin)
        else:
            yield frame


def _frames(known: Driver, data: bytes) -> Iterator[str]:
    """One a line, or the whole text of a driver whose frames span lines, unless every line is hex.

    A lone byte above 127, as in a checksum, is never UTF-8.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = list(filter(str.strip, text.splitlines()))
    whole = known.spans_lines and not all(HEX.fullmatch(line.strip()) for line in lines)
    return iter([text] if whole else lines)


def drivers() -> None:
    """List the devices that CellHerd reads, and over what.

    Example: cellherd drivers
    """
    known = [driver(name) for name in sorted(WHERE)]
    for each in known:
        typer.echo(f"{each.name:<24}{', '.join(each.links):<14}{each.title}. {each.line}")
