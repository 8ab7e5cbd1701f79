"""What we ship for machines: the compose file, the units, the secrets step."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cellherd.config import load_fleet
from tests.services import find

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def test_only_mqtt_over_tls_is_open_to_the_world() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == ["8883:8883"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_has_limits_and_a_health_check_and_cannot_write_its_root(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["mem_limit"]
    assert service["healthcheck"]["test"]


def test_every_secret_is_a_file_that_the_secrets_step_makes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path)
    subprocess.run(["/bin/sh", str(tmp_path / "secrets.sh"), "broker.example"], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    kept = {Path(one["path"]).name for service in COMPOSE["services"].values() for one in service.get("env_file", [])}
    assert named | kept == set(made)
    assert {secret for service in COMPOSE["services"].values() for secret in service.get("secrets", [])} == set(
        COMPOSE["secrets"]
    )
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    subprocess.run(["/bin/sh", str(tmp_path / "secrets.sh"), "broker.example"], check=True, capture_output=True)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_the_shipped_registry_is_fine() -> None:
    assert load_fleet(ROOT / "deploy" / "config" / "fleet.toml", {}).broker.cert_file


def test_the_compose_file_keeps_to_its_specification() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.service
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_sound_and_little_exposed(unit: Path, tmp_path: Path) -> None:
    analyze = find("systemd-analyze", "systemd")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/cellherd/bin/cellherd", "/bin/true"))
    found = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    rating = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(copy)]
    assert subprocess.run(rating, capture_output=True, check=False).returncode == 0


def test_what_the_role_copies_is_there_and_a_shell_needs_no_password_on_its_line() -> None:
    role = ROOT / "deploy" / "ansible" / "roles" / "cellherd_edge"
    parts = {part.parent.name: yaml.safe_load(part.read_text(encoding="utf-8")) for part in role.glob("*/main.yml")}
    play = str(ROOT / "deploy" / "ansible")
    for name in ("cellherd_lock", "cellherd_systemd", "cellherd_udev"):
        assert Path(parts["defaults"][name].replace("{{ playbook_dir }}", play)).exists(), name
    handlers = {handler["name"] for handler in parts["handlers"]}
    assert {task["notify"] for task in parts["tasks"] if "notify" in task} == handlers
    secret = [task for task in parts["tasks"] if "cellherd_files" in str(task) and "edge.toml" not in str(task)]
    assert len(secret) == 2
    assert all(task["no_log"] for task in secret)


def test_the_guides_name_files_that_exist() -> None:
    text = (ROOT / "docs" / "raspberry-pi.md").read_text(encoding="utf-8")
    for name in ("deploy/systemd/cellherd-edge.service", "deploy/udev/70-cellherd.rules", "requirements-edge.lock"):
        assert name in text
        assert (ROOT / name).exists()
