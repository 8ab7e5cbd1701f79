"""What a message says, in order: what and where, numbers, history, cause and action, safety, links. Plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.alerts.channel import Choice, Kind
from pipeline.sentences import ENGLISH, say
from pipeline.words import Told

SHOWN = 8
"""Modules of one alert that a message lists by name."""
LONGEST_LINK = 300
URGENT_NOTES = ("escalated", "stop_resetting")

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TURNS = re.compile(r"[\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell: why, about what (the most urgent first), and remarks as names of sentences with their parts.

    `facts` is the same for programs.
    """

    key: str
    kind: Kind
    about: tuple[Told, ...]
    thread: str = ""
    answers: str = ""
    notes: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=())
    choices: tuple[Choice, ...] = ()
    language: str = ENGLISH
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Story:
    """A message's words. `lists` are headings with their lines, `links` words with their addresses.

    `level` is the priority, 0 for what is over; `loud` are the remarks that must not be overlooked.
    """

    language: str
    level: int
    urgency: str
    what: str
    where: str
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    loud: tuple[str, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()
    causes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    safety: str = ""
    links: tuple[tuple[str, str], ...] = ()
    hint: str = ""

    @property
    def over(self) -> bool:
        """Whether the trouble is over."""
        return not self.level


def story(news: News) -> Story:
    """The words of a piece of news. What is over is told without causes and actions."""
    told, language, over = news.about[0], news.language, news.kind == "resolved"
    notes = [(name, plain(say(language, name, **parts))) for name, parts in news.notes]
    count = len(news.about) - 1
    where = say(language, "and_more", where=told.where, n=count) if count else told.where
    first = Story(
        language=language,
        level=0 if over else told.priority,
        urgency=say(language, "resolved" if over else f"urgency_{told.priority}"),
        what=plain(told.what),
        where=plain(where),
        notes=tuple(text for name, text in notes if name not in URGENT_NOTES),
        loud=tuple(text for name, text in notes if name in URGENT_NOTES),
        links=_links(told, language),
    )
    return first if over else _explained(first, news)


def _explained(story: Story, news: News) -> Story:
    told, language = news.about[0], news.language
    code = [say(language, "code", code=told.code)] if told.code else []
    facts = (told.numbers, told.beside, told.since, told.sure, *code)
    others = _others(news)
    named = (
        ("where", others),
        ("reasons", told.reasons),
        ("causes", told.causes),
        ("actions", told.actions),
        ("never", told.never),
    )
    lists = tuple((say(language, title), tuple(map(plain, lines))) for title, lines in named if lines)
    hint = say(language, "explain", fault=told.fault) if told.fault and not told.runbook else ""
    return Story(
        language=language, level=story.level, urgency=story.urgency, what=story.what, where=story.where,
        facts=tuple(plain(line) for line in facts if line), notes=story.notes, loud=story.loud, lists=lists,
        causes=tuple(map(plain, told.causes)), actions=tuple(map(plain, told.actions)),
        others=tuple(map(plain, others[1:])), safety=plain(told.safety), links=story.links, hint=hint,
    )  # fmt: skip


def _others(news: News) -> tuple[str, ...]:
    """The modules of the alert by name, if there are several."""
    if len(news.about) == 1:
        return ()
    lines = [f"{told.where}: {told.numbers}" if told.numbers else told.where for told in news.about[:SHOWN]]
    more = len(news.about) - SHOWN
    return (*lines, *([say(news.language, "others", n=more)] if more > 0 else []))


def _links(told: Told, language: str) -> tuple[tuple[str, str], ...]:
    named = (("dashboard", told.link), ("runbook", told.runbook))
    return tuple((say(language, name), link) for name, link in named if re.match(r"https?://[^\s]+$", link))


def as_text(story: Story) -> str:
    """The message as plain text."""
    parts = [f"[{story.urgency}] {story.what}", story.where, *story.facts, *story.notes]
    parts += [f"! {line}" for line in story.loud]
    for title, lines in story.lists:
        parts += ["", f"{title}:", *(f"- {line}" for line in lines)]
    parts += ["", f"{say(story.language, 'safety')}: {story.safety}"] if story.safety else []
    parts += ["", *(f"{word}: {link}" for word, link in story.links)] if story.links else []
    parts += ["", story.hint] if story.hint else []
    return "\n".join(parts) + "\n"


def plain(text: str) -> str:
    """One line of text that cannot turn the direction of what stands after it, nor break the encoding."""
    return _TURNS.sub("\N{REPLACEMENT CHARACTER}", _BREAKS.sub(" ", text)).strip()
