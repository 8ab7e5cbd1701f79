"""What the doctor looks at on an edge: its ports, its line to the broker, and what waits to be sent."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from cellherd import topics
from cellherd.doctor import Found
from cellherd.settings import Device, EdgeConfig
from collectors.publish import GRACE_S, KEEPALIVE_S, Line, line_of
from collectors.safekeeping import FILE

SOMEBODY_ELSE = "cellherd-doctor-asks-for-another"
"""An edge that does not exist: what is meant for it must not be given to us."""
MANY_ROWS = 100_000
PORTS = ("serial:/dev/", "modbus:/dev/", "slcan:/dev/")


def examine(config: EdgeConfig, state: Path) -> Iterator[Found]:
    """Ports, CAN interfaces, outbox, broker. Opens no port: a running edge keeps its own."""
    for device in config.device:
        yield from _port(device)
    outbox = state / FILE
    users = _holders(outbox)
    yield from _outbox(outbox)
    if users:
        yield Found("ok", f"an edge works here (process {users[0]}); its log tells of the broker")
    else:
        yield from _broker(line_of(config, "doctor"))


def _port(device: Device) -> Iterator[Found]:
    place = device.link.partition(":")[2].partition("?")[0]
    if device.link.startswith("can:"):
        yield _can(place)
    if not device.link.startswith(PORTS):
        return
    port = Path(place)
    if not port.exists():
        yield Found("fail", f"{device.link} is not there", "ls -l /dev/serial/by-path; is the adapter plugged in?")
    elif not os.access(port, os.R_OK | os.W_OK):
        yield Found("fail", f"{place} cannot be opened by you", f"usermod -aG {port.group()} $USER, then log in again")
    elif users := _holders(port):
        yield Found("warn", f"{place} is held by process {', '.join(users)}", "two programs on a port garble it")
    else:
        yield Found("ok", f"{place} is free")


def _holders(file: Path) -> list[str]:
    """Who has a file open, as `pid (name)`; of other users' processes only root sees it."""
    found, real = [], file.resolve()
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if handle.readlink() == real and int(handle.parts[2]) != os.getpid():
                name = Path("/proc", handle.parts[2], "comm").read_text(encoding="utf-8").strip()
                found.append(f"{handle.parts[2]} ({name})")
    return sorted(set(found))


def _can(name: str) -> Found:
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "ip"
    try:
        told = subprocess.run(
            [ip, "-json", "-details", "link", "show", name], capture_output=True, text=True, check=True, timeout=10
        )
        link = json.loads(told.stdout)[0]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return Found("fail", f"{name} is no CAN interface of this machine", "ip link; is the adapter's driver loaded?")
    data = link.get("linkinfo", {}).get("info_data", {})
    rate = data.get("bittiming", {}).get("bitrate")
    bring = f"ip link set {name} up type can bitrate 500000"
    if link.get("operstate") == "DOWN":
        return Found("fail", f"{name} is down", bring)
    if data.get("state") == "BUS-OFF":
        return Found("fail", f"{name} is bus-off: wrong bit rate, or the pair is swapped or open", bring)
    return Found("ok", f"{name} is up" + (f", {rate} bit/s, {data.get('state', '').lower()}" if rate else ""))


def _outbox(file: Path) -> Iterator[Found]:
    if not file.exists():
        yield Found("ok", f"no outbox yet at {file}")
        return
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            (waiting,) = db.execute("select coalesce(sum(waiting), 0) from epoch").fetchone()
    except sqlite3.Error as error:
        yield Found("warn", f"{file} cannot be read: {error}", "the edge salvages it at its next start; keep a copy")
        return
    size = file.stat().st_size // 2**20
    told = f"{waiting} rows wait in the outbox, {size} MB"
    yield Found("warn", told, "is the broker reached?") if waiting > MANY_ROWS else Found("ok", told)


class _Visit:
    """One short connection to the broker, as the edge."""

    def __init__(self, line: Line) -> None:
        self.over = Event()
        self.refusal = ""
        self.granted: list[bool] = []
        self._edge = line.edge
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=line.client_id, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(line.username, line.password)
        if line.tls is not None:
            self.client.tls_set_context(line.tls.strict)
        self.client.on_connect, self.client.on_subscribe = self._on_connect, self._on_subscribe
        self.client.on_disconnect = lambda *_: self.over.set()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            self.refusal = str(code)
            self.over.set()
            return
        client.subscribe(topics.receipt(self._edge), 0)

    def _on_subscribe(self, client: mqtt.Client, _data: Any, _mid: int, codes: Any, _more: Any) -> None:
        self.granted += [not code.is_failure for code in codes]
        if len(self.granted) == 1 and self.granted[0]:
            client.subscribe(topics.receipt(SOMEBODY_ELSE), 0)
        else:
            self.over.set()


def _broker(line: Line) -> Iterator[Found]:
    visit, where = _Visit(line), f"{line.host}:{line.port}"
    try:
        visit.client.connect(line.host, line.port, KEEPALIVE_S)
    except (OSError, ValueError) as error:
        yield Found("fail", f"the broker at {where} is not reached: {error}", "mqtt.url, mqtt.ca_file; a firewall?")
        return
    visit.client.loop_start()
    answered = visit.over.wait(GRACE_S)
    visit.client.disconnect()
    visit.client.loop_stop()
    yield _said(visit, answered, f"the broker at {where}", line.username)


def _said(visit: _Visit, answered: bool, broker: str, user: str) -> Found:
    if visit.refusal:
        mend = "mqtt.password_file; on the server: cellherd enroll EDGE --rotate"
        return Found("fail", f"{broker} refuses user {user!r}: {visit.refusal}", mend)
    if not visit.granted:
        return Found("fail", f"{broker} " + ("hangs up" if answered else "does not answer"), "its log says why")
    if not visit.granted[0]:
        return Found("fail", f"{broker} gives user {user!r} no receipts", "on the server: cellherd broker acl")
    if len(visit.granted) > 1 and visit.granted[1]:
        return Found("fail", f"{broker} lets {user!r} hear what is for others", "on the server: cellherd broker acl")
    return Found("ok", f"{broker} lets {user!r} in, and to nothing of others")
