"""The short form for Telegram, in its HTML: whole lines only, the most important kept, in the order of the story."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pipeline.alerts.story import LONGEST_LINK, Story
from pipeline.sentences import say

BRIEF = 990
"""Telegram allows 1,024 under a picture, in UTF-16 units; the rest is for "may be a repeat"."""
MARK = {0: "\N{WHITE HEAVY CHECK MARK}", 1: "\N{LARGE RED CIRCLE}", 2: "\N{LARGE ORANGE CIRCLE}"}
OTHER_MARK = "\N{LARGE BLUE CIRCLE}"
STOP, SAFE, STEP = "\N{NO ENTRY}", "\N{WARNING SIGN}", "\N{RIGHTWARDS ARROW}"

Ranked = tuple[int, str]
"""How dear a line is to us (0 stays whatever happens) and the line."""


def brief(story: Story) -> str:
    """The message under its picture: at most BRIEF units; what does not fit stands in the mail and the dashboard."""
    return "\n".join(_kept(_lines(story), BRIEF))


def _lines(story: Story) -> list[Ranked]:
    mark = MARK.get(story.level, OTHER_MARK)
    lines: list[Ranked] = [
        (0, f"{mark} <b>{escape(story.urgency)}: {short(story.what, 180)}</b>"),
        (0, short(story.where, 160)),
    ]
    lines += [(1 + n, short(line, 120)) for n, line in enumerate(story.facts)]
    lines += [(2 + n, short(line, 130)) for n, line in enumerate(story.notes)]
    lines += [(0, f"{STOP} <b>{short(line, 110)}</b>") for line in story.loud]
    lines += [(8 + n, short(line, 100)) for n, line in enumerate(story.others)]
    lines += [(4, short(say(story.language, "likely_cause", cause=cause), 140)) for cause in story.causes[:1]]
    lines += [(3 + 3 * n, f"{STEP} {short(step, 150)}") for n, step in enumerate(story.actions)]
    lines += [(0, f"{SAFE} {short(story.safety, 200)}")] if story.safety else []
    lines += [
        (1 + n, f'<a href="{escape(link)}">{escape(word)}</a>')
        for n, (word, link) in enumerate(story.links)
        if size(link) < LONGEST_LINK
    ]
    return lines


def _kept(lines: list[Ranked], room: int) -> list[str]:
    """The dearest lines that fit, in their own order. Those of rank 0 fit together by how they are cut."""
    kept = set[int]()
    for at in sorted(range(len(lines)), key=lambda at: (lines[at][0], at)):
        need = size(lines[at][1]) + 1
        if need <= room:
            room -= need
            kept.add(at)
    return [line for at, (_, line) in enumerate(lines) if at in kept]


def listing(subject: str, lines: Iterable[str]) -> str:
    """A message of lines: as many of them as fit."""
    head = f"<b>{short(subject, 200)}</b>"
    room, kept = BRIEF - size(head) - 1, [head]
    for line in lines:
        said = short(line, 120)
        room -= size(said) + 1
        if room < 0:
            break
        kept.append(said)
    return "\n".join(kept)


def short(text: str, most: int) -> str:
    """The text escaped, and cut so that it takes at most so many units even then."""
    said = escape(text, quote=False)
    while size(said) > most:
        text = text[: max(0, len(text) - max(1, (size(said) - most) // 5)) - 1]
        said = escape(text, quote=False) + "…"
    return said


def size(text: str) -> int:
    """Length as Telegram counts it: UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
