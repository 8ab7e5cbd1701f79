"""The stores as the intake sees them: a process of their own that is told what is sealed and says how far it is.

Decoding and storing need a processor of their own, and a store that takes its process down must not stop the intake.
So the intake receives, keeps the journal and alone deletes from it; the storing process (`pipeline.storing.process`)
only reads sealed segments. It is started again whenever it dies: every store knows by itself what it has.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Protocol

from pydantic import BaseModel

from cellherd.settings import FleetConfig
from pipeline.edges import Edge

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
DRAIN_S = 10.0
"""What the stores get at the end for what is sealed but not stored; the rest stays in the journal."""
LARGEST = 2**18
"""Bytes of one message to or from the storing process."""
STORING = (sys.executable, "-m", "pipeline.storing.process")
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_ENVIRONMENT = {"POLARS_MAX_THREADS": "1", "_RJEM_MALLOC_CONF": "dirty_decay_ms:10000"}
"""Each store has a thread already; for a segment's few rows a pool costs a third more (tests.bench.end_to_end).
Polars' jemalloc keeps room that was used for ten seconds and not for half of one: then the next segment finds it.
"""
log = logging.getLogger(__name__)


class Task(BaseModel):
    """What the storing process is told at its start. `control` is its end of the line, a file descriptor."""

    config: FleetConfig
    state: Path
    series: str
    upto: int
    parent: int
    control: int


class Stores(Protocol):
    """Whoever brings sealed segments to the stores."""

    def start(self, series: str, upto: int, moved: Callable[[int], None]) -> None:
        """Begin; segments up to `upto` are sealed. `moved` is told the last segment that every store has."""

    def announce(self, upto: int) -> None:
        """Segments up to here are sealed."""

    def renew(self, config: FleetConfig) -> None:
        """The registry was read again."""

    def alive(self) -> bool:
        """Whether this still works, or at least tries to."""

    def status(self) -> dict[str, Any]:
        """By store what pipeline.storing.sinks.Feeder tells: `at`, the last segment that it has, `trouble`, ..."""

    def pid(self) -> int | None:
        """The id of the process that stores, None where there is none of its own."""

    def stop(self) -> None:
        """Give the stores a moment for what is announced, then end."""


class Storeroom:
    """The storing process and the thread that starts it, listens to it, and starts it again."""

    def __init__(self, config: FleetConfig, state: Path, command: Sequence[str] = STORING) -> None:
        self._config, self._state, self._command = config, state, command
        self._series, self._upto = "", 0
        self._moved: Callable[[int], None] = lambda _upto: None
        self._said: dict[str, Any] = {}
        self._trouble = ""
        self._stopping = Event()
        self._lock = Lock()
        self._line: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._supervise, name="storeroom", daemon=True)

    def start(self, series: str, upto: int, moved: Callable[[int], None]) -> None:
        """See Stores."""
        self._series, self._upto, self._moved = series, upto, moved
        self._thread.start()

    def announce(self, upto: int) -> None:
        """See Stores."""
        self._upto = upto
        self._tell({"upto": upto})

    def tell_edges(self, known: Mapping[str, Edge]) -> None:
        """Say how the collectors are, for the stores that show it; the next time says more, so it may get lost."""
        for name, edge in known.items():
            self._tell({"edge": name, "last_seen": edge.last_seen, "status": edge.status, "health": edge.health})

    def renew(self, config: FleetConfig) -> None:
        """Go on with the sites of a registry that was read again: the process ends in order and a new one begins."""
        self._config = self._config.model_copy(update={"site": config.site, "installer": config.installer})
        self._hang_up()

    def alive(self) -> bool:
        """See Stores."""
        return self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """See Stores."""
        told = {"trouble": self._trouble} if self._trouble else {}
        return {name: {**store, **told} for name, store in self._said.items()}

    def pid(self) -> int | None:
        """The storing process's id while there is one."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def stop(self) -> None:
        """See Stores."""
        with self._lock:
            self._stopping.set()
        self._hang_up()
        self._thread.join(DRAIN_S + 5)
        if self._thread.is_alive() and self._child is not None:
            log.warning("the storing process does not end; it is killed, and goes on from the journal next time")
            self._child.kill()
            self._thread.join(5)

    def _hang_up(self) -> None:
        with self._lock:
            if self._line is not None:
                with suppress(OSError):  # it died just now
                    self._line.shutdown(socket.SHUT_WR)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while (line := self._spawn()) is not None:
            useful = self._listen(line)
            code = self._child.wait() if self._child else 0
            line.close()
            if self._stopping.is_set():
                return
            if code == 0:  # we hung up, for it to begin with a new registry
                continue
            pause = FIRST_PAUSE_S if useful else min(2 * pause, LONGEST_PAUSE_S)
            self._trouble = f"the storing process ended with code {code}"
            log.error("%s; starting it again in %.1f s", self._trouble, pause)
            self._stopping.wait(pause)

    def _spawn(self) -> socket.socket | None:
        """Our end of the line to a new process, None if it is too late for one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            if self._stopping.is_set():
                ours.close()
                return None
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for us; we tell it when the last segment is sealed
                env=_ENVIRONMENT | os.environ,
            )
            self._line = ours
            control = theirs.fileno()
        pipe = self._child.stdin
        if pipe is not None:
            with suppress(BrokenPipeError), pipe:
                pipe.write(self._task(control).model_dump_json().encode())
        self.announce(self._upto)  # what was sealed since the task was written
        return ours

    def _task(self, control: int) -> Task:
        return Task(
            config=self._config,
            state=self._state,
            series=self._series,
            upto=self._upto,
            parent=os.getpid(),
            control=control,
        )

    def _listen(self, line: socket.socket) -> bool:
        """Take reports until the process is gone. Returns whether any store got further."""
        before = self._least()
        with suppress(ConnectionResetError):
            while report := line.recv(LARGEST):
                self._said, self._trouble = json.loads(report), ""
                self._moved(self._least())
        return self._least() > before

    def _least(self) -> int:
        return min((store["at"] for store in self._said.values()), default=0)

    def _tell(self, message: Mapping[str, Any]) -> None:
        """Never waits: the one who tells is the intake."""
        line = self._line
        if line is not None:
            with suppress(OSError):  # it died or hangs; a new one is told in its task
                line.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)
