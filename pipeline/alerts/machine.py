"""The state machine of alerts: ok, pending, firing, acked or snoozed, clearing, resolved. Pure.

`step` takes what came in since the last step and the time, and returns the alerts that changed and what people hear of
it. It never speaks twice for one change, and once an alert was raised it does not forget to say how it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipeline.alerts.hiding import OFFLINE, PLATFORM, REPEAT, World, hidden_by, world
from pipeline.alerts.rules import FEWEST_SITES, JOIN_MS, MORE_MS, PLATFORM_MS, Rules
from pipeline.alerts.state import DAY, TRACE, Action, Alert, Cause, Member, Signal, Silence, Turn, TurnKind

NOBODY = 4
"""The priority that never tells anyone."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step changed, and what is told of it, in order."""

    changed: Mapping[str, Alert]
    turns: Sequence[Turn]


@dataclass(slots=True)
class _Desk:
    """One step's working copy: the alerts as they were, and those that this step has changed."""

    before: Mapping[str, Alert]
    now: int
    rules: Rules
    changed: dict[str, Alert] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.where = {
            member.cause.fingerprint: alert.id
            for alert in self.before.values()
            if alert.open
            for member in alert.members
        }

    def get(self, name: str) -> Alert | None:
        return self.changed.get(name) or self.before.get(name)

    def put(self, alert: Alert) -> None:
        if self.before.get(alert.id) != alert:
            self.changed[alert.id] = alert
        else:
            self.changed.pop(alert.id, None)
        for member in alert.members:
            if alert.open:
                self.where[member.cause.fingerprint] = alert.id
            else:
                self.where.pop(member.cause.fingerprint, None)

    def open(self) -> list[Alert]:
        return [alert for alert in {**self.before, **self.changed}.values() if alert.open]


def step(
    alerts: Mapping[str, Alert],
    inputs: tuple[Sequence[Signal], Sequence[Action]],
    silences: Sequence[Silence],
    now: int,
    rules: Rules,
) -> Step:
    """One step: signals in order, then what operators decided, then the clock. Nothing in `alerts` is changed.

    `silences` are those that operators set; planned windows are in `rules`. `now` is UTC ms and must not go back.
    """
    desk = _Desk(alerts, now, rules)
    signals, actions = inputs
    for signal in signals:
        _take(desk, signal)
    _platform(desk)
    for action in actions:
        _obey(desk, action)
    seen = world(desk.open(), (*silences, *rules.silences), now)
    for alert in sorted(desk.open(), key=lambda alert: (alert.priority, alert.at, alert.id)):
        desk.put(_settled(desk, alert, seen))
    return Step(desk.changed, tuple(desk.turns))


def _take(desk: _Desk, signal: Signal) -> None:
    print_ = signal.cause.fingerprint
    alert = desk.get(desk.where.get(print_, ""))
    member = alert.named(print_) if alert else None
    if alert and member:
        desk.put(_known(desk, alert, member, signal))
    elif signal.phase != "leave" and signal.priority < NOBODY:
        desk.put(_joined(desk, signal))


def _known(desk: _Desk, alert: Alert, member: Member, signal: Signal) -> Alert:
    """A signal about a trouble that is in an open alert already."""
    if signal.phase == "leave":
        left = desk.now if member.standing else member.left
        return alert.with_member(replace(member, standing=False, left=left, facts={**member.facts, **signal.facts}))
    came = signal.phase == "enter" and not member.standing
    again = signal.phase == "note" and member.standing and signal.cause.fault == REPEAT
    if signal.phase == "note" and not again:
        return alert
    worse = signal.priority < member.priority
    long_gone = came and desk.now - member.left > desk.rules.clear_ms
    raises = (*member.raises, desk.now)[-TRACE:] if came or again else member.raises
    return alert.with_member(
        replace(
            member, cause=signal.cause, facts=signal.facts or member.facts, raises=raises,
            priority=min(signal.priority, member.priority), standing=member.standing or came,
            since=signal.ts if came else member.since, news=member.news or worse or again or long_gone,
        )
    )  # fmt: skip


def _joined(desk: _Desk, signal: Signal) -> Alert:
    """The alert that a new trouble belongs to: one of the same kind at the site that is young enough, else its own."""
    cause, now = signal.cause, desk.now
    known = desk.get(cause.fingerprint)
    before = known.named(cause.fingerprint) if known else None
    raises = (*(before.raises if before else ()), now)[-TRACE:]
    stands = signal.phase == "enter"
    member = Member(
        cause, signal.priority, signal.ts, now, stands, left=0 if stands else now, raises=raises, facts=signal.facts
    )
    for alert in desk.open() if cause.site and not cause.pattern else ():
        young = alert.state == "pending" or (alert.state in ("firing", "acked") and now - alert.raised < JOIN_MS)
        if young and not alert.chattering and (alert.site, alert.family) == (cause.site, cause.family):
            return alert.with_member(member)
    turn = known.turn if known else 0
    return Alert(cause.fingerprint, cause.site, cause.family, "pending", now, (member,), signal.priority, turn)


def _platform(desk: _Desk) -> None:
    """Many sites that fell silent at about the same time are one trouble: ours."""
    silent = [m for a in desk.open() if a.family == OFFLINE for m in a.members if m.standing]
    cause = Cause(PLATFORM)
    stands = desk.get(desk.where.get(cause.fingerprint, ""))
    enough = max(FEWEST_SITES, desk.rules.platform_share * desk.rules.sites)
    if stands and stands.standing:
        if len(silent) <= enough / 2:
            _take(desk, Signal("leave", cause, desk.now, 1))
        return
    lately = {member.cause.site for member in silent if desk.now - member.entered <= PLATFORM_MS}
    if len(lately) >= FEWEST_SITES and len(lately) > desk.rules.platform_share * desk.rules.sites:
        facts = {"fault": PLATFORM, "priority": 1, "value": len(lately), "value_unit": "sites"}
        _take(desk, Signal("enter", cause, desk.now, 1, facts))


def _obey(desk: _Desk, action: Action) -> None:
    for alert in desk.open():
        shown = alert.state if alert.state != "clearing" else alert.before
        if not alert.id.startswith(action.alert) or alert.state == "pending":
            continue
        if action.choice == "ack" and shown != "acked":
            changed = replace(alert, state="acked", at=desk.now, by=action.by, until=0)
        elif action.choice == "snooze" and action.until > desk.now:
            changed = replace(alert, state="snoozed", at=desk.now, by=action.by, until=action.until)
        else:
            continue
        if alert.state == "clearing":
            changed = replace(changed, state="clearing", at=alert.at, before=changed.state)
        _tell(desk, changed, "changed", _heard_of(changed), action.choice)


def _settled(desk: _Desk, alert: Alert, seen: World) -> Alert:
    """Where an alert stands at this moment; what is to be told of it is put on the desk."""
    alert = _without_missed(alert, seen)
    if alert.state == "pending":
        return _pending(desk, alert, seen)
    if alert.state == "clearing":
        alert = _clearing(desk, alert)
        if alert.state in ("clearing", "resolved"):
            return alert
    if alert.state == "snoozed" and desk.now >= alert.until:
        woken = replace(alert, state="firing", at=desk.now, until=0, raised=desk.now, level=0)
        return _tell(desk, woken, "again", _heard_of(woken), "snooze_over") if woken.standing else woken
    return _told(desk, alert, seen)


def _without_missed(alert: Alert, seen: World) -> Alert:
    """What came and went while it was kept back is no news any more."""
    missed = [m for m in alert.members if m.news and not m.standing and not m.told and hidden_by(m.cause, seen)]
    for member in missed:
        alert = alert.with_member(replace(member, news=False))
    return alert


def _pending(desk: _Desk, alert: Alert, seen: World) -> Alert:
    now, rules = desk.now, desk.rules
    shown = [member for member in alert.members if _shows(desk, member, seen)]
    if shown and (now - alert.at >= rules.group_ms or shown[0].cause.pattern):
        often = alert.raises_since(now - DAY) > rules.chatter_turns
        kind: TurnKind = "chattering" if often else "raised"
        fired = replace(alert, state="firing", at=now, raised=now, level=0, hidden="", by="", chattering=often)
        return _tell(desk, fired, kind, shown)
    why = next((why for member in alert.members if (why := hidden_by(member.cause, seen))), "")
    if not (alert.standing or shown):
        return replace(alert, state="resolved", at=now, hidden=why)
    return replace(alert, hidden=why)


def _shows(desk: _Desk, member: Member, seen: World) -> bool:
    """Whether a member has news that may be told now."""
    hold = desk.rules.hold_ms(member.cause)
    held = desk.now - member.entered >= hold
    return member.news and held and (member.standing or not hold) and not hidden_by(member.cause, seen)


def _told(desk: _Desk, alert: Alert, seen: World) -> Alert:
    """A firing, acknowledged or snoozed alert: who joined it, is it over, does anybody care?"""
    now, rules = desk.now, desk.rules
    shown = [member for member in alert.members if _shows(desk, member, seen)]
    worse = min((member.priority for member in shown), default=NOBODY) < alert.priority
    if worse or (shown and alert.state != "snoozed" and not alert.chattering):
        if now - alert.told < MORE_MS and not worse:
            return alert
        often = alert.raises_since(now - DAY) > rules.chatter_turns
        kind: TurnKind = "chattering" if often else "again"
        fresh = replace(alert, state="firing", chattering=often, at=now, raised=now, level=0, by="")
        return _tell(desk, fresh if alert.state != "firing" else replace(alert, chattering=often), kind, shown)
    if not alert.standing:
        before = alert.state if alert.state in ("acked", "snoozed") else "firing"
        return _clearing(desk, replace(alert, state="clearing", at=now, before=before))
    chain = rules.chain(alert.site, alert.priority)
    visible = any(m.standing and m.told and not hidden_by(m.cause, seen) for m in alert.members)
    asked = chain[alert.level] if alert.state == "firing" and visible and alert.level < len(chain) else None
    if asked and now - alert.raised >= asked.after_ms:
        return _tell(desk, replace(alert, level=alert.level + 1), "escalated", _heard_of(alert), asked.person)
    return alert


def _clearing(desk: _Desk, alert: Alert) -> Alert:
    now, rules = desk.now, desk.rules
    if alert.standing:
        back = replace(alert, state=alert.before, at=now)
        if alert.raises_since(now - DAY) > rules.chatter_turns and not alert.chattering and alert.before != "snoozed":
            return _tell(desk, replace(back, chattering=True), "chattering", _heard_of(back))
        return back
    if now - alert.at < rules.hold_clear_ms(alert):
        return alert
    over = replace(alert, state="resolved", at=now, chattering=False, hidden="")
    return _tell(desk, over, "resolved", _heard_of(over))


def _heard_of(alert: Alert) -> tuple[Member, ...]:
    """The members that people know of already; what joined since then is told in a turn of its own."""
    return tuple(member for member in alert.members if member.told)


def _tell(desk: _Desk, alert: Alert, kind: TurnKind, about: Iterable[Member], why: str = "") -> Alert:
    """Count the turn, note what was told, and put it on the desk."""
    shown = {member.cause.fingerprint for member in about}
    members = tuple(
        replace(member, news=False, told=True) if member.cause.fingerprint in shown else member
        for member in alert.members
    )
    told = alert.told if kind == "changed" else desk.now
    priority = min((member.priority for member in members if member.told), default=alert.priority)
    alert = replace(alert, members=members, turn=alert.turn + 1, told=told, priority=priority)
    told_now = tuple(member for member in members if member.cause.fingerprint in shown)
    desk.turns.append(Turn(alert, kind, told_now, why))
    desk.put(alert)
    return alert
