"""Dashboards as Grafana wants them: each trap that has broken somebody's dashboards is a test here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cellherd.faults import catalogue
from dashboards import OUT
from dashboards.build import DASHBOARDS, built, dashboard, stale, write
from dashboards.clean import clean
from dashboards.layout import panel_id
from dashboards.questions import EVERY

BOARDS = [dashboard(make()) for make in DASHBOARDS]
PANELS = [(board["uid"], panel) for board in BOARDS for panel in board["panels"]]


def walk(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, part
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inner:
        yield from walk(value, f"{path}/{key}")


def test_dashboards_in_the_tree_equal_dashboards_freshly_built() -> None:
    assert stale(OUT) == []
    assert {path.name for path in OUT.glob("*.json")} == set(built())


def test_a_changed_or_missing_file_is_stale(tmp_path: Any) -> None:
    first, *_ = write(tmp_path)
    assert stale(tmp_path) == []
    first.write_text("{}")
    assert stale(tmp_path) == [first.name]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_a_dashboard_has_the_form_of_grafana_12(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] == 41
    assert isinstance(board["refresh"], str)
    assert board["editable"] is False
    assert not {"rows", "style", "hideControls", "sharedCrosshair"} & board.keys()
    assert len(board["panels"]) < 15
    assert board["uid"] == board["uid"].lower()
    assert len(board["uid"]) <= 40


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_nothing_is_null_but_the_base_of_a_threshold(board: dict[str, Any]) -> None:
    nulls = [path for path, value in walk(board) if value is None]
    assert all(path.endswith("/steps/0/value") for path in nulls)
    firsts = [path for path, _ in walk(board) if path.endswith("/steps/0")]
    assert nulls == [f"{path}/value" for path in firsts]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_no_link_is_empty(board: dict[str, Any]) -> None:
    assert all({} not in value for path, value in walk(board) if path.endswith("/links"))


@pytest.mark.parametrize(
    ("uid", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_a_panel_says_what_it_shows_and_asks_through_the_variable(uid: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    asked = [EVERY[target["query"]] for target in panel["targets"]]
    sources = {"live": "${ds}", "nightly": "${nightly}"}
    assert panel["datasource"]["uid"] == sources[asked[0].bucket]
    assert [target["datasource"]["uid"] for target in panel["targets"]] == [sources[one.bucket] for one in asked]
    assert all(one.told in panel["description"] for one in asked)


def test_panel_ids_are_unique_and_come_from_names_not_from_order() -> None:
    for board in BOARDS:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
    cells = next(panel for _, panel in PANELS if panel["title"] == "Cell voltages")
    assert cells["id"] == panel_id("fleet-module", "cells") == 807860


def test_panels_stand_on_the_grid_without_overlapping() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in board["panels"]):
            squares = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not squares & taken
            assert place["x"] + place["w"] <= 24
            taken |= squares


def test_faults_carry_the_catalogues_words() -> None:
    panel = next(panel for uid, panel in PANELS if panel["title"] == "Faults")
    shown = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
    assert shown == {fault.id: fault.title for fault in catalogue().values()}


def test_cells_are_counted_from_one() -> None:
    panel = next(panel for _, panel in PANELS if panel["title"] == "Cell voltages")
    first = panel["fieldConfig"]["overrides"][0]
    assert (first["matcher"]["options"], first["properties"][0]["value"]) == ("mean_c00", "cell 1")


def test_cleaning_keeps_false_zero_and_empty_text() -> None:
    assert clean({"a": None, "b": False, "c": 0, "d": "", "links": [{}]}) == {"b": False, "c": 0, "d": "", "links": []}


def test_the_provisioned_datasource_has_a_fixed_uid_and_no_secret_in_it() -> None:
    folder = OUT.parent / "provisioning"
    live, nights = yaml.safe_load((folder / "datasources" / "cellherd.yaml").read_text())["datasources"]
    assert (live["uid"], nights["uid"]) == ("fleet-influxql", "fleet-nights")
    assert (live["jsonData"]["dbName"], nights["jsonData"]["dbName"]) == ("cellherd", "cellherd_derived")
    for source in (live, nights):
        assert source["type"] == "influxdb"
        assert source["secureJsonData"]["httpHeaderValue1"].startswith("Token $__file{")
    regexes = {v["name"]: v["regex"] for v in BOARDS[0]["templating"]["list"] if v["type"] == "datasource"}
    kept = {n: [s["name"] for s in (live, nights) if re.search(r.strip("/i"), s["name"])] for n, r in regexes.items()}
    assert kept == {"ds": ["CellHerd"], "nightly": ["CellHerd nights"]}
    provider = yaml.safe_load((folder / "dashboards" / "cellherd.yaml").read_text())["providers"][0]
    assert provider["allowUiUpdates"] is False


def test_every_dataset_is_drawn_by_some_panel() -> None:
    asked = {target["query"] for _, panel in PANELS for target in panel["targets"]}
    assert asked == set(EVERY)
    assert json.dumps(BOARDS[0]) == json.dumps(dashboard(DASHBOARDS[0]()))
