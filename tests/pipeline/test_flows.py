"""The Prefect shell: its functions without a server, and one real run with a temporary home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellherd.clock import SystemClock
from pipeline.nightly.diary import Diary
from pipeline.nightly.site_day import CODE_VERSION, Done
from pipeline.stores.archive import Archive
from tests.pipeline.fleets import MIDNIGHT, MINUTE, frame, reading
from tests.pipeline.test_commands_nightly import FLEET

HOUSE = Path(__file__).parents[2]
DAY_MS = 24 * 60 * MINUTE


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Readings of the day before yesterday, so that it is owed whenever the test runs."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    begin = (SystemClock().wall() // DAY_MS - 2) * DAY_MS - MIDNIGHT
    rows = [reading(begin + n * 10 * MINUTE, (3300, 3300, 3400, 3300)) for n in range(144)]
    Archive(str(tmp_path / "archive")).append("reading", frame(rows), app_id="ingest", version=1)
    return tmp_path


def done(place: Path) -> list[Done]:
    diary = Diary(place / "nightly.db")
    try:
        return list(diary.done().values())
    finally:
        diary.close()


def test_a_day_is_worked_through_and_gets_its_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night = pytest.importorskip("pipeline.flows.night")
    pages: dict[str, str] = {}
    monkeypatch.setattr(night, "create_markdown_artifact", lambda text, key: pages.update({key: text}))
    for task in ("one_day", "in_order"):
        monkeypatch.setattr(night, task, getattr(night, task).fn)
    assert night.owed_nights.fn(place / "fleet.toml", place) == 1
    assert {entry.code_version for entry in done(place)} == {CODE_VERSION}
    assert any("The barn, stack s1, module m1, cell 3" in page for page in pages.values())
    assert night.owed_nights.fn(place / "fleet.toml", place) == 0


@pytest.mark.slow
def test_a_real_flow_runs_on_a_fresh_home(place: Path) -> None:
    pytest.importorskip("prefect")
    program = (
        "from pathlib import Path\nfrom pipeline.flows.night import owed_nights\n"
        f"print('findings', owed_nights(Path({str(place / 'fleet.toml')!r}), Path({str(place)!r})))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment = kept | {"PREFECT_HOME": str(place / "prefect"), "HOME": str(place)}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=HOUSE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "findings 1" in ran.stdout
    assert done(place)
