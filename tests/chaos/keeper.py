"""Keeps every journal segment that ever was, also where the ingester's disk loses its power.

A segment is linked as soon as it is there, on the journal's own disk, and copied to ours when it is sealed: from then
on it never changes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from cellherd import topics, wire
from pipeline.journal import files
from pipeline.journal.entry import Entry

EVERY_S = 0.1
"""A segment lives for seconds before it is sealed."""


class Keeper:
    """`kept` holds copies; `near` links, on the journal's file system. `pause` is held while nobody may look."""

    def __init__(self, folder: Path, near: Path, kept: Path) -> None:
        self._folder, self._near, self.kept = folder, near, kept
        kept.mkdir(parents=True, exist_ok=True)
        self.pause = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """All that was ever journalled, in order, with the segment's number; the ingester has ended."""
        self.look(ended=True)
        for number in files.segments(self.kept):
            for entry in files.entries(self.kept, number):
                yield number, entry

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            with self.pause:
                self.look()

    def look(self, *, ended: bool = False) -> None:
        """Link what is new, and copy what is sealed: there is a newer one, or all have `ended`."""
        self._near.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted just now
            for path in self._folder.glob("*.journal"):
                with suppress(FileExistsError):
                    if not (self.kept / path.name).exists():
                        os.link(path, self._near / path.name)
        linked = files.segments(self._near)
        for number in linked if ended else linked[:-1]:
            link = self._near / f"{number:012}.journal"
            draft = self.kept / f"{link.name}.draft"
            shutil.copyfile(link, draft)
            draft.replace(self.kept / link.name)
            link.unlink()


def lines(entry: Entry) -> Iterator[tuple[str, str, dict[str, object]]]:
    """(event, epoch, line) of every new reading ("" as event) or record of an entry, read one by one."""
    topic = topics.parse(entry.topic)
    if topic.channel == "e":
        body = wire.unpack_record(entry.payload)
        if body["seq"] not in entry.skip:
            told = {name: body[name] for name in ("seq", "ts", "bt", "module")}
            yield str(body["event"]), str(body["epoch"]), {**told, "stack": topic.stack, "body": body["body"]}
        return
    source, found = wire.unpack(wire.inflate(entry.payload) if topic.channel == "rz" else entry.payload)
    for line in found:
        if line.seq not in entry.skip:
            told = {"seq": line.seq, "ts": line.ts, "bt": line.bt, "module": topic.module, "stack": topic.stack}
            yield "", source.epoch, {**told, "row": line.row}
