"""From news in words to messages: what, where, numbers, history, why, what to do, safety, link. Pure.

`News` is all that a message says, before any language or channel: the state machine's side of the seam ends here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from pipeline.alerts.channel import Choice, Kind, Message
from pipeline.words import URGENCY, Told

BRIEF = 990
"""Telegram allows 1,024 under a picture, in UTF-16 units; the rest is for "may be a repeat"."""
MARK = {1: "\N{LARGE RED CIRCLE}", 2: "\N{LARGE ORANGE CIRCLE}", 3: "\N{LARGE BLUE CIRCLE}"}
DONE = "\N{WHITE HEAVY CHECK MARK}"
SHOWN = 8
"""Modules of one alert that a message lists by name."""
NOTES = {
    "came": "Came {times} times in 24 hours, {week} times in 7 days: {dates}.",
    "stop_resetting": "Stop resetting it: a reset does not remove the cause.",
    "escalated": "Nobody has acknowledged this for {duration}. You are asked next.",
    "acked": "Acknowledged by {by}.",
    "snoozed": "Snoozed by {by} until {until}.",
    "snooze_over": "The snooze is over and it still stands.",
    "resolved": "Resolved after {duration}.",
    "cleared_at_night": "The last night's work no longer finds it.",
    "chattering": "It came {times} times in 24 hours. You hear of it again when it has been quiet for {duration}.",
    "still": "{standing} of {all} still stand.",
    "since": "since {at}",
}
"""The machine's remarks in words; the braces are numbers and times that the machine gives."""


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell: why, about what (the most urgent first), and remarks as ids of NOTES with their numbers."""

    key: str
    kind: Kind
    about: tuple[Told, ...]
    thread: str = ""
    answers: str = ""
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=())
    choices: tuple[Choice, ...] = ()


def message(news: News) -> Message:
    """The message for every channel, in English."""
    told = news.about[0]
    over = news.kind == "resolved"
    notes = [NOTES[name].format_map(numbers) for name, numbers in news.notes]
    what = f"Resolved: {told.what}" if over else told.what
    where = told.where if len(news.about) == 1 else f"{told.where} and {len(news.about) - 1} more"
    urgency = "Resolved" if over else URGENCY[told.priority]
    return Message(
        key=news.key, kind=news.kind, thread=news.thread, answers=news.answers, handle=news.thread,
        choices=news.choices,
        subject=" ".join(f"[{urgency}] {told.what}: {where}".split()),
        text=_text(news, what, where, notes),
        html=_html(news, what, where, notes),
        brief=_brief(news, what, where, notes),
    )  # fmt: skip


def listed(key: str, kind: Kind, subject: str, lines: list[str]) -> Message:
    """A message of lines, for what is about no single trouble: summaries, digests."""
    brief = [f"<b>{escape(cut(subject, 200))}</b>"]
    brief += _fitting([escape(cut(line, 120)) for line in lines], BRIEF - size(brief[0]) - 1)
    html = f"<h2>{escape(subject)}</h2>" + "".join(f"<div>{escape(line) or '&nbsp;'}</div>" for line in lines)
    text = "\n".join([subject, "", *lines]) + "\n"
    return Message(key, " ".join(subject.split()), text, html, "\n".join(brief), kind=kind)


def _others(news: News) -> list[str]:
    """The other modules of the alert, by name."""
    if len(news.about) == 1:
        return []
    lines = [f"{told.where}: {told.numbers}" if told.numbers else told.where for told in news.about[:SHOWN]]
    more = len(news.about) - SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines


def _facts(told: Told) -> list[str]:
    return [line for line in (told.numbers, told.since, told.sure) if line]


def _lists(news: News) -> list[tuple[str, tuple[str, ...]]]:
    told = news.about[0]
    named = [
        ("Where", tuple(_others(news))),
        ("Why we say so", told.reasons),
        ("Likely cause", told.causes),
        ("What to do", told.actions),
    ]
    return [(title, lines) for title, lines in named if lines]


def _text(news: News, what: str, where: str, notes: list[str]) -> str:
    told, over = news.about[0], news.kind == "resolved"
    parts = [what, where, *([] if over else _facts(told)), *notes]
    for title, lines in [] if over else _lists(news):
        parts += ["", f"{title}:", *(f"- {line}" for line in lines)]
    parts += ["", f"Safety: {told.safety}"] if told.safety and not over else []
    parts += ["", told.link] if told.link else []
    return "\n".join(parts) + "\n"


def _html(news: News, what: str, where: str, notes: list[str]) -> str:
    told, over = news.about[0], news.kind == "resolved"
    colour = "#17693f" if over else {1: "#b42318", 2: "#8f5400"}.get(told.priority, "#0f5fa8")
    facts = "".join(f"<div>{escape(line)}</div>" for line in ([] if over else _facts(told)))
    facts += "".join(f"<div><b>{escape(line)}</b></div>" for line in notes)
    lists = "" if over else "".join(_bullets(title, lines) for title, lines in _lists(news))
    safety = (
        f'<p style="background:#fdecea;padding:8px 12px"><b>Safety:</b> {escape(told.safety)}</p>'
        if told.safety and not over
        else ""
    )
    link = f'<p><a href="{escape(told.link)}">Open the dashboard</a></p>' if told.link else ""
    return (
        '<div style="font:16px/1.5 system-ui,sans-serif;max-width:40rem">'
        f'<h2 style="border-left:5px solid {colour};padding-left:10px;margin:0 0 4px">{escape(what)}</h2>'
        f'<div style="color:#55635f">{escape(where)}</div>{facts}{lists}{safety}{link}</div>'
    )


def _bullets(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h4 style="margin:12px 0 2px">{title}</h4><ul style="margin:0">{items}</ul>'


def _brief(news: News, what: str, where: str, notes: list[str]) -> str:
    """The most important first, whole lines only: what does not fit under a picture is left to the dashboard."""
    told, over = news.about[0], news.kind == "resolved"
    mark = DONE if over else MARK.get(told.priority, "")
    head = [f"{mark} <b>{escape(cut(what, 200))}</b>", escape(cut(where, 250))]
    head += [escape(cut(line, 160)) for line in notes[:2]]
    if over:
        return "\n".join(head)
    must = [f"\N{WARNING SIGN} {escape(cut(told.safety, 250))}"] if told.safety else []
    must += [f'<a href="{escape(told.link)}">Open the dashboard</a>'] if told.link and size(told.link) < 300 else []
    room = BRIEF - size("\n".join([*head, *must])) - 1
    may = [*_facts(told), *_others(news)[1:], *(f"Likely: {cause}" for cause in told.causes[:1])]
    may = [escape(line) for line in (*may, *(f"\N{RIGHTWARDS ARROW} {step}" for step in told.actions))]
    return "\n".join([*head, *_fitting(may, room), *must])


def _fitting(lines: Iterable[str], room: int) -> list[str]:
    kept: list[str] = []
    for line in lines:
        room -= size(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def size(text: str) -> int:
    """Length as Telegram counts it: UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
