"""Grafana's two dead-man rules: well formed, and their queries answer on a real InfluxDB."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest
import yaml

from tests.services import influxd

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "dashboards/provisioning/alerting/cellherd.yaml").read_text())["groups"][0]["rules"]
SOURCES = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/cellherd.yaml").read_text())["datasources"]

POINTS = {"cellherd": "module,site=a voltage_mv=52000i", "cellherd_derived": "module_day,site=a n=9i"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_a_rule_holds_together_and_silence_raises_it(rule: dict[str, Any]) -> None:
    steps = {step["refId"]: step for step in rule["data"]}
    assert rule["condition"] in steps
    assert rule["noDataState"] == rule["execErrState"] == "Alerting"
    known = {source["uid"] for source in SOURCES} | {"__expr__"}
    before: set[str] = set()
    for name, step in steps.items():
        assert step["model"]["refId"] == name
        assert step["datasourceUid"] in known
        assert step["model"].get("expression", name) in before | {name}
        before.add(name)


@pytest.mark.service
def test_the_queries_count_what_came_lately_and_nothing_else(tmp_path: Path) -> None:
    now = int(time())
    with influxd(tmp_path) as store:
        for name in ("cellherd", "cellherd_derived"):
            httpx.post(f"{store.url}/query", params={"q": f'CREATE DATABASE "{name}"'}).raise_for_status()
        for database, line in (
            ("cellherd", "module,site=a voltage_mv=52000i"),
            ("cellherd_derived", "module_day,site=a n=9i"),
        ):
            told = {"db": database, "precision": "s"}
            httpx.post(f"{store.url}/write", params=told, content=f"{line} {now - 60}").raise_for_status()
        for rule in RULES:
            query = rule["data"][0]["model"]["query"]
            assert _counted(store.url, query, f"time > {now - 900}s") == 1
            assert _counted(store.url, query, f"time > {now - 30}s") == 0


def _counted(url: str, query: str, within: str) -> int:
    asked = {"db": "cellherd", "q": query.replace("$timeFilter", within)}
    (result,) = httpx.get(f"{url}/query", params=asked).raise_for_status().json()["results"]
    assert "error" not in result
    return sum(row[1] for series in result.get("series", []) for row in series["values"])
