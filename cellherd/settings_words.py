"""What the tables of `edge.toml` and `fleet.toml` are made of: ids, time zones, and no unknown keys."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict

from cellherd.topics import EDGE, is_id


def _an_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("an id has 1 to 63 of a-z 0-9 _ - and begins with a letter or digit")
    if text == EDGE:
        raise ValueError(f"{EDGE!r} is reserved")
    return text


def _a_zone(text: str) -> str:
    if text not in available_timezones():
        near = get_close_matches(text, available_timezones(), 1)
        raise ValueError("no such time zone" + (f", did you mean {near[0]!r}?" if near else ""))
    return text


Id = Annotated[str, AfterValidator(_an_id)]
Zone = Annotated[str, AfterValidator(_a_zone)]


class Strict(BaseModel):
    """A table without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
