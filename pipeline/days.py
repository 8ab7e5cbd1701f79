"""Days as people at a site live them: 23 to 25 hours between two local midnights."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cellherd.errors import CellherdError


@dataclass(frozen=True, slots=True)
class LocalDay:
    """A site's day: from `start` (inclusive) to `end` (exclusive), UTC ms."""

    day: date
    start: int
    end: int

    def utc_dates(self) -> tuple[date, date]:
        """First and last UTC date, which are the archive's partitions, that hold some of it."""
        return _utc_date(self.start), _utc_date(self.end - 1)


def local_day(day: date, tz: str) -> LocalDay:
    """The day between two local midnights; where the clocks skip midnight, when the skipped hour would begin."""
    return LocalDay(day, _midnight(day, tz), _midnight(day + timedelta(days=1), tz))


def date_at(ts: int, tz: str) -> date:
    """The local date at a moment (UTC ms)."""
    return datetime.fromtimestamp(ts / 1000, ZoneInfo(tz)).date()


def day_of(text: str) -> date:
    """A day as a person types it. Raises CellherdError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CellherdError(f"{text!r} is no date; write it as 2026-06-01") from None


def _midnight(day: date, tz: str) -> int:
    return round(datetime.combine(day, time(), ZoneInfo(tz)).timestamp() * 1000)


def _utc_date(ts: int) -> date:
    return datetime.fromtimestamp(ts / 1000, UTC).date()
