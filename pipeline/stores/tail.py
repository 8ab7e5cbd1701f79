"""The end of a local Delta table's log, where appends are committed for the price of one file however long the log is.

deltalake reads all that a table holds anew for each commit and keeps some 40 kB of it: of a day of small files that is
seconds and hundreds of megabytes (tests/bench/storing.py). An append needs no more than the number of the last commit:
it conflicts with nothing but a change of columns, and whoever commits anything takes the next number away from us.
Then deltalake has to look. Log: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Delta Log Entries".
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Any, TypeAlias
from uuid import uuid4

from deltalake import DeltaTable, Schema

from pipeline.stores.durable import entry

_READER, _WRITER = 1, 2
"""The protocol of a table without further features, as `Archive` makes them."""
_COMMIT = ".commit"
Mark: TypeAlias = tuple[str, int]
"""An app's id and its version, which a commit stores together with the rows."""


@dataclass(slots=True)
class Tail:
    """The last commit of the table in `root`, its columns, and the last version of each app that appends by it."""

    root: Path
    number: int
    schema: Schema
    partition: list[str]
    apps: dict[str, int]

    @classmethod
    def of(cls, root: Path, handle: DeltaTable, apps: Iterable[str]) -> Tail | None:
        """Where a table stands now; None of one that asks more of a writer than we do."""
        protocol = handle.protocol()
        if protocol.min_reader_version > _READER or protocol.min_writer_version > _WRITER:
            return None
        versions = {app: handle.transaction_version(app) or 0 for app in apps}
        return cls(root, handle.version(), handle.schema(), handle.metadata().partition_columns, versions)

    def commit(self, added: Iterable[Mapping[str, Any]], mark: Mark) -> None:
        """Publish written files, and the version of the app, together. Nothing is on the disk for certain yet.

        Raises FileExistsError where another writer committed meanwhile, and OSError if the disk refuses: this tail
        no longer knows then where the log ends.
        """
        app_id, version = mark
        mode = {"mode": "Append", "partitionBy": json.dumps(self.partition)}
        info = {"timestamp": time_ns() // 1_000_000, "operation": "WRITE", "operationParameters": mode}
        actions = [{"commitInfo": info}, *({"add": file} for file in added)]
        actions.append({"txn": {"appId": app_id, "version": version}})
        made = self.root / "_delta_log" / f"{uuid4()}{_COMMIT}"
        try:
            made.write_text("".join(f"{json.dumps(action)}\n" for action in actions), encoding="utf-8")
            os.link(made, entry(self.root, self.number + 1))  # never over one that is there
        finally:
            made.unlink(missing_ok=True)
        self.number += 1
        self.apps[app_id] = version

    def there(self) -> bool:
        """Whether the last commit is still there; the table may have been put aside or cleared up."""
        return entry(self.root, self.number).exists()

    def version(self) -> int:
        """The last commit."""
        return self.number

    def create_checkpoint(self) -> None:
        """By deltalake, which has to read the whole table for it."""
        DeltaTable(self.root).create_checkpoint()


def sweep(root: Path) -> None:
    """Delete what a process left that was killed in the middle of a commit."""
    for made in (root / "_delta_log").glob(f"*{_COMMIT}"):
        made.unlink(missing_ok=True)
