"""What a port of the edge is run with in tests: a clock that the test moves, and ears for what the port gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from collectors.events import Record, Sample


@dataclass
class Clock:
    """Time that a test moves."""

    now: int = 1_000_000

    def wall(self) -> int:
        return 1_700_000_000_000 + self.now

    def boot(self) -> int:
        return self.now

    def quality(self) -> str:
        return "ntp"


@dataclass
class Told:
    """What a port gave."""

    samples: list[Sample] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    opened: int = 0

    def __call__(self, item: Sample | Record) -> None:
        (self.samples if isinstance(item, Sample) else self.records).append(item)  # type: ignore[arg-type]
