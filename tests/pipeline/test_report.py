"""The report: everything inside, honest about gaps and missing data, and safe against names."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.report import build
from pipeline.report.charts import MONTHS, PAPER, PLOTS, spec
from pipeline.report.curves import packed, weak_cell, with_gaps
from pipeline.report.facts import gather
from pipeline.report.health import over_time
from pipeline.simulation.past import MET, daily_health, past
from tests.fakes.fleet_by_hand import DAY, SITE, START, Frames, finding, fleet, readings
from tests.services import find

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> $heading \u202e"
BLOCK = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)


def store(**tables: list[dict[str, Any]]) -> Frames:
    return Frames(tables)


def whole(differences: list[int | None]) -> list[int | None]:
    total, values = 0, []
    for step in differences:
        total += step or 0
        values.append(None if step is None else total)
    return values


def aged(module: str = "m1", days: int = 365) -> dict[str, list[dict[str, Any]]]:
    """The tables from which a worn module's health over the months is drawn."""
    row = {"edge": "farm-pi", "site": "farm", "stack": "s1", "module": module, "unit": f"sn-{module}"}
    met = pl.DataFrame([{**row, "kind": "module", "nominal_mah": 1e5, "cells": 16, "until": DAY}], schema=MET)
    return {"soh": daily_health(past(met, days, 7, frozenset({0})), met).to_dicts()}


def own_words(page: str) -> str:
    """The page without the drawing library, which is not ours to judge."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_a_page_holds_everything_and_calls_nobody(tmp_path: Path) -> None:
    page = build(store(reading=readings("m1", weak=6)), fleet(1), DAY, tmp_path / "r.html").read_text("utf-8")
    assert "://" not in own_words(page)
    assert not re.search(r"<(link|img|iframe|script)[^>]*\b(src|href)=", own_words(page))
    assert "default-src 'none'" in page
    assert "unsafe-eval" not in page


def test_a_worklist_item_tells_what_where_how_much_how_sure_and_what_to_do(tmp_path: Path) -> None:
    shown = store(reading=readings("m1"), finding=[finding(), finding(finding_id="f2", status="ok", module="m2")])
    page = own_words(build(shown, fleet(1), DAY, tmp_path / "r.html").read_text("utf-8"))
    for part in (
        "Farm Müller, stack s1, module m1, cell 7",
        "118 mV (limit 100 mV",
        "since 2026-03-10",
        "likely (86%)",
        "Safety:",
    ):
        assert part in page
    assert page.count('<li class="p1">') == 1
    assert "Simulated data" in page


def test_the_worst_module_stands_first_and_one_click_leads_to_its_readings(tmp_path: Path) -> None:
    found = [
        finding(finding_id="f2", module="m2", score=999.0, rank=1, priority=1),
        finding(),
        finding(finding_id="f3", module=None),
    ]
    shown = store(reading=readings("m1") + readings("m2"), finding=found)
    page = own_words(build(shown, fleet(2), DAY, tmp_path / "r.html").read_text("utf-8"))
    links = re.findall(r'<p class="where"><a href="#([^"]+)">', page)
    assert links[0] == "farm/s1/m2"
    assert sorted(links) == ["farm/s1/m1", "farm/s1/m2"], "what is of the whole site leads to no module"
    assert all(page.count(f'id="{link}"') == 1 for link in links)


def test_twenty_four_modules_stay_below_three_megabytes(tmp_path: Path) -> None:
    rows = [row for n in range(24) for row in readings(f"m{n:02}", period_s=120)]
    assert build(store(reading=rows), fleet(0), DAY, tmp_path / "r.html").stat().st_size < 3_000_000


def test_names_cannot_leave_their_place(tmp_path: Path) -> None:
    hostile = fleet(1, site=[{**SITE, "name": HOSTILE}], installer=[{"id": "sunny", "name": HOSTILE}])
    shown = store(reading=readings("m1", period_s=600), finding=[finding(pattern=HOSTILE, fault=HOSTILE)])
    page = build(shown, hostile, DAY, tmp_path / "r.html").read_text("utf-8")
    assert page.count("<script") == page.count("</script>")
    assert "<img src=x" not in page
    assert json.loads(packed({"a": HOSTILE})) == {"a": HOSTILE}
    assert "<" not in packed({"a": HOSTILE})


def test_a_gap_is_drawn_as_a_gap(tmp_path: Path) -> None:
    page = build(store(reading=readings("m1", gap=True)), fleet(1), DAY, tmp_path / "r.html").read_text("utf-8")
    drawn = json.loads(BLOCK.findall(page)[0])
    times, cell = whole(drawn["t"]), whole(drawn["lines"]["cells"]["cell 1"])
    (hole,) = [time for time, value in zip(times, cell, strict=True) if value is None]
    assert 20 < (hole - START) / 3_600_000 - 1 < 21  # type: ignore[operator]  # Berlin is an hour ahead of UTC


def test_a_line_has_at_most_two_thousand_points_and_keeps_its_spike(tmp_path: Path) -> None:
    rows = readings("m1", period_s=20)
    rows[4000]["c03"] = 2950
    (module,) = gather(store(reading=rows), fleet(1), DAY, 24)
    assert len(module.curves) <= 2000
    assert module.curves["c03"].min() == 2950


def test_two_days_are_the_sites_own_and_nothing_else() -> None:
    rows = readings("m1", period_s=3600)
    (module,) = gather(store(reading=rows), fleet(1), DAY, 24)
    assert module.state["n"] == 47  # Berlin's two days end an hour before UTC's
    (later,) = gather(store(reading=rows), fleet(1), DAY + timedelta(days=9), 24)
    assert later.state == {}


def test_a_silent_module_is_in_the_table_and_a_young_one_is_not_drawn(tmp_path: Path) -> None:
    few = readings("m1", period_s=60)[120:124]
    page = own_words(build(store(reading=few), fleet(2), DAY, tmp_path / "r.html").read_text("utf-8"))
    assert "not in these days" in page
    assert "Not enough data to draw: 4 readings" in page


def test_an_empty_archive_gives_a_page_that_says_so(tmp_path: Path) -> None:
    page = build(store(), fleet(1), DAY, tmp_path / "r.html").read_text("utf-8")
    assert "Nothing found that needs you." in page


def test_the_cell_that_stands_out_is_found_and_none_where_none_does() -> None:
    (weak,) = gather(store(reading=readings("m1", weak=6)), fleet(1), DAY, 24)
    (fine,) = gather(store(reading=readings("m1")), fleet(1), DAY, 24)
    found = weak_cell(weak.curves)
    assert found
    assert found[0] == 6
    assert found[1] < -20
    assert weak_cell(fine.curves) is None
    assert with_gaps(fine.curves).equals(fine.curves)


def test_a_standing_fault_is_a_bar_from_its_first_to_its_last_reading() -> None:
    (module,) = gather(store(reading=readings("m1", weak=6)), fleet(1), DAY, 24)
    (bar,) = module.bars
    assert bar.fault == "cell_imbalance_warning"
    assert (bar.end - bar.start) / 60_000 == pytest.approx(149)


def test_health_over_the_months_is_what_the_night_says_of_it_and_is_left_out_where_nothing_is_known() -> None:
    points = over_time(Frames(aged()), DAY)["farm", "s1", "m1"]
    assert 25 <= len(points) <= 29
    assert points[0]["v"] - points[-1]["v"] > 8
    assert all(point["lo"] < point["v"] < point["hi"] for point in points)
    assert over_time(Frames(aged(days=10)), DAY) == {}
    assert over_time(Frames({}), DAY) == {}


def test_a_worn_module_is_named_over_its_drawing_and_its_name_stays_in_its_place(tmp_path: Path) -> None:
    hostile = fleet(1, site=[{**SITE, "name": HOSTILE}])
    page = build(store(reading=readings("m1"), **aged()), hostile, DAY, tmp_path / "r.html").read_text("utf-8")
    assert page.count("<script") == page.count("</script>")
    assert "Below 80 %." in page
    assert "Health over the months" not in build(store(), hostile, DAY, tmp_path / "e.html").read_text("utf-8")


@pytest.mark.parametrize("plot", [*PLOTS, *MONTHS], ids=lambda plot: plot.name)
def test_a_drawing_calls_no_function_that_vegas_interpreter_gets_wrong(plot: Any) -> None:
    assert "datetime(" not in json.dumps(spec(plot, PAPER, (START, START + 1)))


@pytest.mark.service
def test_a_browser_draws_every_plot_without_eval_and_without_a_word_on_the_console(tmp_path: Path) -> None:
    chromium = find("chromium", "chromium")
    hostile = fleet(1, site=[{**SITE, "name": HOSTILE}])
    shown = store(reading=readings("m1", period_s=300, weak=6), finding=[finding()], **aged())
    page = build(shown, hostile, DAY, tmp_path / "r.html")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=8000"]
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert own_words(done.stdout).count("<svg") == len(PLOTS) + len(MONTHS)
    assert "<title>owned" not in done.stdout
