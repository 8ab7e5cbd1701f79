"""From `cellherd enroll` to readings in the archive and to `cellherd revoke`: real processes, TLS, both brokers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.enrolled import EDGE, SITE, Place, place


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.service)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def let_in(here: Place, out: str) -> None:
    options = ("--config", "fleet.toml", "--state", "server", "--out", out)
    here.run("enroll", EDGE, "--site", SITE, "--installer", "acme", *options)


@pytest.mark.slow
def test_an_enrolled_edge_is_stored_until_it_is_revoked_and_afterwards_nothing_of_it_is_lost(
    kind: str, tmp_path: Path
) -> None:
    with place(tmp_path, kind) as here:
        if kind == "embedded":  # off the loopback it listens only with a certificate, which enrolling makes
            here.run("broker", "certificate", "--host", "localhost", "--state", "server")
        here.server()
        let_in(here, "pi")
        here.batteries()
        here.edge()
        here.until(lambda: len(here.stored()) >= 3, "readings over TLS")
        assert "mqtts://" in (tmp_path / "pi" / "edge.toml").read_text()

        here.run("revoke", EDGE, "--config", "fleet.toml", "--state", "server")
        here.until(lambda: "lost the connection" in here.log("edge"), "the end of the live session")
        here.until(lambda: f"refuses user '{EDGE}'" in here.log("edge"), "the refusal")
        before = here.committed()
        here.until(lambda: here.committed() >= before + 4, "collecting while shut out")
        here.stop("edge")
        here.stop("server")  # it stores all that it took
        assert len(here.stored()) <= before, "readings came in after the edge was revoked"

        here.server()
        let_in(here, "again")
        for name in ("mqtt-password", "ca.pem"):
            shutil.copy(tmp_path / "again" / name, tmp_path / "pi" / name)
        new = next(line for line in (tmp_path / "again" / "edge.toml").read_text().splitlines() if "client_id" in line)
        config = tmp_path / "pi" / "edge.toml"
        config.write_text("\n".join(new if "client_id" in line else line for line in config.read_text().splitlines()))
        here.edge()
        wanted = here.committed()
        here.until(lambda: len(here.stored()) > wanted, "what was kept while shut out")
        found = here.stored()
        assert len(found) == len(set(found))
