"""Disks of an edge's or ingester's own: small ones that fill up, and images whose power can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Literal

UNMOUNT_TRIES = 50
Sort = Literal["tmpfs", "image"]


@dataclass
class Disk:
    """A file system of `megabytes` mounted at `place`; `image` is the file behind it."""

    place: Path
    sort: Sort
    megabytes: int

    def __post_init__(self) -> None:
        self.image = self.place.with_name(f"{self.place.name}.img")
        self.place.mkdir(parents=True)
        if self.sort == "image":
            with self.image.open("wb") as file:
                file.truncate(self.megabytes << 20)
            run("mkfs.ext4", "-q", "-F", str(self.image))
        self.mount()

    def mount(self, *options: str) -> None:
        """Mount it."""
        if self.sort == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m", "none", str(self.place))
        else:
            run("mount", "-o", ",".join(("loop", *options)), str(self.image), str(self.place))

    def remount(self, how: Literal["ro", "rw"]) -> None:
        """Make it read-only or writable. Nobody may have a file open for writing."""
        run("mount", "-o", f"remount,{how}", str(self.place))

    def unmount(self) -> None:
        """Take it away, as soon as the last process that dies there is gone."""
        for _ in range(UNMOUNT_TRIES):
            if tried("umount", str(self.place)):
                return
            Event().wait(0.1)
        run("umount", str(self.place))

    def snapshot(self, there: Path) -> None:
        """Copy the image as it is now: what the kernel has not written back is not in it.

        Whoever writes must be stopped; that the block device wrote nothing meanwhile shows that it is of one moment.
        """
        while True:
            before = self._traffic()
            run("cp", "--sparse=always", str(self.image), str(there))
            if self._traffic() == before:
                return

    def _traffic(self) -> tuple[str, str]:
        """Writes that the block device has done, and those under way."""
        mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
        device = next(source for source, place, *_ in mounts if place == str(self.place))
        numbers = Path("/sys/block", Path(device).name, "stat").read_text().split()
        return numbers[4], numbers[8]

    def remove(self) -> None:
        """Unmount and forget it."""
        tried("umount", "-l", str(self.place))
        self.image.unlink(missing_ok=True)


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


def tried(*command: str) -> bool:
    """Run a command; whether it succeeded."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@cache
def can_mount() -> str:
    """Why no disks can be made here, "" if they can."""
    if os.geteuid() != 0:
        return "needs root, for mounting"
    if not all(shutil.which(tool) for tool in ("mount", "mkfs.ext4", "losetup")):
        return "needs mount and mkfs.ext4 (apt-get install mount e2fsprogs)"
    place = Path(os.environ.get("TMPDIR", "/tmp")) / f"cellherd-mount-{os.getpid()}"  # noqa: S108 - removed below
    try:
        Disk(place, "image", 8).remove()
    except (subprocess.CalledProcessError, OSError) as error:
        return f"this machine does not let us mount: {getattr(error, 'stderr', b'') or error!r}"
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return ""
