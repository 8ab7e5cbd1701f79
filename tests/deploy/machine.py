"""A machine of our own for tests: a folder, an environment, commands to their end, and services until the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

PATIENCE_S = 120.0


@dataclass
class Machine:
    """`cellherd` on its path is this checkout's; everything it starts ends with `stop`."""

    folder: Path
    env: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        root = Path(__file__).parents[2]
        own = programs / "cellherd"
        own.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m cellherd "$@"\n')
        own.chmod(0o755)
        self.env = {**os.environ, "PYTHONFAULTHANDLER": "1", "PATH": f"{programs}:{os.environ['PATH']}", **self.env}

    def run(self, line: str, said: str = "") -> str:
        """A shell line to its end, `said` typed in; its output. Fails the test where the line fails."""
        command = ["/bin/sh", "-ec", line]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, input=said, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            pytest.fail(f"$ {line}\nended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def start(self, line: str) -> None:
        """A shell line that stays; what it says goes to a file. It is known by the line."""
        log = (self.folder / f"service-{len(self.running)}.log").open("wb")
        with log:
            self.running[line] = subprocess.Popen(
                ["/bin/sh", "-ec", f"exec {line}"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        """Until something is so. Fails with the services' last words where it never is, or where one of them ends."""
        deadline = monotonic() + PATIENCE_S
        while not ready():
            ended = [line for line, process in self.running.items() if process.poll() is not None]
            if ended or monotonic() > deadline:
                pytest.fail(f"{what}: not so; ended: {ended}\n{self.words()}")
            Event().wait(0.2)

    def end(self, line: str) -> None:
        """Stop a service as systemd and Docker do; one that does not end says in its log where its threads stand."""
        process = self.running.pop(line)
        for number in (signal.SIGTERM, signal.SIGABRT, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(40)

    def words(self) -> str:
        """The last words of every service."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("service-*.log"))


@contextmanager
def machine(folder: Path, **env: str) -> Iterator[Machine]:
    """A machine whose services are stopped at the end, the last one first."""
    made = Machine(folder, env)
    try:
        yield made
    finally:
        for line in reversed(list(made.running)):
            made.end(line)
