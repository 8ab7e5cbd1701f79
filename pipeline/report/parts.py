"""The pieces of the report's page: tiles, worklist, table of modules, and a section with drawings for each module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from cellherd.faults import catalogue
from pipeline.report.charts import MONTHS, PLOTS
from pipeline.report.curves import block, packed, weak_cell
from pipeline.report.facts import Key, ModuleFacts
from pipeline.report.health import Points
from pipeline.words import URGENCY, Told, quantity

FEWEST = 10
"""Points below which a curve says nothing."""
WIDE = ("cells", "faults")
NONE = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is drawn beside the readings, by module: the limits it stated, and its state of health over the months."""

    limits: Mapping[Key, dict[str, int]]
    health: Mapping[Key, Points]


def tiles(modules: list[ModuleFacts], told: list[Told]) -> str:
    """The four numbers of the morning."""
    urgent = sum(1 for one in told if one.priority == 1)
    faulty = sum(1 for module in modules if module.state.get("faults"))
    silent = sum(1 for module in modules if not module.state)
    numbers = [
        (len({module.site for module in modules}), "sites", False),
        (len(modules), "modules" + (f", {silent} silent" if silent else ""), silent > 0),
        (faulty, "with a fault standing", faulty > 0),
        (len(told), "on the worklist" + (f", {urgent} to act on now" if urgent else ""), urgent > 0),
    ]
    return "".join(f"<li{_alarm(bad)}><b>{n}</b><span>{escape(what)}</span></li>" for n, what, bad in numbers)


def _alarm(bad: bool) -> str:
    return ' class="alarm"' if bad else ""


def worklist(told: list[Told], modules: Iterable[ModuleFacts] = ()) -> str:
    """Every finding in plain words, worst first; its place leads to the module's section."""
    if not told:
        return '<p class="none">Nothing found that needs you.</p>'
    there = {"/".join(module.key) for module in modules if module.state}
    return f'<ol class="work">{"".join(_item(one, one.module if one.module in there else "") for one in told)}</ol>'


def _item(one: Told, mark: str) -> str:
    where = f"<bdi>{escape(one.where)}</bdi>"
    where = f'<a href="#{escape(mark)}">{where}</a>' if mark else where
    shown = "".join(f"<span>{escape(text)}</span>" for text in (one.numbers, one.since, one.sure) if text)
    why = _list("Why we say so", one.reasons, "ul") + _list("Likely cause", one.causes, "ul")
    why += _list("What to do", one.actions, "ol")
    safety = f'<p class="safety"><b>Safety:</b> {escape(one.safety)}</p>' if one.safety else ""
    link = f'<p class="go"><a href="{escape(one.link)}" rel="noreferrer">Open the dashboard</a></p>' if one.link else ""
    return (
        f'<li class="p{one.priority}"><span class="tag">{URGENCY.get(one.priority, "")}</span>'
        f"<h3>{escape(one.what)}</h3>"
        f'<p class="where">{where}</p><p class="facts">{shown}</p>'
        f'<div class="why">{why}</div>'
        f"{safety}{link}</li>"
    )


def _list(title: str, lines: Iterable[str], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<div><h4>{title}</h4><{kind}>{items}</{kind}></div>" if items else ""


def fleet_table(modules: list[ModuleFacts], names: Mapping[str, str]) -> str:
    """One row a module, silent ones too."""
    head = (("Module", ""), ("SOC", "n"), ("Spread", "n"), ("Hottest", "n"), ("Last seen", "n"), ("Last fault", ""))
    titles = "".join(f'<th scope="col" class="{kind}">{title}</th>' for title, kind in head)
    rows = "".join(_row(module, names) for module in modules)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(module: ModuleFacts, names: Mapping[str, str]) -> str:
    state = module.state
    numbers = (
        ("SOC", _shown(state.get("soc_pm"), "0.1 %")),
        ("Spread", _shown(state.get("spread_mv"), "mV")),
        ("Hottest", _shown(state.get("hottest_dc"), "0.1 degC")),
        ("Last seen", when(state["ts"], module.zone) if state else "not in these days"),
    )
    cells = "".join(f'<td class="n" data-label="{label}">{text}</td>' for label, text in numbers)
    return (
        f'<tr><td class="name" data-label="Module">{_name(module, names)}</td>{cells}'
        f'<td class="text" data-label="Last fault"><span>{_last_fault(module)}</span></td></tr>'
    )


def _shown(value: int | None, unit: str) -> str:
    return NONE if value is None else quantity(value, unit)


def _name(module: ModuleFacts, names: Mapping[str, str]) -> str:
    return (
        f"<bdi>{escape(names.get(module.site, module.site))}</bdi> · {escape(module.stack)} · {escape(module.module)}"
    )


def _last_fault(module: ModuleFacts) -> str:
    state = module.state
    last = state.get("last_fault")
    if not last or not last.get("faults"):
        return "none"
    titles = ", ".join(_title(fault) for fault in last["faults"].split())
    return escape(titles) + ("" if state.get("faults") else f" (gone; last {when(last['ts'], module.zone)})")


def _title(fault: str) -> str:
    known = catalogue().get(fault)
    return known.title if known else fault


def when(ts: int, zone: ZoneInfo) -> str:
    """A moment for a narrow column, in the site's time."""
    return datetime.fromtimestamp(ts / 1000, zone).strftime("%-d %b %H:%M")


def sections(
    modules: list[ModuleFacts],
    names: Mapping[str, str],
    found: list[dict[str, Any]],
    beside: Beside,
) -> str:
    """A section a module; those with a finding or a standing fault are open."""
    by_module: dict[Key, list[dict[str, Any]]] = {}
    for finding in found:
        by_module.setdefault((finding["site"], finding["stack"], finding["module"]), []).append(finding)
    return "".join(_section(m, names, by_module.get(m.key, []), beside) for m in modules if m.state)


def _section(module: ModuleFacts, names: Mapping[str, str], found: list[dict[str, Any]], beside: Beside) -> str:
    opened = " open" if found or module.state.get("faults") else ""
    charged = f"<span>{_shown(module.state.get('soc_pm'), '0.1 %')} charged</span>"
    head = f"<b>{_name(module, names)}</b>{_flag(module, found)}{charged}"
    return f"<details{opened}><summary>{head}</summary>{_drawings(module, found, beside)}</details>"


def _flag(module: ModuleFacts, found: list[dict[str, Any]]) -> str:
    if found:
        level = min(finding.get("priority") or 3 for finding in found)
        return f'<span class="tag p{level}">{URGENCY.get(level, "")}</span>'
    return '<span class="tag p2">Fault standing</span>' if module.state.get("faults") else ""


def _drawings(module: ModuleFacts, found: list[dict[str, Any]], beside: Beside) -> str:
    mark = escape("/".join(module.key))  # report.html#site/stack/module opens and shows it
    if len(module.curves) < FEWEST:
        return (
            f'<p class="none" id="{mark}">Not enough data to draw: {module.state["n"]} readings in these two days.</p>'
        )
    named = next((finding["cell"] for finding in found if finding.get("cell") is not None), None)
    stands_out = weak_cell(module.curves)
    data = block(
        module, named if named is not None else stands_out[0] if stands_out else None, beside.limits.get(module.key, {})
    )
    figures = "".join(_figure(plot.name, plot.title, _remark(plot.name, named, stands_out), data) for plot in PLOTS)
    if aged := beside.health.get(module.key):
        data["beside"]["health"] = aged
        figures += _drawn("health", MONTHS[0].title, wide=True)
    return f'<div class="plots" id="{mark}">{figures}</div><script type="application/json">{packed(data)}</script>'


def _remark(plot: str, named: int | None, stands_out: tuple[int, float] | None) -> str:
    if plot != "cells":
        return ""
    if named is not None:
        return f" · <em>cell {named + 1}, named on the worklist</em>"
    if stands_out:
        cell, off = stands_out
        return f" · <em>cell {cell + 1}: {abs(off):.0f} mV {'below' if off < 0 else 'above'} the others on average</em>"
    return " · <small>no cell stands out</small>"


def _figure(name: str, title: str, remark: str, data: Mapping[str, Any]) -> str:
    if name == "faults" and not data["beside"].get("faults"):
        return f'<div class="wide"><figcaption>{title}</figcaption><p class="none">None in these two days.</p></div>'
    if name != "faults" and name not in data["lines"]:
        return ""
    return _drawn(name, title, wide=name in WIDE, remark=remark)


def _drawn(name: str, title: str, *, wide: bool, remark: str = "") -> str:
    label, kind = escape(f"{title} over time"), ' class="wide"' if wide else ""
    caption = f"<figcaption>{title}{remark}</figcaption>"
    return (
        f'<figure{kind} data-plot="{name}">{caption}<div class="plot" role="img" aria-label="{label}"></div></figure>'
    )
