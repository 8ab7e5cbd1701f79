"""The README's pictures, taken of a demo by a browser without a window.

cellherd demo && python -m tests.pictures --demo ~/.local/state/cellherd/demo
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic

import httpx

from cellherd.paths import default_state
from tests.services import free_port

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MODULE = "hill-road/cellar/m3"
"""The one with the weak cell."""
PARTS = {
    "health.png": ("header, footer, section:not(.months)", "", 470),
    "module.png": (
        f"header, footer, .bar, section:not([aria-labelledby=modules]), details:not(:has([id='{MODULE}']))",
        MODULE,
        905,
    ),
}
"""Parts of the report: what is left out of the picture, which section is opened, and how high it is."""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET = ("--disable-background-networking", "--disable-component-update", "--hide-scrollbars")
READY_S = 60.0


def take(url: str, picture: Path, size: tuple[int, int]) -> None:
    """One picture of a page, once it has drawn itself."""
    browser = shutil.which("chromium") or "chromium"
    with TemporaryDirectory() as profile:
        own = (f"--user-data-dir={profile}", "--virtual-time-budget=8000", f"--window-size={size[0]},{size[1]}")
        command = [browser, *FLAGS, *QUIET, *own, f"--screenshot={picture}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    print(f"{picture}: {picture.stat().st_size // 1000} kB")


def live(demo: Path) -> None:
    """The live page of `cellherd serve` on the demo's folder."""
    port = free_port()
    words = ["serve", "--config", str(demo / "fleet.toml"), "--state", str(demo / "server")]
    command = [sys.executable, "-m", "cellherd", *words, "--listen", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/state.json")
        take(f"http://127.0.0.1:{port}/", IMAGES / "live.png", (1100, 900))
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str) -> None:
    deadline = monotonic() + READY_S
    while monotonic() < deadline:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.HTTPError:
            Event().wait(0.2)
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=default_state() / "demo")
    demo = parser.parse_args().demo.resolve()
    report = demo / "report.html"
    take(report.as_uri(), IMAGES / "report.png", (1100, 1000))
    for name, (hidden, mark, height) in PARTS.items():
        page = report.read_text(encoding="utf-8").replace("</style>", f"{hidden} {{ display: none }}</style>", 1)
        with TemporaryDirectory() as folder:
            alone = Path(folder, "part.html")
            alone.write_text(page, encoding="utf-8")
            take(f"{alone.as_uri()}#{mark}", IMAGES / name, (1100, height))
    live(demo)


if __name__ == "__main__":
    main()
