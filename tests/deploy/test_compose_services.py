"""Our services of docker-compose.yml, run without Docker: their own commands, secrets and health checks."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.deploy.machine import Machine, machine
from tests.services import free_port, victoria_metrics

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image") == COMPOSE["x-cellherd"]["image"] and not service.get("profiles")
}
MOUNTS = {"/etc/cellherd": "etc", "/var/lib/cellherd": "state", "/tmp/nightly-alive": "nightly-alive"}  # noqa: S108


SITES = """
[[installer]]
id = "sunny"

[[site]]
id = "farm"
installer = "sunny"
tz = "Europe/Berlin"
edge = "farm-pi"
"""


class Swaps(dict[str, str]):
    """What stands in the compose file, and what it is on this machine."""

    def __call__(self, text: str) -> str:
        for name in sorted(self, key=len, reverse=True):
            text = text.replace(name, self[name])
        return text


@pytest.fixture
def swaps(tmp_path: Path) -> Iterator[Swaps]:
    (tmp_path / "victoria").mkdir()
    with victoria_metrics(tmp_path / "victoria") as store:
        made = Swaps({name: str(tmp_path / folder) for name, folder in MOUNTS.items()})
        made |= {f"/run/secrets/{name}": str(tmp_path / secret["file"]) for name, secret in COMPOSE["secrets"].items()}
        made |= {"0.0.0.0:": "127.0.0.1:", "http://influxdb:8086": store.url}
        made |= {port: str(free_port()) for port in ("8883", "9838", "9837")}
        yield made


@pytest.fixture
def host(tmp_path: Path, swaps: Swaps) -> Iterator[Machine]:
    """A machine with the folders that compose mounts, its secrets made by the step that the guide names."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path / "deploy")
    subprocess.run(["/bin/sh", "deploy/secrets.sh", "localhost"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "deploy" / "secrets" / "influx_write_token").write_text("written-by-influxdb-at-its-first-start")
    for secret in (tmp_path / "deploy" / "secrets").iterdir():
        secret.chmod(0o600)  # /run/secrets of a container, where modes do not count
    (tmp_path / "etc").mkdir()
    (tmp_path / "state").mkdir()
    registry = (ROOT / "deploy" / "config" / "fleet.toml").read_text(encoding="utf-8")
    health = f'[health]\nlisten = "127.0.0.1:{swaps["9837"]}"\n'
    (tmp_path / "etc" / "fleet.toml").write_text(f"{swaps(registry)}\n{health}{SITES}")
    (tmp_path / "nightly-loop").write_text(swaps((ROOT / "deploy" / "nightly-loop").read_text(encoding="utf-8")))
    env = {name: swaps(value) for name, value in COMPOSE["x-cellherd"]["environment"].items()}
    with machine(tmp_path, **env) as made:
        yield made


def command(service: dict[str, list[str]], swaps: Swaps) -> str:
    """What Docker would run, as a shell line: the image's entry point before the command, or the service's own."""
    words = [*service.get("entrypoint", ["cellherd"]), *service.get("command", [])]
    loop = {"/usr/local/bin/nightly-loop": "nightly-loop"}
    return shlex.join(loop.get(word, swaps(word)) for word in words)


def probe(service: dict[str, dict[str, list[str]]], swaps: Swaps) -> list[str]:
    """The service's health check as an argument list."""
    kind, *words = service["healthcheck"]["test"]
    told = [{"python": sys.executable}.get(word, swaps(word).replace("$$", "$")) for word in words]
    return ["/bin/sh", "-c", *told] if kind == "CMD-SHELL" else told


def test_a_service_has_the_secrets_that_its_command_names() -> None:
    assert set(OURS) == {"ingest", "notify", "nightly", "serve"}
    for name, service in OURS.items():
        named = re.findall(r"/run/secrets/(\w+)", " ".join(service.get("command", [])))
        assert set(named) <= set(service["secrets"]), name


@pytest.mark.service
@pytest.mark.slow
def test_each_of_our_services_gets_well_by_its_own_check(host: Machine, swaps: Swaps) -> None:
    for service in OURS.values():
        host.start(command(service, swaps))
    for name, service in OURS.items():
        host.wait(partial(_well, probe(service, swaps), host), f"{name} is healthy")
    for line in reversed(list(host.running)):
        process = host.running[line]
        host.end(line)
        assert process.returncode in (0, -15), f"{line}\n{host.words()}"


def _well(check: list[str], host: Machine) -> bool:
    return subprocess.run(check, env=host.env, capture_output=True, check=False).returncode == 0
