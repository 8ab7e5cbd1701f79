"""Puts the report together: one HTML file with everything inside. Names are hostile, so every word is escaped."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

import vl_convert

from cellherd import __version__
from cellherd.config import FleetConfig
from pipeline.report import charts, facts, health, parts
from pipeline.report.curves import packed
from pipeline.words import tell

PLOTTED = 24
"""Modules whose curves a page of a few megabytes can carry; the table holds all."""
ENTRY = "window.vegaEmbed = vegaEmbed;"


def build(archive: facts.Tables, fleet: FleetConfig, day: date, out: Path) -> Path:
    """Write the report of `day` and the day before (each site's own days) to `out`, whole or not at all."""
    modules = facts.gather(archive, fleet, day, PLOTTED)
    found = facts.findings(archive, day)
    aged = health.over_time(archive, day)
    page = _page(fleet, day, modules, found, parts.Beside(facts.limits(archive, day), aged))
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_text(page, encoding="utf-8")
    return draft.replace(out)


def _page(
    fleet: FleetConfig,
    day: date,
    modules: list[facts.ModuleFacts],
    found: list[dict[str, object]],
    beside: parts.Beside,
) -> str:
    told = [tell(finding, fleet) for finding in found]
    runtime, script = _runtime(), _script(_read("page.js"))
    names = {site.id: site.name or site.id for site in fleet.site}
    heading = " and ".join(filter(None, (i.name or i.id for i in fleet.installer[:2]))) or "Battery fleet"
    sections = parts.sections(modules, names, found, beside)
    return Template(_read("page.html")).substitute(
        hashes=f"{_hash(runtime)} {_hash(script)}",
        title=escape(f"{heading}: battery report of {day}"),
        css=_read("page.css"),
        heading=escape(heading),
        period=f"{day - timedelta(days=1):%-d %B} and {day:%-d %B %Y}, each site in its own time",
        banner='<p class="banner">Simulated data: no battery was harmed.</p>' if fleet.simulated else "",
        tiles=parts.tiles(modules, told),
        worklist=parts.worklist(told, modules),
        health=health.section(beside.health, names),
        fleet=parts.fleet_table(modules, names),
        modules=sections,
        footer=_footer(modules),
        plots=packed(_plots(modules)),
        runtime=runtime,
        script=script,
    )


def _plots(modules: Iterable[facts.ModuleFacts]) -> dict[str, object]:
    times = [t for module in modules for t in (module.curves["at"].min(), module.curves["at"].max()) if t is not None]
    domain = (min(times, default=0), max(times, default=1))
    return {
        plot.name: {"factor": plot.factor, "spec": charts.spec(plot, charts.CSS, domain)}  # type: ignore[arg-type]
        for plot in (*charts.PLOTS, *charts.MONTHS)
    }


def _footer(modules: list[facts.ModuleFacts]) -> str:
    left_out = sum(1 for module in modules if module.state) - PLOTTED
    more = f" Curves: the {PLOTTED} modules with the widest spread, not {left_out} others." if left_out > 0 else ""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made {made} by CellHerd {escape(__version__)}, {len(modules)} modules.{more}"


@cache
def _runtime() -> str:
    bundle: str = vl_convert.javascript_bundle(ENTRY)
    return _script(bundle)


def _script(text: str) -> str:
    """A script that no `</script>` inside one of its strings can end."""
    return text.replace("</script", "<\\/script")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return resources.files("pipeline.report").joinpath(name).read_text(encoding="utf-8")
