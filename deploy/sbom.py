"""Writes what we ship as CycloneDX: one file for an edge and one for a server, from the locked requirements.

    python deploy/sbom.py [FOLDER]

Every locked package stands in its file with exactly its version, or this fails. `make sbom` runs it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = {"edge": "requirements-edge.lock", "server": "requirements.lock"}
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def written(name: str, folder: Path) -> Path:
    """The SBOM of one lock file. Raises CalledProcessError if cyclonedx-py cannot read it."""
    place = folder / f"cellherd-{name}.cdx.json"
    lock, project = ROOT / LOCKS[name], ROOT / "pyproject.toml"
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(lock)]
    options = ["--pyproject", str(project), "--output-reproducible", "--of", "JSON", "-o", str(place)]
    subprocess.run([*command, *options], check=True)
    return place


def locked(text: str) -> set[tuple[str, str]]:
    """Names (as package registries compare them) and versions that a lock file pins."""
    return {(canonical(name), version) for name, version in _LOCKED.findall(text)}


def told(sbom: str) -> set[tuple[str, str]]:
    """Names and versions of an SBOM's components."""
    return {(canonical(one["name"]), one["version"]) for one in json.loads(sbom)["components"]}


def canonical(name: str) -> str:
    """A name without regard to case and separators (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Write both into a folder, `dist` unless another is named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    folder.mkdir(parents=True, exist_ok=True)
    for name, lock in LOCKS.items():
        place, wanted = written(name, folder), locked((ROOT / lock).read_text(encoding="utf-8"))
        if missing := wanted ^ told(place.read_text(encoding="utf-8")):
            sys.exit(f"{place} and {lock} differ in {sorted(missing)}")
        sys.stdout.write(f"{place}: {len(wanted)} packages\n")


if __name__ == "__main__":
    main()
