"""A campaign: a herd, a seeded row of faults, a last calm, and the reckoning. `python -m tests.chaos --help`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic
from typing import Literal

import polars as pl

from pipeline.stores.archive import Archive
from tests import services
from tests.chaos import disks
from tests.chaos.checker import Verdict, check
from tests.chaos.disks import Disk
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.gate import Gate
from tests.chaos.growth import GENTLE, Growth, growth
from tests.chaos.herd import BROKER, FAKETIME, SERVER, Edge, Herd
from tests.chaos.proxy import Proxy
from tests.chaos.scene import Scene, Shape
from tests.chaos.truth import banks

Broker = Literal["nats", "mosquitto"]
IMAGE_MB, SERVER_MB = 128, 768
TMPFS_MB = 128
DRAIN_S = 1800
"""What an edge gets for its backlog: often thousands of messages, of lives of seconds with few rows of each module."""
ASKED_S = 300.0
"""What the server gets to ask for numbers that nobody told of, and to be answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, and where it all begins. `only` names the faults, none for all."""

    faults: int
    seed: int
    broker: Broker = "nats"
    readings: int = 0
    modules: int = 8
    period_s: float = 0.5
    calm_s: float = 1.0
    only: tuple[str, ...] = ()
    soak: bool = False
    """Only faults that end no process, and a process that grows is wrong."""

    def again(self) -> str:
        """How to run this once more."""
        only = f" --only {','.join(self.only)}" if self.only else ""
        only += " --soak" if self.soak else ""
        size = f"--faults {self.faults} --readings {self.readings} --modules {self.modules} --period {self.period_s}"
        size += f" --calm {self.calm_s}"
        return f"python -m tests.chaos {size} --broker {self.broker} --seed {self.seed}{only}"


@dataclass
class Outcome:
    """What came of it."""

    plan: Plan
    struck: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    peak_kb: dict[str, int] = field(default_factory=dict)
    growths: list[Growth] = field(default_factory=list)
    took_s: float = 0.0

    def right(self) -> bool:
        """Whether nothing was lost, doubled or silent; of a soak, whether its processes were judged and none grows."""
        steady = bool(self.growths) and not any(one.grows for one in self.growths)
        return not self.verdict.wrong and (steady or not self.plan.soak)

    def table(self) -> str:
        """For people."""
        found = self.verdict
        rows = [f"{title}: {count}" for title, count in sorted(self.struck.items())]
        rows += [f"{title}: skipped, {why}" for title, why in sorted(self.skipped.items())]
        rows += [
            f"broker {self.plan.broker}, seed {self.plan.seed}, {self.took_s:.0f} s",
            f"faults {self.struck.total()}, readings {found.readings:,}",
            f"lost {found.lost}, doubled {found.doubled}, replay of the journal: {found.replayed} differences",
            f"slots of running edges {found.exact:,}, beside the lives whose outbox was damaged or put back",
            f"slots of time off that such an outbox could not know of: {found.forgotten:,}",
            "gap slots: " + ", ".join(f"{why} {slots:,}" for why, slots in sorted(found.gap_slots.items())),
            "peak memory: " + ", ".join(f"{name} {kb >> 10} MiB" for name, kb in sorted(self.peak_kb.items())),
            *(one.line() for one in self.growths),
            *found.wrong,
            f"again: {self.plan.again()}",
        ]
        return "\n".join(rows)


@contextmanager
def herd_of(plan: Plan, folder: Path) -> Iterator[Herd]:
    """The server on an image, and three edges: on the folder's own disk, an image, and a small disk in memory."""
    with ExitStack() as last:
        gate = None
        if services.has("influxd"):
            (folder / "influxdb").mkdir()
            gate = Gate(last.enter_context(services.influxd(folder / "influxdb")).url)
            gate.start()
            last.callback(gate.stop)
        mosquitto = services.find("mosquitto", "mosquitto") if plan.broker == "mosquitto" else ""
        mountable = not disks.can_mount()
        edges = {}
        for name, sort in (("e1", None), ("e2", "image"), ("e3", "tmpfs")):
            home = folder / name
            disk = Disk(home, sort, IMAGE_MB if sort == "image" else TMPFS_MB) if sort and mountable else None  # type: ignore[arg-type]  # of those two
            clock = folder / f"{name}.clock" if name == "e1" and FAKETIME.exists() else None
            if clock:
                clock.write_text("+0")
            edges[name] = Edge(name, banks(2, plan.modules, plan.period_s), home, Proxy(0), disk, clock)
        disk = Disk(folder / SERVER, "image", SERVER_MB) if mountable else None
        herd = Herd(folder, edges, plan.broker, gate, mosquitto, disk)
        last.callback(herd.close)
        herd.begin()
        yield herd


def run(plan: Plan, folder: Path, say: bool = True) -> Outcome:
    """The whole campaign."""
    began = monotonic()
    outcome = Outcome(plan)
    with herd_of(plan, folder) as herd:
        scene = Scene(herd, Random(plan.seed), Shape())
        committed: dict[str, int] = {}
        for count, fault in enumerate(_schedule(plan, herd, outcome), 1):
            if say:
                print(f"{plan.broker:9} {monotonic() - began:6.0f} s  {count:4}  {fault.id} {fault.title}", flush=True)
            _note(herd, scene.shape, committed)
            fault.strike(scene)
            outcome.struck[f"{fault.id} {fault.title}"] += 1
            herd.again(*herd.running)
            _calmed(herd, scene.shape.shaken)
            scene.hold(0.3 * plan.calm_s, 1.7 * plan.calm_s)
            herd.watch()
        herd.until(lambda: not plan.readings or _stored(herd) >= plan.readings, f"{plan.readings} readings", 3600)
        _settle(herd, scene.shape, committed)
        outcome.verdict, outcome.peak_kb = check(herd, scene.shape, committed), herd.peak_kb()
        outcome.growths = list(growth(herd.samples)) if plan.soak else []
    outcome.took_s = monotonic() - began
    return outcome


def _calmed(herd: Herd, shaken: dict[str, int]) -> None:
    """Wait until no reading lies in memory only: a kill would lose it, as stated."""
    for name in herd.edges:
        since = shaken.pop(name, 0)
        herd.until(lambda name=name, since=since: herd.wrote(name, since), f"the disk of {name}")  # type: ignore[misc]  # defaults bind them


def _schedule(plan: Plan, herd: Herd, outcome: Outcome) -> Iterator[Fault]:
    """Each fault once, then by weight, in an order that the seed gives."""
    only = plan.only or (GENTLE if plan.soak else ())
    wanted = [fault for fault in FAULTS if not only or fault.id in only]
    why = {fault: fault.needs(herd) for fault in wanted}
    outcome.skipped |= {f"{fault.id} {fault.title}": text for fault, text in why.items() if text}
    able = [fault for fault in wanted if not why[fault]]
    random = Random(plan.seed + 1)
    rounds = random.sample(able, len(able))
    while only and len(rounds) < plan.faults:  # of few that were asked for each as often as the others
        rounds += random.sample(able, len(able))
    rounds += random.choices(able, [fault.weight for fault in able], k=plan.faults)
    yield from rounds[: plan.faults]


def _stored(herd: Herd) -> int:
    """Readings in the archive. Backlogs are not counted yet: they come on top."""
    return int(Archive(str(herd.folder / SERVER / "archive")).scan("reading").select(pl.len()).collect().item())


def _note(herd: Herd, shape: Shape, committed: dict[str, int]) -> None:
    """What stands on the disks now must arrive."""
    for name in herd.edges:
        for epoch, last in herd.epochs(name).items():
            if epoch not in shape.doubtful:
                committed[epoch] = max(committed.get(epoch, 0), last)


def _settle(herd: Herd, shape: Shape, committed: dict[str, int]) -> None:
    """Nothing more is read, everything that waits arrives, everything ends."""
    herd.again(*herd.running)
    for edge in herd.edges.values():
        for bank in edge.banks:
            bank.running.device.trouble.silent = True
    for name in herd.edges:
        herd.end(name)  # commits what is in hand; for its receipts it is started once more
        herd.start(name)
    _note(herd, shape, committed)
    for name in herd.edges:
        shape.known.update(
            (str(epoch), int(str(last))) for epoch, last in herd.ask(name, "select id, last_seq from epoch")
        )
    _asked_again(herd)
    for name in herd.edges:
        herd.until(lambda name=name: _drained(herd, name), f"the last receipt of {name}", DRAIN_S)  # type: ignore[misc]  # a default binds it
        herd.running.pop(name)
    herd.until(lambda: not list((herd.folder / SERVER / "journal").glob("*.journal")), "every store", 300)
    herd.end(SERVER)
    if BROKER in herd.running:
        herd.end(BROKER)


def _asked_again(herd: Herd) -> None:
    """Give the server time to ask for numbers that nobody told of, and the edges to answer; what stays is judged.

    An outbox that is damaged twice may forget what it had to tell of the first time (`replay.after_s`, two minutes).
    """
    for name in herd.edges:
        herd.until(lambda name=name: herd.waiting(name) == 0, f"the backlog of {name}", DRAIN_S)  # type: ignore[misc]  # a default binds it
    end = monotonic() + ASKED_S
    while herd.missing() and monotonic() < end:
        Event().wait(1)


def _drained(herd: Herd, name: str) -> bool:
    """Whether an edge has a receipt for every row; then it is killed before it makes more."""
    if herd.waiting(name) != 0:
        return False
    herd.kill(name)
    if herd.waiting(name) == 0:
        return True
    herd.start(name)
    return False


def seed() -> int:
    """CELLHERD_CHAOS_SEED, or a new one."""
    return int(os.environ.get("CELLHERD_CHAOS_SEED") or int.from_bytes(os.urandom(3), "big"))
