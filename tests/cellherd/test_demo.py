"""The demo's own part: which process begins and ends when. `.ci/run` plays the whole of it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.progress import Progress

from cellherd import demo
from cellherd.demo import LOOK_S, Stage, Told, end

WAITS = """
import pathlib, signal, sys
mine, other = map(pathlib.Path, sys.argv[1:])
def asked(*_):
    mine.touch()
    while not other.exists():
        signal.sigtimedwait([], 0.02)
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print("ready", flush=True)
signal.pause()
"""


def test_processes_that_wait_for_each_other_end_when_all_are_asked(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in "ab"]
    children = [
        subprocess.Popen([sys.executable, "-c", WAITS, *pair], stdout=subprocess.PIPE, text=True)
        for pair in (files, files[::-1])
    ]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    end(*children)
    assert [child.returncode for child in children] == [0, 0], "neither had to be killed"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, "127.0.0.1:1", ExitStack(), {"north": Told(), "south": Told()})


def test_an_edge_begins_when_the_past_of_its_own_site_is_made(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def start(self: Stage, name: str, *words: str) -> None:
        begun.append(name)
        self.children[name] = None  # type: ignore[assignment]

    monkeypatch.setattr(Stage, "start", start)
    progress = Progress()
    task = progress.add_task("", told="")
    assert not demo._making(stage, progress, task)
    stage.told["south"].past = True
    assert not demo._making(stage, progress, task)
    assert begun == ["edge-south"]
    stage.told["north"].past = True
    assert demo._making(stage, progress, task)
    assert begun == ["edge-south", "edge-north"], "each once"


def test_a_past_that_is_finished_while_one_looks_has_its_edge_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread hears of it, at any moment: an edge that never began would let the demo wait for it in vain."""
    monkeypatch.setattr(Stage, "start", lambda self, name, *_: self.children.setdefault(name, None))
    stage.told["north"].past = True
    progress = Progress()
    task = progress.add_task("", told="")
    monkeypatch.setattr(progress, "update", lambda *_, **__: setattr(stage.told["south"], "past", True))
    looks = [demo._making(stage, progress, task) for _ in range(2)]
    assert looks == [False, True]
    assert {*stage.children} == {"edge-north", "edge-south"}


def test_live_seconds_count_once_every_edge_has_read_something(stage: Stage) -> None:
    progress = Progress()
    task = progress.add_task("", told="", total=1.0)
    stage.told["north"].live = 4
    assert not any(demo._reading(stage, progress, task) for _ in range(50))
    stage.told["south"].live = 4
    looks = [demo._reading(stage, progress, task) for _ in range(round(1.0 / LOOK_S))]
    assert looks == [False] * (len(looks) - 1) + [True]
