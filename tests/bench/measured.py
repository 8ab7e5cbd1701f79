"""What is measured of a process that takes readings, whatever it does with them."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic, process_time

import psutil

from tests.bench.load import Odometer

pause = Event()


@dataclass(frozen=True)
class Task:
    """What a measured process is told."""

    state: str
    port: int
    username: str
    password: str
    each: int
    ca: str = ""
    """The authority of the broker's certificate; "" = no TLS."""


def measured(task: Task, came: Callable[[], int], finish: Callable[[], None]) -> dict[str, float]:
    """Wall seconds, CPU seconds and MiB from the first message until `finish` has stored the last of them."""
    us = psutil.Process()
    family = [us, *us.children()]
    stopped, most = Event(), [0]

    def watch() -> None:
        odometer = Odometer(Path(task.state) / "odometer")
        while not stopped.wait(0.01):
            odometer.show(came())
            with suppress(psutil.NoSuchProcess):  # the storing process ends before us
                most[0] = max(most[0], sum(one.memory_info().rss for one in family))

    used, child = cpu(family), cpu(family[1:])
    print("ready", flush=True)
    Thread(target=watch, daemon=True).start()
    load = json.loads(sys.stdin.readline())
    while came() < load["messages"]:
        assert monotonic() < load["begun"] + 300, f"only {came()} of {load['messages']} came"
        pause.wait(0.01)
    finish()
    wall = monotonic() - load["begun"]
    stopped.set()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    storing = children.ru_utime + children.ru_stime - child
    spent = process_time() + children.ru_utime + children.ru_stime - used
    told = {"wall": wall, "cpu": spent, "storing": storing, "rss": most[0] / 2**20}
    return told | {"readings": load["messages"] * task.each}


def cpu(family: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (one.cpu_times() for one in family))


def answer(measure: Callable[[Task], dict[str, float]]) -> None:
    """Do what the command line tells, and print the figures."""
    print(json.dumps(measure(Task(**json.loads(sys.argv[1])))), flush=True)
    os._exit(0)
