"""The list of what we ship: every locked package with its version, nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy import sbom


def test_every_package_that_an_edge_installs_stands_in_its_sbom(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py", reason="pip install cyclonedx-bom")
    place = sbom.written("edge", tmp_path)
    listed = sbom.told(place.read_text())
    assert listed == sbom.locked((sbom.ROOT / sbom.LOCKS["edge"]).read_text())
    assert {"pymodbus", "paho-mqtt"} <= {name for name, _ in listed}
    first = place.read_text()
    assert sbom.written("edge", tmp_path).read_text() == first
    assert json.loads(first)["metadata"]["component"]["name"] == "cellherd"


def test_a_lock_file_is_read_with_extras_markers_and_hashes() -> None:
    text = "Ab.c_D[x,y]==1.2 ; python_version < '3.13' \\\n    --hash=sha256:00\n    # via e==9\n# f==3\ng==0.1\n"
    assert sbom.locked(text) == {("ab-c-d", "1.2"), ("g", "0.1")}
