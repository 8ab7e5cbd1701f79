"""What values in `edge.toml` and `fleet.toml` are made of: ids, time zones, addresses, languages."""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches
from typing import Annotated, Literal
from urllib.parse import urlsplit
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


ADDRESS = r"""[^\s<>@,;"]+@[^\s<>@,;"]+"""


def _a_mailbox(text: str) -> str:
    if any(unicodedata.category(sign)[0] == "C" for sign in text):
        raise ValueError("an address has no line breaks and no invisible signs")
    if not re.fullmatch(f"{ADDRESS}|[^<>@]*<{ADDRESS}>", text):
        raise ValueError("an address looks like anna@example.org, one for each entry")
    return text


def _a_sink(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url must look like https://host/path")
    if parts.username or parts.password:
        raise ValueError("url carries a login; use secret_file")
    return text


Mailbox = Annotated[str, AfterValidator(_a_mailbox)]
SinkUrl = Annotated[str, AfterValidator(_a_sink)]
Language = Literal["en", "de"]
Id = Annotated[str, AfterValidator(_an_id)]
Zone = Annotated[str, AfterValidator(_a_zone)]


class Strict(BaseModel):
    """A table of a config file: an unknown key is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
