"""What the clock tells: modules, gateways and sites that fall silent, and modules of a stack that do not fit together.

A pure function of what is remembered and the time. It looks at the live path only: what was silent live may come later
from an outbox, so replays leave these faults alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from cellherd.faults import catalogue
from pipeline.limits import DAY, HOUR
from pipeline.live.events import Event, Phase
from pipeline.live.features import Sample
from pipeline.live.levels import hold, number
from pipeline.live.profile import interface_of, profile_of
from pipeline.live.state import Episode, Group, Module, Place

LAG_MS = 15_000
"""What a reading needs at most from the battery to here: the outbox's commit, the journal's segment, and some."""
LOST = {"can": "comm_lost_can", "rs485": "comm_lost_rs485", "": "comm_lost"}
FRESH_MS = 120_000
LEAVE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Link:
    """How a collector is: arrival of the last message of it (UTC ms), and whether it says that it is online."""

    last_seen: int
    online: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that shows at this moment; it becomes an event when it has shown for `hold_ms`."""

    fault: str
    module: str
    since: int
    hold_ms: int = 0
    value: float | None = None
    threshold: float | None = None
    unit: str | None = None
    told: Mapping[str, object] | None = None


Moment = tuple[int, int]
"""Now, and since when we are listening, UTC ms."""


def tick(
    modules: Sequence[Module], groups: Mapping[Place, Group], links: Mapping[str, Link], moment: Moment
) -> tuple[list[Group], list[Event]]:
    """Groups that changed and their events. `links` by edge; an edge that is not in it was not heard of yet."""
    changed: list[Group] = []
    events: list[Event] = []
    stacks: dict[Place, list[Module]] = defaultdict(list)
    for module in modules:
        site, edge, stack, _ = module.place
        stacks[site, edge, stack, ""].append(module)
    sites = {(site, edge, "", "") for site, edge, _, _ in stacks}
    away = {place for place in sites if _away(links.get(place[1]), moment)}
    for place in sorted({*sites, *stacks}):
        if place in sites:
            found = [_offline(links[place[1]])] if place in away else []
        elif (place[0], place[1], "", "") in away:
            continue  # behind a silent collector nobody knows how its stacks are
        else:
            found = list(_of_stack(stacks[place], groups.get(place), moment))
        group, told = _hold(groups.get(place) or Group(place), found, moment[0])
        if group is not None:
            changed.append(group)
        events += told
    return changed, events


def _away(link: Link | None, moment: Moment) -> bool:
    if link is None:
        return False
    now, started = moment
    silent = now - max(link.last_seen, started)
    offline = not link.online and silent > 1000 * number("collector_offline", "offline_s")
    return offline or silent > 1000 * number("collector_offline", "silent_s")


def _offline(link: Link) -> Finding:
    return Finding("collector_offline", "", link.last_seen, told={"scope": "site", "online": link.online})


def _of_stack(found: Sequence[Module], group: Group | None, moment: Moment) -> Iterator[Finding]:
    now, _ = moment
    silent = [module for module in found if _silent(module, moment)]
    heard = [module for module in found if module not in silent]
    awake = [module for module in silent if module.slept < (module.last.ts if module.last else 0)]
    if awake and not heard:
        yield _lost(awake, found)
    elif heard:
        for module in awake:
            if module.kind == "bank":
                yield Finding("stack_master_missing", module.place[3], module.arrival, told={"siblings": len(heard)})
            elif now - module.arrival > 1000 * number("module_missing", "after_s"):
                yield Finding("module_missing", module.place[3], module.arrival, told={"siblings": len(heard)})
    missed = [at for at in group.missed if at > now - DAY] if group else []
    if len(missed) >= number("stack_link_fault", "times_a_day"):
        yield Finding("stack_link_fault", "", missed[0], value=len(missed), unit="count", told={"at": missed})
    yield from _unlike([module for module in found if module.kind == "module"], group, now)


def _silent(module: Module, moment: Moment) -> bool:
    now, started = moment
    least = 1000 * number("comm_lost", "at_least_s")
    patience = max(number("comm_lost", "periods") * module.period, least) + LAG_MS
    return now - max(module.arrival, started) > patience


def _lost(silent: Sequence[Module], found: Sequence[Module]) -> Finding:
    """The whole gateway, or the only module: asleep for good where it was empty, else the line."""
    since = max(module.arrival for module in silent)
    name = silent[0].place[3] if len(found) == 1 else ""
    told = {"scope": "module" if name else "gateway", "modules": [module.place[3] for module in silent]}
    if all(_was_empty(module) for module in silent):
        return Finding("deep_sleep", name, since, told=told)
    return Finding(LOST[interface_of(silent[0].known.driver)], name, since, told=told)


def _was_empty(module: Module) -> bool:
    last = module.last
    if last is None:
        return False
    if last.lo is not None and last.lo <= number("deep_sleep", "after_cell_mv"):
        return True
    full = last.lo is not None and last.lo > profile_of(module.known).not_empty_mv  # then the percentage is wrong
    return not full and last.soc_pm is not None and last.soc_pm <= number("deep_sleep", "after_soc_pm")


def _unlike(found: Sequence[Module], group: Group | None, now: int) -> Iterator[Finding]:
    """Modules in parallel that differ in charge, in voltage behind an open switch, or in size."""
    patience = 1000 * max((profile_of(module.known).apart_for_s for module in found), default=0)
    sizes = [module.known.capacity_mah for module in found if module.known.capacity_mah and not patience]
    ratio = max(sizes, default=0) / min(sizes, default=1)
    least = float(catalogue()["mixed_stack_mismatch"].numbers["ratio"])
    if len(sizes) > 1 and ratio >= least:
        yield Finding("mixed_stack_mismatch", "", now, value=ratio, threshold=least, told={"capacity_mah": sizes})
    fresh = [(one, one.last) for one in found if one.last is not None and now - one.arrival < FRESH_MS]
    yield from _apart([last.soc_pm for _, last in fresh if last.soc_pm is not None], group, patience, now)
    volts = [last.voltage_mv for _, last in fresh if last.voltage_mv and not _open(last)]
    for one, last in fresh:
        if _open(last) and last.voltage_mv and volts:
            away, most = abs(last.voltage_mv - median(volts)), number("parallel_reconnect_hazard", "apart_mv")
            if away > most:
                name = "parallel_reconnect_hazard"
                yield Finding(name, one.place[3], now, hold(name), away, float(most), "mV")


def _apart(socs: Sequence[int], group: Group | None, patience: int, now: int) -> Iterator[Finding]:
    """A day apart in charge. Modules that come together at every full charge never are, whatever they count between."""
    name = "module_imbalance"
    stands = group is not None and f"{name}|" in group.standing
    apart, trip = max(socs, default=0) - min(socs, default=0), number(name, "soc_pm")
    if len(socs) > 1 and apart >= (number(name, "release_soc_pm") if stands else trip):
        waits = max(HOUR * number(name, "for_h"), patience)
        yield Finding(name, "", now, waits, apart, float(trip), "0.1 %")


def _open(last: Sample) -> bool:
    return last.charge_on == 0 and last.discharge_on == 0


def _hold(old: Group, found: Sequence[Finding], now: int) -> tuple[Group | None, list[Event]]:
    """What has shown for long enough enters, what has not shown for a while leaves."""
    group, events = old.fresh(), list[Event]()
    showing = {f"{one.fault}|{one.module}": one for one in found}
    for name, one in showing.items():
        group.clearing.pop(name, None)
        since = group.waiting.setdefault(name, one.since)
        if name not in group.standing and now - since >= one.hold_ms:
            group.standing[name] = Episode(since, "derived", one.fault, "none")
            events.append(_event(group, name, "enter", since, one))
            if one.fault == "module_missing":
                group.missed = [at for at in group.missed if at > now - DAY] + [now]
    for name in group.waiting.keys() - showing.keys():
        del group.waiting[name]
    for name in list(group.standing):
        if name in showing:
            continue
        gone = group.clearing.setdefault(name, now)
        if now - gone >= (0 if "lost" in name or "missing" in name or "offline" in name else LEAVE_MS):
            events.append(_event(group, name, "leave", gone, None))
            del group.standing[name], group.clearing[name]
    return (group if group != old else None), events


def _event(group: Group, name: str, phase: Phase, ts: int, one: Finding | None) -> Event:
    fault, _, module = name.partition("|")
    site, edge, stack, _ = group.place
    since = group.standing[name].since
    kind = "module" if module else "bank"
    told = Event((site, edge, stack, module), "", kind, phase, fault, ts, since, "derived", "none")
    if one is None:
        return replace(told, evidence={"after_ms": ts - since})
    value = None if one.value is None else float(one.value)
    return replace(told, value=value, threshold=one.threshold, value_unit=one.unit, evidence=dict(one.told or {}))
