"""The faults of the plan. A function does its harm to the herd and takes it back; `FAULTS` is the table.

Whatever was killed is started again by the campaign.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.chaos.disk_faults import (
    broker_without_memory,
    damage,
    dies_in_memory,
    disk_errors,
    full_disk,
    full_server,
    needs_disk,
    needs_strace,
    older_copy,
    power_cut,
    read_only,
    server_cut,
)  # fmt: skip
from tests.chaos.enemy import guessed_ids, rubbish
from tests.chaos.herd import BROKER, FAKETIME, OTHER, SERVER, STORING, Herd
from tests.chaos.proxy import Mood
from tests.chaos.scene import Scene, Strike

EDGE_POINTS = (
    "hand.after_read", "outbox.before_commit", "outbox.after_commit", "sender.after_publish",
    "outbox.before_receipt", "outbox.trim",
)  # fmt: skip


SERVER_POINTS = ("journal-written", "journal-synced", "sink-written", "archive-committed")


POINT_S = 8.0


def kill(*names: str) -> Strike:
    """SIGKILL of these, "edge" for any edge; in any order, for a moment."""

    def strike(scene: Scene) -> None:
        victims = [scene.edge().name if name == "edge" else name for name in names]
        scene.random.shuffle(victims)
        for name in victims:
            scene.herd.kill(name)
            scene.hold(0, 0.5)

    return strike


def kill_at(points: Iterable[str], name: str | None = None) -> Strike:
    """Start a process that dies at one of its named points; if it does not come there, kill it anyway."""
    listed = tuple(points)

    def strike(scene: Scene) -> None:
        herd, victim = scene.herd, name or scene.edge().name
        point = scene.random.choice(listed)
        herd.kill(victim)
        environment = {"CELLHERD_FAILPOINT": f"{point}:{scene.random.randint(1, 6)}"}
        if point in SERVER_POINTS[2:]:
            environment = {"CELLHERD_FAILPOINT": point}  # the storing process is started again with it for ever
        herd.start(victim, environment)
        with suppress(subprocess.TimeoutExpired):
            herd.running[victim].wait(POINT_S)
        herd.kill(victim)

    return strike


def double(scene: Scene) -> None:
    """The broker dies while the ingester is away."""
    herd = scene.herd
    herd.kill(*scene.random.sample((SERVER, BROKER), 2))
    scene.hold(0.2, 2)


def stall(longest: float) -> Strike:
    """SIGSTOP of a process."""

    def strike(scene: Scene) -> None:
        name = scene.random.choice((SERVER, BROKER, STORING, *scene.herd.edges))
        process = scene.herd.process(name)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
            scene.hold(0.2, longest)
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

    return strike


def line(mood: Mood, longest: float = 4) -> Strike:
    """The line between an edge and the broker is bad for a while."""

    def strike(scene: Scene) -> None:
        proxy = scene.edge().proxy
        proxy.mood = mood
        scene.hold(0.5, longest)
        proxy.mood = "well"

    return strike


def half_open(scene: Scene) -> None:
    """The line dies without a word, and is reset when it comes back."""
    proxy = scene.edge().proxy
    proxy.mood = "blackhole"
    scene.hold(1, 3)
    proxy.cut()
    proxy.mood = "well"


def cut_in_a_packet(scene: Scene) -> None:
    """The line breaks in the midst of a message."""
    scene.edge().proxy.cut_after = scene.random.randint(3, 60)


def everybody_comes_back(scene: Scene) -> None:
    """All lines are refused for a while, and come back at one moment."""
    for edge in scene.herd.edges.values():
        edge.proxy.mood = "refuse"
        edge.proxy.cut()
    scene.hold(1, 4)
    for edge in scene.herd.edges.values():
        edge.proxy.mood = "well"


def wall_clock(scene: Scene) -> None:
    """The edge's clock jumps: a year ahead, an hour back, to its beginning; perhaps across a start."""
    edge = scene.edge(lambda edge: edge.clock)
    assert edge.clock is not None
    edge.clock.write_text(scene.random.choice(("+400d", "-3600", "-18000d", "+0.7", "+86400", "+0")))
    if scene.random.random() < 0.3:
        scene.herd.kill(edge.name)
    scene.hold(0.5, 2)
    edge.clock.write_text("+0")


def unplug(scene: Scene) -> None:
    """A USB adapter is pulled and comes back."""
    wire = scene.edge().banks[0].running.wire
    wire.unplug()  # type: ignore[attr-defined]  # the first bank of an edge hangs on a pty
    scene.hold(0.5, 3)
    wire.plug()  # type: ignore[attr-defined]  # as above


def bad_wire(scene: Scene) -> None:
    """A battery is silent, says half, babbles, echoes or is slow."""
    trouble = scene.random.choice(scene.edge().banks).running.device.trouble
    how = scene.random.choice(("silent", "cut_at", "noise", "echo", "delay_s"))
    before = getattr(trouble, how)
    setattr(trouble, how, {"cut_at": 7, "noise": bytes(scene.random.randbytes(40)), "delay_s": 0.3}.get(how, True))
    scene.hold(0.5, 3)
    setattr(trouble, how, before)


def stranger(scene: Scene) -> None:
    """Another unit answers on a bank's bus."""
    bank = scene.random.choice(scene.edge().banks)
    bank.stranger = True
    scene.hold(0.5, 2)
    bank.stranger = False


def store_refuses(scene: Scene) -> None:
    """InfluxDB answers with errors, hangs, or closes in the midst."""
    gate = scene.herd.gate
    assert gate is not None
    gate.mood = scene.random.choice((401, 404, 429, 500, 503, -1, 0))
    gate.slow_s = 2.0 if gate.mood == 0 else 0.0
    scene.hold(1, 5)
    gate.mood, gate.slow_s = 0, 0.0


def garbage(scene: Scene) -> None:
    """Frames of a bank are spoiled and stuck together for some polls."""
    trouble = scene.random.choice(scene.edge().banks).running.device.trouble
    trouble.noise = bytes(scene.random.randbytes(scene.random.randint(1, 300)))
    trouble.cut_at = scene.random.randint(1, 2000)
    scene.hold(0.3, 1)
    trouble.noise, trouble.cut_at = b"", None


def no_memory(scene: Scene) -> None:
    """A process gets no more memory, and what it does then is its own business: it may die."""
    name = scene.random.choice((SERVER, STORING, *scene.herd.edges))
    process = scene.herd.process(name)
    if process is None:
        return
    with suppress(psutil.Error):
        before = process.rlimit(psutil.RLIMIT_AS)
        process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms, before[1]))
        scene.hold(0.5, 2)
        process.rlimit(psutil.RLIMIT_AS, before)


def other_version(scene: Scene) -> None:
    """An edge or the server goes to another version under load, cleanly or not, and back the next time."""
    herd = scene.herd
    name = scene.random.choice((SERVER, *herd.edges))
    herd.other ^= {name}
    if scene.random.random() < 0.5:
        herd.kill(name)
    else:
        herd.end(name)
        herd.start(name)
    scene.hold(0.5, 3)


Need = Callable[[Herd], str]

"""Why a fault cannot be done here, "" if it can."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One of the plan's: its number, what it is called, and how often it comes beside the others."""

    id: str
    title: str
    strike: Strike
    needs: Need = lambda herd: ""
    weight: int = 2


def needs_faketime(herd: Herd) -> str:
    """libfaketime."""
    return "" if FAKETIME.exists() else "needs libfaketime (apt-get install libfaketime)"


def needs_influx(herd: Herd) -> str:
    """A real InfluxDB behind the door."""
    return "" if herd.gate else "needs influxd (apt-get install influxdb)"


def needs_other(herd: Herd) -> str:
    """A second installation."""
    return "" if OTHER else "needs another version (CELLHERD_OTHER_PYTHON names the python of its environment)"


FAULTS = (
    Fault("F01", "an edge is killed", kill("edge"), weight=4),
    Fault("F01", "an edge dies at a named point", kill_at(EDGE_POINTS), weight=4),
    Fault("F02", "the broker is killed", kill(BROKER), weight=3),
    Fault("F02", "the broker dies with its data", broker_without_memory),
    Fault("F03", "the ingester is killed", kill(SERVER), weight=3),
    Fault("F03", "the ingester dies at a named point", kill_at(SERVER_POINTS, SERVER)),
    Fault("F03", "the storing process is killed", kill(STORING), weight=3),
    Fault("F04", "broker and ingester die together", double, weight=3),
    Fault("F04", "an edge and the ingester die together", kill("edge", SERVER)),
    Fault("F07", "a process stands still", stall(3), weight=4),
    Fault("F08", "an edge's power is cut", power_cut, needs_disk, weight=3),
    Fault("F08", "the server's power is cut", server_cut, needs_disk, weight=3),
    Fault("F09", "an edge's disk is full", full_disk, needs_disk),
    Fault("F09", "the server's disk is full", full_server, needs_disk),
    Fault("F10", "a disk gives errors", disk_errors, needs_strace, weight=3),
    Fault("F11", "an edge's disk is read-only", read_only, needs_disk),
    Fault("F11", "an edge dies while its disk is read-only", dies_in_memory, needs_disk, weight=1),
    Fault("F12", "an edge's outbox is damaged", damage),
    Fault("F13", "the line is black", line("blackhole"), weight=3),
    Fault("F13", "the line is half open", half_open, weight=3),
    Fault("F13", "the line carries 64 kbit/s", line("slow")),
    Fault("F13", "the line is refused", line("refuse")),
    Fault("F14", "the line delivers single bytes", line("slices")),
    Fault("F14", "the line is uneven", line("jitter")),
    Fault("F14", "the line breaks in a packet", cut_in_a_packet, weight=3),
    Fault("F15", "all edges come back at once", everybody_comes_back),
    Fault("F16", "an edge's clock jumps", wall_clock, needs_faketime, weight=3),
    Fault("F17", "an older copy of an outbox comes back", older_copy),
    Fault("F18", "an adapter is pulled", unplug, weight=3),
    Fault("F18", "a battery is silent, slow, noisy", bad_wire, weight=3),
    Fault("F20", "frames are spoiled", garbage, weight=3),
    Fault("F19", "another unit answers", stranger),
    Fault("F21", "a valid login sends rubbish", rubbish),
    Fault("F22", "a valid login guesses client ids", guessed_ids),
    Fault("F24", "InfluxDB refuses or hangs", store_refuses, needs_influx, weight=3),
    Fault("F26", "a process gets no memory", no_memory, weight=1),
    Fault("F27", "an edge or the server changes its version", other_version, needs_other),
)
