"""Listens on a CAN bus and names the dialects. Nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cellherd.errors import LinkError
from collectors import drivers, scan
from collectors.kernel import CanFrame
from collectors.links import Link
from collectors.links.wires import SLICE_S
from collectors.survey.finds import Find, Report, Tell, unknown

CAN_S = 5.0
MOST = 64 * 1024
"""Frames."""


def survey_can(links: Sequence[str], opener: Callable[[str], Link], tell: Tell) -> Report:
    """Listen on a CAN bus for 5 s at each bit rate of `links` and name the dialects."""
    report = Report()
    for link in links:
        tell(f"listening on {link}")
        try:
            frames = _frames(opener(link))
        except LinkError as error:
            report.notes.append(str(error))
            continue
        for profile in scan.profiles(frames):
            report.finds.append(_find_on_can(link, profile, frames))
        if scan.INVERTER & {frame.id for frame in frames}:
            report.notes.append(f"{link}: an inverter is alive on this bus")
        if report.finds:
            return report
        heard = ", ".join(sorted({str(frame).partition("#")[0] for frame in frames})[:12])
        report.notes.append(f"{link}: ids {heard} belong to no dialect that is known" if heard else _quiet(link))
    return report


def _quiet(link: str) -> str:
    return (
        f"{link}: nothing heard for {CAN_S:g} s. The bit rate cannot be told from silence (JK and Daly 250000, others "
        "500000); a Daly is silent until somebody asks it, and a scan does not"
    )


def _frames(line: Link) -> list[CanFrame]:
    frames: list[CanFrame] = []
    until = time.monotonic() + CAN_S
    try:
        while time.monotonic() < until and len(frames) < MOST:
            chunk = line.hear(SLICE_S)
            if isinstance(chunk, CanFrame):
                frames.append(chunk)
    finally:
        line.close()
    return frames


def _find_on_can(link: str, profile: scan.Profile, frames: Sequence[CanFrame]) -> Find:
    known, ears = drivers.driver(profile.driver), scan.Ears((profile.driver,))
    told = {(m.kind, m.module): m for frame in frames for _, m in ears.hear(frame)}
    verdict = scan.judge(list(told.values())) or scan.Verdict("likely", "by its ids alone")
    if verdict.sure != "doubtful":
        verdict = scan.Verdict(verdict.sure, f"{profile.name}: {verdict.why}")
    notes = tuple(unknown(known, tuple(told.values())))
    return Find(link, link, known.name, known.baud, 0, verdict, tuple(told.values()), notes)
