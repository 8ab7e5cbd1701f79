"""What the bot answers: commands and buttons, for the chats of fleet.toml and of what is their business only. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from cellherd.config import FleetConfig
from cellherd.errors import CellherdError
from cellherd.spans import span_ms
from pipeline.alerts.caption import MARK, OTHER_MARK, listing
from pipeline.alerts.channel import Recipient
from pipeline.alerts.news import words
from pipeline.alerts.people import Person, known
from pipeline.alerts.rules import fits
from pipeline.alerts.state import DAY, Action, Alert
from pipeline.sentences import clock, say
from pipeline.words import place, quantity

SNOOZES = {"s4h": DAY // 6, "s24h": DAY, "s7d": 7 * DAY}
LONGEST_MUTE_MS = 7 * DAY
MOST = 20
Key = tuple[str, str, str]
"""Site, stack and module."""
NUMBERS = (
    ("soc", "soc_pm", "0.1 %"), ("current", "current_ma", "mA"), ("voltage", "voltage_mv", "mV as V"),
    ("temperature", "hottest_dc", "0.1 degC"), ("spread", "spread_mv", "mV"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chat:
    """Who asks: the chat as a person, and the sites that are its business."""

    person: Person
    sites: frozenset[str]

    @property
    def language(self) -> str:
        """The language to answer in."""
        return self.person.language

    def may_see(self, alert: Alert) -> bool:
        """Whether an alert is its business; what concerns the whole fleet is everybody's."""
        return not alert.site or alert.site in self.sites


@dataclass(frozen=True, slots=True)
class Board:
    """What there is to answer from. `look` gives a module's latest values, None where there are none."""

    fleet: FleetConfig
    alerts: Mapping[str, Alert]
    now: int
    look: Callable[[Key], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said, and done: HTML, a module to be drawn, a decision, until when to rest (UTC ms; None: unchanged)."""

    text: str = ""
    plot: Key | None = None
    action: Action | None = None
    mute: int | None = None


def chat_of(address: str, fleet: FleetConfig) -> Chat | None:
    """The chat of this id, None if fleet.toml does not know it."""
    way = Recipient("telegram", address)
    owner = next((entry for entry in fleet.person if entry.telegram == address), None)
    routes = [
        route for route in fleet.route
        if address in route.telegram or (owner and owner.id in (*route.people, *route.escalate))
    ]  # fmt: skip
    if not routes and owner is None:
        return None
    installers = {site.id: site.installer for site in fleet.site}
    sites = {site.id for site in fleet.site if any(fits(route, site.id, installers) for route in routes)}
    return Chat(known(owner.id if owner else f"telegram:{address}", way, fleet), frozenset(sites))


def answer(text: str, chat: Chat, board: Board) -> Reply:
    """The answer to a command; to anything else, what there is to ask."""
    command, *rest = text.split() or [""]
    asked = " ".join(rest)
    match command.partition("@")[0].lower():
        case "/open":
            return Reply(_listed(chat, _open(chat, board), board))
        case "/status":
            return Reply(_status(asked, chat, board))
        case "/module":
            return _module(asked, chat, board)
        case "/mute":
            return _mute(asked, chat, board)
        case "/whoami":
            return Reply(say(chat.language, "chat_id", chat=escape(chat.person.ways[0].address)))
        case _:
            return Reply(escape(say(chat.language, "help")))


def pressed(data: str, by: str, chat: Chat, board: Board) -> Reply:
    """What a button does. Buttons of alerts that are over, or no business of this chat, do nothing."""
    sign, _, handle = data.partition(":")
    alert, language = board.alerts.get(handle), chat.language
    if alert is None or not chat.may_see(alert):
        return Reply(say(language, "over"))
    if sign == "mod":
        cause = alert.worst.cause
        return _card((cause.site, cause.stack, cause.module), chat, board)
    if not alert.open:
        return Reply(say(language, "over"))
    if sign == "ack":
        return Reply(say(language, "noted_ack", by=by), action=Action("ack", handle, by))
    if sign not in SNOOZES:
        return Reply(say(language, "over"))
    until = board.now + SNOOZES[sign]
    at = clock(until, chat.person.tz, language)
    return Reply(say(language, "noted_snooze", by=by, until=at), action=Action("snooze", handle, by, until))


def _open(chat: Chat, board: Board, site: str | None = None) -> list[Alert]:
    shown = [a for a in board.alerts.values() if a.open and a.turn and chat.may_see(a) and site in (None, a.site)]
    return sorted(shown, key=lambda alert: (alert.worst.priority, alert.at))


def _listed(chat: Chat, found: Sequence[Alert], board: Board, title: str = "") -> str:
    language = chat.language
    if not found:
        return escape(title or say(language, "nothing_open"), quote=False)
    lines = [_line(alert, chat, board) for alert in found[:MOST]]
    more = [say(language, "others", n=len(found) - MOST)] if len(found) > MOST else []
    return listing(title or say(language, "open_n", n=len(found)), [*lines, *more])


def _line(alert: Alert, chat: Chat, board: Board) -> str:
    told = words(alert.worst, board.fleet, chat.person.tz, chat.language)
    where, others = told.where, len(alert.members) - 1
    where = say(chat.language, "and_more", where=where, n=others) if others else where
    state = f" ({say(chat.language, f'state_{alert.state}')})" if alert.state not in ("firing", "resolved") else ""
    return f"{MARK.get(alert.worst.priority, OTHER_MARK)} {told.what}: {where}{state}"


def _status(asked: str, chat: Chat, board: Board) -> str:
    language, names = chat.language, {site.id: site.name or site.id for site in board.fleet.site}
    if asked:
        found = [site for site in chat.sites if asked.lower() in (site, names[site].lower())]
        if not found:
            return escape(say(language, "no_site", site=asked), quote=False)
        return _listed(chat, _open(chat, board, found[0]), board, _site_line(found[0], names, chat, board))
    lines = [_site_line(site, names, chat, board) for site in sorted(chat.sites)]
    return listing(say(language, "open_n", n=len(_open(chat, board))), lines)


def _site_line(site: str, names: Mapping[str, str], chat: Chat, board: Board) -> str:
    count = len(_open(chat, board, site))
    return say(chat.language, "site_open" if count else "site_quiet", site=names[site], n=count)


def _module(asked: str, chat: Chat, board: Board) -> Reply:
    """A module by its id, or as site/stack/module where several have the same."""
    wanted = asked.strip().lower().split("/")
    keys = {(m.site, m.stack, m.id) for m in board.fleet.module}
    keys |= {key for alert in board.alerts.values() for key in _modules(alert)}
    found = sorted(key for key in keys if key[0] in chat.sites and key[2] and key[3 - len(wanted) :] == tuple(wanted))
    if len(wanted) > 3 or not found:
        return Reply(escape(say(chat.language, "no_module", module=asked), quote=False))
    if len(found) > 1:
        names = ", ".join("/".join(key) for key in found[:MOST])
        return Reply(escape(say(chat.language, "which_module", names=names), quote=False))
    return _card(found[0], chat, board)


def _card(key: Key, chat: Chat, board: Board) -> Reply:
    language, tz = chat.language, chat.person.tz
    title = place(dict(zip(("site", "stack", "module"), key, strict=True)), board.fleet, language)
    latest = board.look(key)
    if latest is None:
        lines = [say(language, "no_reading")]
    else:
        lines = [say(language, "last_reading", at=clock(latest["ts"], tz, language))]
        lines += [
            say(language, name, value=quantity(latest[key], unit, language))
            for name, key, unit in NUMBERS
            if latest.get(key) is not None
        ]
    mine = [alert for alert in _open(chat, board) if key in _modules(alert)]
    return Reply(listing(title, [*lines, *(_line(alert, chat, board) for alert in mine[:MOST])]), plot=key)


def _modules(alert: Alert) -> set[Key]:
    return {(member.cause.site, member.cause.stack, member.cause.module) for member in alert.members}


def _mute(asked: str, chat: Chat, board: Board) -> Reply:
    try:
        span = min(span_ms(asked), LONGEST_MUTE_MS)
    except CellherdError:
        return Reply(escape(say(chat.language, "help")))
    if not span:
        return Reply(say(chat.language, "unmuted"), mute=0)
    until = board.now + span
    return Reply(say(chat.language, "muted", until=clock(until, chat.person.tz, chat.language)), mute=until)
