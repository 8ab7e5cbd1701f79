"""docs/first-server.md, run as it stands: TLS, an emulated battery, a night, the report, the live page, a doctor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.stores.archive import Archive
from tests.deploy.machine import Machine, machine
from tests.services import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "first-server.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (run|start) -->\n```\n(.*?)```", re.DOTALL)
ANSWERS = "server.example.org\n\n\n\n"


def steps() -> Iterator[tuple[str, str]]:
    """(run or start, line) in the order of the page."""
    for how, lines in BLOCK.findall(PAGE):
        yield from ((how, line) for line in lines.splitlines())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, CELLHERD_STATE=str(tmp_path / "state")) as made:
        yield made


def _readings(folder: Path) -> int:
    counted: int = Archive(str(folder / "state" / "archive")).scan("reading").collect().height
    return counted


@pytest.mark.slow
def test_the_page_runs_as_it_stands(server: Machine) -> None:
    folder, broker, web, health = server.folder, free_port(), free_port(), free_port()
    swaps = {"server.example.org:8883": f"localhost:{broker}", "0.0.0.0:8883": f"127.0.0.1:{broker}"}
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    (folder / "battery.toml").write_text(found[1])
    ready = {
        "cellherd ingest run": lambda: httpx.get(f"http://127.0.0.1:{health}/healthz").is_success,
        "cellherd edge emulate": (folder / "emulated" / "edge.toml").exists,
        "cellherd edge run": lambda: _readings(folder) > 2900,
        "cellherd serve": lambda: httpx.get(f"http://127.0.0.1:{web}/healthz").is_success,
    }
    said = {}
    for how, line in steps():
        typed = line.replace("127.0.0.1:9838", f"127.0.0.1:{web}")
        if how == "run":
            said[line] = server.run(typed, ANSWERS if " init " in line else "")
        else:
            server.start(typed)
            (wanted,) = (check for words, check in ready.items() if line.startswith(words))
            server.wait(lambda wanted=wanted: _is(wanted), line)
        if " init " in line:
            config = folder / "fleet.toml"
            text = config.read_text()
            assert all(name in text for name in swaps)
            for name, own in swaps.items():
                text = text.replace(name, own)
            config.write_text(f'{text}\n[health]\nlisten = "127.0.0.1:{health}"\n')
    assert "mqtts://localhost" in (folder / "first-site-pi" / "edge.toml").read_text()
    assert "modules 1" in said["cellherd nightly --due --config fleet.toml"]
    assert "first-site" in (folder / "report.html").read_text(encoding="utf-8")
    assert '"m1"' in json.dumps(httpx.get(f"http://127.0.0.1:{web}/state.json").json())
    assert "fail" not in said["cellherd doctor --config fleet.toml"].split()


def _is(check: object) -> bool:
    try:
        return bool(check())  # type: ignore[operator]
    except httpx.HTTPError:
        return False
