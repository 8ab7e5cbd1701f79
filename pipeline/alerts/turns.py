"""Decides what is news: a trouble that came, one that got more urgent, one that went. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Literal

from pipeline.alerts.outbox import Trouble
from pipeline.words import Finding, Told

Turn = Literal["raised", "resolved"]
NOBODY = 4
"""The priority that never tells anyone."""


@dataclass(frozen=True, slots=True)
class News:
    """A trouble's new state and the words for it. `turn` says what to tell; None: it persists, and nobody is told."""

    trouble: Trouble
    told: Told
    turn: Turn | None


def news(
    findings: Iterable[tuple[Finding, Told]], known: Mapping[str, Trouble], analysed: Mapping[str, date]
) -> Iterator[News]:
    """What is new after a night's work over the sites in `analysed` (site -> the day that was worked out).

    A persisting trouble is told again only if it became more urgent. One is gone when its site was analysed, for the
    same day or a later one, without finding it again; where data were missing or doubtful nothing is said.
    """
    rows = list(findings)
    unsure = {told.fingerprint for finding, told in rows if finding["status"] in ("not_observable", "low_quality")}
    found = [(finding, told) for finding, told in rows if finding["status"] == "finding" and told.priority < NOBODY]
    for finding, told in found:
        before = known.get(told.fingerprint)
        if before is None or str(finding["day"]) >= before.day:
            yield _found(finding, told, before)
    seen = unsure | {told.fingerprint for _, told in found}
    for trouble in known.values():
        day = analysed.get(trouble.site or "")
        if trouble.state == "standing" and trouble.fingerprint not in seen and day and str(day) >= trouble.day:
            gone = replace(trouble, state="gone", turn=trouble.turn + 1, day=str(day))
            yield News(gone, words(trouble), "resolved")


def _found(finding: Finding, told: Told, before: Trouble | None) -> News:
    day = str(finding["day"])
    if before and before.state == "standing" and told.priority >= words(before).priority:
        return News(replace(before, day=day), told, None)
    turn = before.turn + 1 if before else 1
    now = Trouble(told.fingerprint, finding["site"], "standing", turn, day, json.dumps(asdict(told)))
    return News(now, told, "raised")


def words(trouble: Trouble) -> Told:
    """What was told of a trouble last."""
    said = json.loads(trouble.words)
    lists = {key: tuple(said[key]) for key in ("reasons", "causes", "actions")}
    return Told(**{**said, **lists})
