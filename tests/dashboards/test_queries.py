"""Every question that a dashboard asks, asked of a real InfluxDB and of Polars, about a simulated fleet."""

from __future__ import annotations

from pathlib import Path

import httpx
import polars as pl
import pytest
from typer.testing import CliRunner

from cellherd.cli import app_for
from cellherd.reading import CELLS
from dashboards.answering import Shown, answer
from dashboards.build import DASHBOARDS, dashboard
from dashboards.check_queries import Server, differences, faults, table
from dashboards.checking import FOR_MANY
from dashboards.points import Points, read
from dashboards.questions import BY_PAGE
from tests.dashboards.fleet import MINUTE, written
from tests.services import Service

pytestmark = pytest.mark.service
DAY = 86_400_000
QUESTIONS = [(page, name) for page, asked in BY_PAGE.items() for name in asked]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def points(folder: Path) -> Points:
    return read(folder)


@pytest.fixture(scope="module")
def server(influxdb: Service, folder: Path) -> Server:
    databases = {"live": "herd", "nightly": "herd_derived"}
    for bucket, name in databases.items():
        httpx.post(f"{influxdb.url}/query", params={"q": f"CREATE DATABASE {name}"}).raise_for_status()
        lines = (folder / f"{bucket}.lp").read_bytes().splitlines()
        for start in range(0, len(lines), 5000):
            body, told = b"\n".join(lines[start : start + 5000]), {"db": name, "precision": "ms"}
            httpx.post(f"{influxdb.url}/write", params=told, content=body, timeout=60).raise_for_status()
    return Server(influxdb.url, {"live": "herd", "nightly": "herd_derived"})


@pytest.fixture(scope="module")
def worst(points: Points) -> dict[str, str]:
    """The module that was locked out most."""
    counts = points["lockout"].group_by("site", "stack", "module").len().sort("len", "site", descending=True)
    return {name: counts[name][0] for name in ("site", "stack", "module")}


def shown(points: Points, page: str, worst: dict[str, str]) -> Shown:
    end = int(str(points["module"]["ts"].max()))
    return Shown(end - 5 * DAY, end, "10m", {} if page in FOR_MANY else worst)


@pytest.mark.parametrize(("page", "name"), QUESTIONS)
def test_a_question_is_answered_alike_by_influxdb_and_by_polars(
    server: Server, points: Points, worst: dict[str, str], page: str, name: str
) -> None:
    assert list(faults(BY_PAGE[page][name], server, points, shown(points, page, worst))) == []


def test_a_half_without_a_lockout_is_told_alike(server: Server, points: Points) -> None:
    """Before alone, and after alone: an InfluxDB that knows a field from one half only must still count the other."""
    halves, end = BY_PAGE["fleet-lockouts"]["lockout_halves"], int(str(points["module"]["ts"].max()))
    quiet = {"after": Shown(end - 6 * DAY, end + 8 * DAY), "before": Shown(end - 13 * DAY, end + DAY)}
    for half, at in quiet.items():
        told = answer(halves.ask, points, at)
        assert told[f"times {half}"].sum() == 0
        assert told.select(pl.sum_horizontal("times before", "times after")).sum().item() == points["lockout"].height
        assert list(faults(halves, server, points, at)) == []


def test_the_balancing_of_a_cell_is_its_bit_of_the_last_mask(points: Points, worst: dict[str, str]) -> None:
    at = shown(points, "fleet-module", worst)
    told = answer(BY_PAGE["fleet-module"]["balancing"].ask, points, at)
    mine = points["module"].filter(pl.col(name) == value for name, value in worst.items())
    masks = {ts // (10 * MINUTE): int(mask) for ts, mask in mine.sort("ts").select("ts", "balancing").rows()}
    assert any(masks.values())
    for ts, *bits in told.select("ts", *(f"cell {cell + 1}" for cell in range(CELLS))).rows():
        assert sum(int(bit) << cell for cell, bit in enumerate(bits)) == masks[ts // (10 * MINUTE)]


def test_only_what_may_be_empty_is_empty(server: Server, points: Points, worst: dict[str, str]) -> None:
    empty = {
        name
        for page, name in QUESTIONS
        if not server.ask((one := BY_PAGE[page][name]).bucket, shown(points, page, worst).filled(one.influxql))
    }
    assert empty <= {"not_judged", "next_visit", "today", "act_now", "health_cycles"}


def test_every_variable_finds_its_values(server: Server, worst: dict[str, str]) -> None:
    for make in DASHBOARDS:
        for variable in dashboard(make())["templating"]["list"]:
            if variable["type"] == "query":
                found = server.ask("live", Shown(0, 1, chosen=worst).filled(variable["query"]))
                assert found[0]["values"], variable["name"]


def test_every_annotation_finds_the_lockouts(server: Server, points: Points, worst: dict[str, str]) -> None:
    for make in DASHBOARDS:
        board = dashboard(make())
        query = board["annotations"]["list"][0]["target"]["query"]
        found = server.ask("nightly", shown(points, board["uid"], worst).filled(query))
        assert found[0]["columns"] == ["time", "text"]


def test_a_difference_between_the_two_forms_is_found(server: Server, points: Points, worst: dict[str, str]) -> None:
    dataset = BY_PAGE["fleet-module"]["spread"]
    at = shown(points, "fleet-module", worst)
    told = table(dataset, server.ask("live", at.filled(dataset.influxql)))
    wrong = answer(dataset.ask, points, at).with_columns(pl.col("spread") + 1)
    assert "by Polars" in next(differences(dataset, told, wrong))
    assert "rows" in next(differences(dataset, told, wrong.head(3)))


def test_a_number_that_cannot_be_and_a_question_that_is_refused_are_told(server: Server, points: Points) -> None:
    end = int(str(points["module"]["ts"].max()))
    nobody = Shown(end - DAY, end, "10m", {"site": "nowhere", "stack": "s1", "module": "m1"})
    assert list(faults(BY_PAGE["fleet-module"]["spread"], server, None, nobody)) == ["no rows"]
    broken = Shown(end - DAY, end, "ten minutes", {})
    assert "refuses" in next(faults(BY_PAGE["fleet-module"]["spread"], server, None, broken))


def test_the_command_draws_a_page_of_each_dashboard_without_a_server(
    folder: Path, worst: dict[str, str], tmp_path: Path
) -> None:
    chosen = [word for name, value in worst.items() for word in ("--choose", f"{name}={value}")]
    words = ["dashboards", "render", "--points", str(folder), "--out", str(tmp_path), "--days", "5", *chosen]
    done = CliRunner().invoke(app_for(words), words)
    assert done.exit_code == 0, done.output
    pages = {path.stem: path.read_text() for path in tmp_path.glob("*.html")}
    assert set(pages) == set(BY_PAGE)
    assert "http" not in pages["fleet-home"].replace("http://www.w3.org/", "")
    empty = {page: text.count('class="nothing"') for page, text in pages.items()}
    assert empty == {page: 1 if page == "fleet-degradation" else 0 for page in pages}, "health needs weeks"
