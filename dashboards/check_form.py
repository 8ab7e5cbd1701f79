"""Are the dashboards what Grafana takes? Three versions' schemas, the official SDK, our own rules, and the links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cellherd.errors import CellherdError
from dashboards.panels import Json
from dashboards.questions import EVERY

CORE = frozenset(
    {
        *("timeseries", "state-timeline", "status-history", "table", "stat", "bargauge", "histogram", "xychart"),
        *("heatmap", "text"),
    }
)
"""Panels that come with Grafana; no plugin is asked for."""
GRAFANAS_OWN = "annotations/list/0/target"
"""The schema knows the query of Grafana's own annotations only; every data source's has other keys."""
FEWER_THAN = 15


def versions() -> list[str]:
    """The Grafana versions whose schema is known."""
    names = (path.name for path in resources.files("dashboards").joinpath("schemas").iterdir())
    return sorted(name.removeprefix("grafana-").removesuffix(".json") for name in names if name.endswith(".json"))


def against_schema(board: Json, version: str) -> Iterator[str]:
    """Where a dashboard is not what this version of `@grafana/schema` says. Panels are held to their own plugin's."""
    try:
        from jsonschema import Draft7Validator  # noqa: PLC0415 - a tool of development; nothing else needs it
    except ImportError:
        raise CellherdError("the schema check needs jsonschema; install it with: pip install jsonschema") from None
    text = resources.files("dashboards").joinpath("schemas", f"grafana-{version}.json").read_text(encoding="utf-8")
    schemas = json.loads(text)
    for error in Draft7Validator(schemas["dashboard"]).iter_errors(board):
        path = "/".join(map(str, error.absolute_path))
        if not path.startswith(GRAFANAS_OWN):
            yield f"{path}: {error.message[:160]}"
    for panel in board["panels"]:
        own = schemas.get(panel["type"], {})
        parts = (("Options", panel["options"]), ("FieldConfig", panel["fieldConfig"]["defaults"].get("custom", {})))
        for name, part in parts:
            for error in Draft7Validator(own[name]).iter_errors(part) if name in own else ():
                yield f"{panel['title']}: {name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:160]}"


def lost(board: Json) -> Iterator[str]:
    """Keys that the official SDK does not give back: those that it does not know."""
    try:
        from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415 - only this check needs it
        from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: PLC0415 - as above
    except ImportError:
        raise CellherdError(
            "the round trip needs the SDK; install it with: pip install 'grafana-foundation-sdk>=0.0.21,<0.1'"
        ) from None
    back = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    yield from _missing(board, back)


def _missing(mine: Any, back: Any, path: str = "") -> Iterator[str]:
    if isinstance(mine, dict):
        for key, value in mine.items():
            if not isinstance(back, dict) or key not in back:
                if value is not None and value not in ({}, []):
                    yield f"{path}/{key}"
            else:
                yield from _missing(value, back[key], f"{path}/{key}")
    elif isinstance(mine, list):
        if not isinstance(back, list) or len(back) != len(mine):
            yield path
            return
        for at, (left, right) in enumerate(zip(mine, back, strict=True)):
            yield from _missing(left, right, f"{path}/{at}")
    elif mine != back:
        yield f"{path}: {mine!r} became {back!r}"


def lint(board: Json) -> Iterator[str]:
    """Our own rules: what every panel and dashboard has, and nothing that has broken somebody's before."""
    if len(board["panels"]) >= FEWER_THAN:
        yield f"{len(board['panels'])} panels; fewer than {FEWER_THAN}"
    ids = [panel.get("id") for panel in board["panels"]]
    if None in ids or len(set(ids)) < len(ids):
        yield "a panel without an id, or two with one"
    sources = {"${ds}", "${nightly}"}
    for panel in board["panels"]:
        where = panel.get("title") or "a panel without a title"
        if not panel.get("title") or not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{where}: title, description or unit is missing"
        if panel["type"] not in CORE:
            yield f"{where}: {panel['type']} is no core panel"
        if panel["datasource"]["uid"] not in sources:
            yield f"{where}: its data source is not a variable"
        for target in panel["targets"]:
            dataset = EVERY.get(target["query"])
            if dataset is None:
                yield f"{where}: a question that is no data set's"
            elif f"`{dataset.name}`" not in panel["description"] or dataset.needs not in panel["description"]:
                yield f"{where}: the description names no data set, or not what it needs"


def dead_links(boards: Sequence[Json]) -> Iterator[str]:
    """Links to dashboards or variables that there are not, and questions with variables that their page has not."""
    variables = {board["uid"]: {v["name"] for v in board["templating"]["list"]} for board in boards}
    for board in boards:
        own = variables[board["uid"]]
        for url in re.findall(r'"url": "([^"]+)"', json.dumps(board)):
            uid = urlsplit(url).path.removeprefix("/d/")
            if uid not in variables:
                yield f"{board['uid']}: {url} leads nowhere"
                continue
            asked = {key.removeprefix("var-") for key, _ in parse_qsl(urlsplit(url).query) if key.startswith("var-")}
            for absent in sorted(asked - variables[uid]):
                yield f"{board['uid']}: {url} sets {absent}, which {uid} does not have"
        for panel in board["panels"]:
            for target in panel["targets"]:
                needs = EVERY[target["query"]].ask.variables() - own if target["query"] in EVERY else set()
                for absent in sorted(needs):
                    yield f"{board['uid']}: {panel['title']} asks for ${absent}, which the page does not have"
