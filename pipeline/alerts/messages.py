"""From a finding in words to messages: what, where, numbers, history, why, what to do, safety, link. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Literal

from pipeline.alerts.alert import Alert
from pipeline.words import URGENCY, Told

BRIEF = 1024
"""Telegram's limit under a picture, in UTF-16 units."""
Turn = Literal["raised", "resolved"]
MARK = {1: "\N{LARGE RED CIRCLE}", 2: "\N{LARGE ORANGE CIRCLE}", 3: "\N{LARGE BLUE CIRCLE}"}
DONE = "\N{WHITE HEAVY CHECK MARK}"


def alert(told: Told, turn: Turn, key: str, *, answers: str = "", picture: bytes | None = None) -> Alert:
    """The message for a trouble that came (`raised`) or went (`resolved`)."""
    resolved = turn == "resolved"
    what = f"Resolved: {told.what}" if resolved else told.what
    return Alert(
        key=key,
        subject=f"[{URGENCY[told.priority] if not resolved else 'Resolved'}] {told.what}: {told.where}".replace(
            "\n", " "
        ),
        text=_resolved_text(told) if resolved else _text(told),
        html=_html(told, what, resolved=resolved),
        brief=_brief(told, what, resolved=resolved),
        picture=picture,
        answers=answers,
    )


def _facts(told: Told) -> list[str]:
    return [line for line in (told.numbers, told.since, told.sure) if line]


def _lists(told: Told) -> list[tuple[str, tuple[str, ...]]]:
    named = [("Why we say so", told.reasons), ("Likely cause", told.causes), ("What to do", told.actions)]
    return [(title, lines) for title, lines in named if lines]


def _text(told: Told) -> str:
    parts = [told.what, told.where, *_facts(told)]
    for title, lines in _lists(told):
        parts += ["", f"{title}:", *(f"- {line}" for line in lines)]
    parts += ["", f"Safety: {told.safety}"] if told.safety else []
    parts += ["", told.link] if told.link else []
    return "\n".join(parts) + "\n"


def _resolved_text(told: Told) -> str:
    return (
        "\n".join(
            [f"Resolved: {told.what}", told.where, "The last night's work no longer finds it.", told.link]
        ).rstrip()
        + "\n"
    )


def _html(told: Told, what: str, *, resolved: bool) -> str:
    colour = "#17693f" if resolved else {1: "#b42318", 2: "#8f5400"}.get(told.priority, "#0f5fa8")
    facts = "" if resolved else "".join(f"<div>{escape(line)}</div>" for line in _facts(told))
    lists = "" if resolved else "".join(_bullets(title, lines) for title, lines in _lists(told))
    safety = (
        f'<p style="background:#fdecea;padding:8px 12px"><b>Safety:</b> {escape(told.safety)}</p>'
        if told.safety and not resolved
        else ""
    )
    link = f'<p><a href="{escape(told.link)}">Open the dashboard</a></p>' if told.link else ""
    return (
        '<div style="font:16px/1.5 system-ui,sans-serif;max-width:40rem">'
        f'<h2 style="border-left:5px solid {colour};padding-left:10px;margin:0 0 4px">{escape(what)}</h2>'
        f'<div style="color:#55635f">{escape(told.where)}</div>{facts}{lists}{safety}{link}</div>'
    )


def _bullets(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h4 style="margin:12px 0 2px">{title}</h4><ul style="margin:0">{items}</ul>'


def _brief(told: Told, what: str, *, resolved: bool) -> str:
    """The most important first, whole lines only: what does not fit under a picture is left to the dashboard."""
    mark = DONE if resolved else MARK.get(told.priority, "")
    head = [f"{mark} <b>{escape(cut(what, 200))}</b>", escape(cut(told.where, 250))]
    if resolved:
        return "\n".join(head)
    must = [f"\N{WARNING SIGN} {escape(cut(told.safety, 300))}"] if told.safety else []
    must += [f'<a href="{escape(told.link)}">Open the dashboard</a>'] if told.link and size(told.link) < 300 else []
    may = [*_facts(told), *(f"Likely: {cause}" for cause in told.causes[:1])]
    may = [escape(line) for line in (*may, *(f"\N{RIGHTWARDS ARROW} {step}" for step in told.actions))]
    return "\n".join([*head, *_fitting(may, BRIEF - size("\n".join([*head, *must])) - 1), *must])


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
