"""The storing process of the bench: the real archive, and line protocol that is made and thrown away."""

from __future__ import annotations

from cellherd.settings import FleetConfig
from pipeline.decoding.decode import Decoded
from pipeline.edges import Edges
from pipeline.journal.deadletters import DeadLetters
from pipeline.stores.archive import Archive, ArchiveSink
from pipeline.stores.influx import ROWS_AT_ONCE
from pipeline.stores.lines import module_lines
from pipeline.storing import storeroom
from pipeline.storing.process import listen, serve


class Nowhere:
    name = "nowhere"

    def __init__(self, config: FleetConfig) -> None:
        self._sites = {site.id: site for site in config.site}

    def position(self) -> int:
        return 0

    def write(self, _number: int, decoded: Decoded) -> None:
        for some in decoded.frames["reading"].iter_slices(ROWS_AT_ONCE):  # as the InfluxSink does
            module_lines(some, self._sites)


def main() -> None:
    task = listen()
    storeroom.DRAIN_S = 300  # all of it counts
    archive = ArchiveSink(Archive(str(task.state / "archive")), task.series)
    letters = DeadLetters(task.state / "deadletters.sqlite")
    serve(task, [archive, Nowhere(task.config)], letters, Edges())


if __name__ == "__main__":
    main()
