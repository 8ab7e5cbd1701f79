"""The sentences of messages in every language: `languages/` has one table for each, all with the same names."""

from __future__ import annotations

import tomllib
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

ENGLISH = "en"


@cache
def sentences(language: str) -> dict[str, str]:
    """A language's table. Raises FileNotFoundError for a language without one."""
    text = resources.files("pipeline").joinpath("languages", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def say(language: str, sentence: str, /, **parts: Any) -> str:
    """One sentence with its parts put in. Parts are never read as sentences, whatever stands in them."""
    return sentences(language)[sentence].format_map(parts)


def clock(at: int, zone: str, language: str = ENGLISH) -> str:
    """A time (UTC ms) as the recipient's clock shows it: 14 Mar 09:05."""
    return datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).strftime(sentences(language)["clock"])


def decimal(number: str, language: str = ENGLISH) -> str:
    """A number's digits with the language's own decimal sign."""
    return number.replace(".", sentences(language)["decimal"])


def duration(ms: int, language: str = ENGLISH) -> str:
    """A span for people: 40 s, 12 min, 2 h 10 min, 3 days."""
    minutes = max(0, ms) // 60_000
    if minutes < 1:
        return f"{max(0, ms) // 1000} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else say(language, "days", n=hours // 24)
