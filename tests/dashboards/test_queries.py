"""Every question that a dashboard asks, asked of a real InfluxDB."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dashboards.build import DASHBOARDS, dashboard
from dashboards.datasets import DATASETS
from tests.services import Service

START = 1_773_360_000_000
PLACE = "installer=sunny,site=farm,stack=s1,module=m1,kind=module"
REST = "t00=215i,t01=221i,voltage_mv=52880i,cell_spread_mv=15i"
CHOSEN = {
    "$site": "farm",
    "$stack": "s1",
    "$module": "m1",
    "$timeFilter": f"time >= {START}ms AND time < {START + 3_600_000}ms",
    "$__interval": "1m",
}

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def database(influxdb: Service) -> str:
    """An hour of a 16-cell module with two sensors, and a fault that came and went."""
    httpx.post(f"{influxdb.url}/query", params={"q": "CREATE DATABASE panels"}).raise_for_status()
    cells = ",".join(f"c{i:02}={3300 + i}i" for i in range(16))
    lines = [
        f"module,{PLACE} {cells},{REST},current_ma=-{n}000i,soc_pm={900 - n}i {START + n * 60_000}" for n in range(60)
    ]
    tags = "installer=sunny,site=farm,stack=s1,module=m1,fault=cell_imbalance_warning"
    lines += [
        f'fault,{tags} active={on}i,priority=2i,cell=6i,value=61,code="b5",text="Cell spread" {START + at}'
        for on, at in ((1, 600_000), (0, 1_200_000))
    ]
    httpx.post(
        f"{influxdb.url}/write", params={"db": "panels", "precision": "ms"}, content="\n".join(lines)
    ).raise_for_status()
    return "panels"


def ask(influxdb: Service, database: str, query: str) -> list[dict[str, Any]]:
    for name in sorted(CHOSEN, key=len, reverse=True):
        query = query.replace(name, CHOSEN[name])
    answer = httpx.get(f"{influxdb.url}/query", params={"db": database, "q": query, "epoch": "ms"}).json()
    assert "error" not in answer, answer
    result = answer["results"][0]
    assert "error" not in result, result
    return list(result.get("series", []))


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_answers_with_rows(influxdb: Service, database: str, name: str) -> None:
    series = ask(influxdb, database, DATASETS[name].influxql)
    assert any(value is not None for one in series for row in one["values"] for value in row[1:])


def test_cells_come_as_one_column_each_by_the_names_that_panels_rename(influxdb: Service, database: str) -> None:
    (series,) = ask(influxdb, database, DATASETS["cells"].influxql)
    assert series["columns"] == ["time", *(f"mean_c{i:02}" for i in range(16))]
    assert series["values"][0][1:] == [3300 + i for i in range(16)]


def test_temperatures_are_degrees_and_absent_sensors_are_empty(influxdb: Service, database: str) -> None:
    (series,) = ask(influxdb, database, DATASETS["temperatures"].influxql)
    first = dict(zip(series["columns"], series["values"][0], strict=True))
    assert (first["sensor 1"], first["sensor 2"], first["sensor 3"]) == (21.5, 22.1, None)


def test_a_fault_stands_from_entering_to_leaving(influxdb: Service, database: str) -> None:
    (series,) = ask(influxdb, database, DATASETS["faults"].influxql)
    assert series["tags"] == {"fault": "cell_imbalance_warning"}
    states = [value for _, value in series["values"]]
    assert states == [None] * 10 + [1] * 10 + [0] * 40


def test_every_variable_finds_its_values(influxdb: Service, database: str) -> None:
    variables = [v for make in DASHBOARDS for v in dashboard(make())["templating"]["list"] if v["type"] == "query"]
    found = {v["name"]: [row[1] for row in ask(influxdb, database, v["query"])[0]["values"]] for v in variables}
    assert found == {"site": ["farm"], "stack": ["s1"], "module": ["m1"]}
