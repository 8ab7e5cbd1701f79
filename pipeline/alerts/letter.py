"""The HTML of a mail: one column that a phone can show, in light and dark, readable without pictures.

Styles stand in the lines, for many mail programs drop a style sheet; the sheet adds only what they cannot say.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pipeline.alerts.story import Story
from pipeline.sentences import say

PLOT = "<!--plot-->"
"""Where the picture goes, if there is one."""
COLOURS = {0: "#17693f", 1: "#b42318", 2: "#8f5400"}
OTHER_COLOUR = "#0f5fa8"
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif"
DARK = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.paper{background:#101514!important}
.card{background:#1a2220!important;border-color:#33403c!important}
.ink{color:#e8eeec!important}
.muted{color:#a3b2ad!important}
.loud{background:#4a1d18!important;color:#ffd9d3!important;border-color:#e5675b!important}
.safe{background:#3d2f0f!important;color:#ffe6ae!important;border-color:#d9a53a!important}
.go{color:#8cc4ff!important}
}
@media (max-width:480px){.card{padding:16px!important;border-radius:0!important}.paper{padding:0!important}}
"""


def page(story: Story) -> str:
    """The mail about one alert."""
    colour = COLOURS.get(story.level, OTHER_COLOUR)
    tag = f'<span style="{_tag(colour)}">{escape(story.urgency)}</span>'
    head = [
        f'<div style="margin:0 0 10px">{tag}</div>',
        _title(story.what),
        f'<p class="muted" style="margin:0 0 14px;color:#55635f">{_own(story.where)}</p>',
    ]
    numbers = [
        f'<p class="ink" style="margin:0 0 2px;color:#1d2624{_weight(n)}">{_own(line)}</p>'
        for n, line in enumerate(story.facts)
    ]
    notes = [f'<p class="ink" style="margin:10px 0 0;color:#1d2624">{_own(line)}</p>' for line in story.notes]
    loud = [_box("loud", "#fdecea", "#7a1a12", "#b42318", f"<b>{_own(line)}</b>") for line in story.loud]
    lists = [_list(title, lines) for title, lines in story.lists]
    word = escape(say(story.language, "safety"))
    safe = [_box("safe", "#fff4d6", "#5c4200", "#c98a00", f"<b>{word}:</b> {_own(story.safety)}")] * bool(story.safety)
    links = [_link(word, link) for word, link in story.links]
    hint = [f'<p class="muted" style="margin:14px 0 0;font-size:14px;color:#55635f">{_own(story.hint)}</p>']
    body = [*head, *numbers, *notes, *loud, *lists, *safe, *_row(links), *(hint if story.hint else []), PLOT]
    return _document("".join(body), colour, story.what, story.language)


def listing(subject: str, lines: Iterable[str], language: str) -> str:
    """A mail of lines; those that begin with a dash are points, those that end with a colon are headings."""
    body = [_title(subject)]
    for line in lines:
        if line.endswith(":"):
            body.append(_heading(line.removesuffix(":")))
        elif line:
            inset = "padding:3px 0 3px 16px;text-indent:-12px" if line.startswith("- ") else "padding:3px 0"
            body.append(f'<div class="ink" style="{inset};color:#1d2624">{_own(line)}</div>')
    return _document("".join(body), OTHER_COLOUR, subject, language)


def _document(body: str, colour: str, title: str, language: str) -> str:
    footer = escape(say(language, "footer"))
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{escape(title)}</title><style>{DARK}</style></head>"
        f'<body class="paper" style="margin:0;padding:16px;background:#eef2f0;{FONT};font-size:16px;line-height:1.5">'
        '<div class="card" style="max-width:640px;margin:0 auto;padding:22px 26px;background:#ffffff;'
        f"border:1px solid #d6dedb;border-top:5px solid {colour}!important;border-radius:8px;"
        f'overflow-wrap:anywhere">{body}'
        '<p class="muted" style="margin:20px 0 0;font-size:13px;color:#55635f">'
        f"{footer}</p></div></body></html>"
    )


def _title(words: str) -> str:
    return f'<h1 class="ink" style="font-size:21px;line-height:1.3;margin:0 0 6px;color:#1d2624">{_own(words)}</h1>'


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f'<li style="margin:0 0 4px">{_own(line)}</li>' for line in lines)
    return f'{_heading(title)}<ul class="ink" style="margin:0;padding:0 0 0 20px;color:#1d2624">{items}</ul>'


def _heading(title: str) -> str:
    return f'<h2 class="ink" style="font-size:16px;margin:18px 0 4px;color:#1d2624">{_own(title)}</h2>'


def _box(name: str, ground: str, ink: str, edge: str, words: str) -> str:
    style = f"margin:16px 0 0;padding:10px 14px;background:{ground};color:{ink};border-left:4px solid {edge}"
    return f'<div class="{name}" style="{style}">{words}</div>'


def _row(links: list[str]) -> list[str]:
    return [f'<p style="margin:18px 0 0">{" ".join(links)}</p>'] if links else []


def _link(word: str, link: str) -> str:
    style = "color:#0f5fa8;font-weight:600;display:inline-block;margin:0 18px 4px 0"
    return f'<a class="go" href="{escape(link)}" style="{style}">{escape(word)}</a>'


def _weight(n: int) -> str:
    return ";font-size:18px;font-weight:600" if n == 0 else ""


def _tag(colour: str) -> str:
    return (
        f"display:inline-block;background:{colour};color:#ffffff;font-size:14px;font-weight:600;"
        "padding:2px 10px;border-radius:10px"
    )


def _own(text: str) -> str:
    """Escaped, and with a direction of its own, so that a name written from right to left moves nothing else."""
    return f"<bdi>{escape(text)}</bdi>"
