"""Harm to disks and files, and its end: power cuts, full and failing disks, damaged and older files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from cellherd.clock import SystemClock
from tests.chaos import disks
from tests.chaos.herd import BROKER, SERVER, STORING, Edge, Herd
from tests.chaos.scene import Scene

SECTOR, PAGE = 512, 4096


def broker_without_memory(scene: Scene) -> None:
    """The broker dies and its data with it."""
    herd = scene.herd
    if herd.broker == "mosquitto":  # it never had any
        herd.kill(BROKER)
        return
    herd.kill(SERVER)
    herd.kill(BROKER)
    scene.hold(0.3, 0.6)  # nats-server dies with its parent
    shutil.rmtree(herd.folder / SERVER / "broker" / "jetstream", ignore_errors=True)


FILLER = "filler"
"""Whose bytes leave no room on a disk."""


def power_cut(scene: Scene) -> None:
    """The edge's disk goes back to what the kernel had written of it."""
    edge = scene.edge(on_image)
    assert edge.disk is not None
    cut(scene.herd, edge.disk, edge.name)


def server_cut(scene: Scene) -> None:
    """The same of the disk of ingester, stores and embedded broker."""
    herd = scene.herd
    assert herd.disk is not None
    with herd.keeper.pause:
        herd.keeper.look()
        cut(herd, herd.disk, *((SERVER, STORING, BROKER) if herd.broker == "nats" else (SERVER, STORING)))


def cut(herd: Herd, disk: disks.Disk, *names: str) -> None:
    """Stop these processes, keep the image as it is, kill them and put that image in the disk's place."""
    victims = [process for name in names if (process := herd.process(name)) is not None]
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    there = disk.image.with_suffix(".cut")
    disk.snapshot(there)
    herd.kill(*names)
    for process in victims:  # also those whose parent was killed first
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
    psutil.wait_procs(victims, 20)
    disk.unmount()
    there.replace(disk.image)
    disk.mount()
    (disk.place / FILLER).unlink(missing_ok=True)  # that somebody cleared it need not have reached the disk


def full_disk(scene: Scene) -> None:
    """Somebody else fills the edge's disk to the last byte, and clears it again."""
    edge = scene.edge(lambda edge: edge.disk is not None)
    fill(edge.home, scene)
    scene.shape.shaken[edge.name] = now_bt()


def full_server(scene: Scene) -> None:
    """The same on the disk of ingester, stores and embedded broker."""
    fill(scene.herd.folder / SERVER, scene)


def fill(folder: Path, scene: Scene) -> None:
    """Leave no byte free for a while. Blocks are taken without being written, so that an image stays small."""
    filler = folder / FILLER
    with suppress(OSError), filler.open("wb") as file:
        for size in (2**24, 2**20, PAGE):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
        file.seek(0, os.SEEK_END)
        while True:
            os.write(file.fileno(), bytes(SECTOR))
    scene.hold(1, 4)
    filler.unlink()


def read_only(scene: Scene) -> None:
    """The edge starts on a disk that is read-only, which mends while it runs."""
    herd, edge = scene.herd, scene.edge(on_image)
    assert edge.disk is not None
    herd.kill(edge.name)
    edge.disk.remount("ro")
    herd.start(edge.name)
    scene.hold(3, 6)
    edge.disk.remount("rw")
    scene.shape.shaken[edge.name] = now_bt()


def dies_in_memory(scene: Scene) -> None:
    """The same, but the edge is killed while its readings lie in memory: those that were not sent are lost, as stated.

    Its epoch stands in no file, so only the server knows of it; and the time off is told from the last row on the disk.
    """
    herd, edge = scene.herd, scene.edge(on_image)
    assert edge.disk is not None
    herd.kill(edge.name)
    edge.disk.remount("ro")
    begin = now_bt()
    herd.start(edge.name)
    scene.hold(3, 6)
    herd.kill(edge.name)
    edge.disk.remount("rw")
    scene.shape.in_memory[edge.name].append((begin, now_bt()))
    scene.shape.spoiled[edge.name].append((begin, now_bt()))


def disk_errors(scene: Scene) -> None:
    """Calls of a running edge or ingester to its disk fail."""
    name = scene.random.choice([*scene.herd.edges, SERVER])
    what = scene.random.choice(("fsync,fdatasync:error=EIO", "pwrite64:error=EIO", "pwrite64,write:error=ENOSPC"))
    if name == SERVER and what.startswith("pwrite"):
        what = "fsync,fdatasync:error=EIO"  # of all its files, the journal's alone are written with write
    process = scene.herd.process(name)
    if process is None:
        return
    calls = what.partition(":")[0]
    pids = [option for thread in process.threads() for option in ("-p", str(thread.id))]
    command = ["strace", "-qq", "-o", os.devnull, *pids, "-e", f"trace={calls}", "-e", f"inject={what}"]
    home = scene.herd.folder / SERVER / "journal" if name == SERVER else scene.herd.edges[name].home
    command += [option for path in home.glob("*[!kt]") for option in ("-P", str(path))]  # not the lock, nor the ballast
    if name != SERVER:
        scene.shape.doubtful.update(scene.herd.epochs(name))
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    scene.hold(0.5, 2)
    tracer.terminate()
    tracer.wait(20)
    if name != SERVER:
        scene.shape.shaken[name] = now_bt()


def damage(scene: Scene) -> None:
    """Bits or pages of an edge's outbox or of its log go bad while it is off."""
    herd, edge, random = scene.herd, scene.edge(), scene.random
    herd.kill(edge.name)
    files = [path for path in (edge.file, edge.file.with_name("outbox.db-wal")) if path.exists()]
    path = random.choice(files) if files else edge.file
    epochs = herd.epochs(edge.name)
    if not path.exists() or path.stat().st_size < 2 * PAGE:
        return
    spoil(path, random.choice(("bit", "bits", "page", "cut", "head")), random)
    scene.shape.spoiled[edge.name].append((now_bt(), now_bt()))
    scene.shape.forgot.update(epochs)


def now_bt() -> int:
    """Milliseconds since boot, as in the books."""
    return SystemClock().boot()


def spoil(path: os.PathLike[str], how: str, random: Random) -> None:
    """One of the five damages."""
    with open(path, "r+b") as file:  # noqa: PTH123 - any path
        size = file.seek(0, os.SEEK_END)
        if how == "cut":
            file.truncate(size * 7 // 10)
        elif how in ("page", "head"):
            file.seek(0 if how == "head" else random.randrange(size // PAGE) * PAGE)
            file.write(bytes(PAGE))
        else:
            for at in [random.randrange(size) for _ in range(20 if how == "bits" else 1)]:
                file.seek(at)
                old = file.read(1)[0]
                file.seek(at)
                file.write(bytes((old ^ 1 << random.randrange(8),)))


def older_copy(scene: Scene) -> None:
    """An older copy of the edge's card is put back."""
    herd, edge = scene.herd, scene.edge(lambda edge: edge.disk is None)
    herd.kill(edge.name)
    copy = herd.folder / f"{edge.name}.copy"
    if copy.exists() and scene.random.random() < 0.7:
        thrown = waiting(herd, edge.name)
        if thrown is None:
            return  # damaged before, and not salvaged yet: what is on it cannot be told
        scene.shape.thrown_away.update(thrown)
        scene.shape.spoiled[edge.name].append((round(copy.stat().st_mtime), now_bt()))
        shutil.rmtree(edge.home)
        shutil.copytree(copy, edge.home)
    else:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(edge.home, copy)
        os.utime(copy, (now_bt(), now_bt()))  # by the clock that the books go by


def waiting(herd: Herd, edge: str) -> set[tuple[str, int]] | None:
    """Numbers that only this outbox knows of: rows without a receipt, and those that its untold gaps stand for."""
    query = "select e.id, r.seq, r.event, r.body from row r join epoch e using (n) where seq>mark and state=0"
    try:
        rows = herd.ask(edge, query)
    except sqlite3.DatabaseError:
        return None
    found = {(str(epoch), int(str(seq))) for epoch, seq, _, _ in rows}
    for epoch, _, event, text in rows:
        body = json.loads(str(text)) if event == "gap" else {}
        if body.get("from_seq") is not None:
            of_epoch = str(body.get("of_epoch") or epoch)
            found |= {(of_epoch, seq) for seq in range(body["from_seq"], body["to_seq"] + 1)}
    return found


def on_image(edge: Edge) -> bool:
    """Whether the edge's disk is an image."""
    return edge.disk is not None and edge.disk.sort == "image"


def needs_disk(herd: Herd) -> str:
    """Small disks of our own."""
    return disks.can_mount() or ("" if any(edge.disk for edge in herd.edges.values()) else "no edge has one")


def needs_strace(herd: Herd) -> str:
    """A strace that may attach."""
    if shutil.which("strace") is None:
        return "needs strace (apt-get install strace)"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        command = ["strace", "-qq", "-o", os.devnull, "-p", str(victim.pid)]
        tried = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            tried.wait(0.5)
        attached = tried.poll() is None
        tried.terminate()
        tried.wait(5)
        victim.kill()
    return "" if attached else "strace may not attach here (CAP_SYS_PTRACE)"
