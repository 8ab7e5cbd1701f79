"""What an edge gets: a ready edge.toml, its password, the authority to trust, and a certificate if asked for."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cellherd.errors import CellherdError
from pipeline.enrolment.accounts import write_private

PUBLIC = ("edge.toml", "ca.pem", "edge.pem")
"""Files that the collector reads itself; the others come to it as systemd credentials, or from its own folder."""
_EDGE = """# Made by cellherd enroll. `cellherd scan --write` finds batteries; docs/configuration.md explains the keys.
edge = '{edge}'

[mqtt]
url = '{url}'
client_id = '{client_id}'
password_file = 'mqtt-password'
{more}
# [[device]]
# stack = 'cellar'
# driver = 'jbd'
# link = 'serial:/dev/serial/by-path/...'
"""
_DROP_IN = """# Goes to /etc/systemd/system/cellherd-edge.service.d/certificate.conf
[Service]
LoadCredential=edge.key:/etc/cellherd/edge.key
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that leaves the server for one edge. PEM texts are "" where there are none."""

    edge: str
    url: str
    client_id: str
    password: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    plain_text: bool = False

    def files(self) -> dict[str, str]:
        """Contents by name."""
        more = ["plain_text = true"] if self.plain_text else []
        more += ["ca_file = 'ca.pem'"] if self.authority else []
        more += ["cert_file = 'edge.pem'", "key_file = 'edge.key'"] if self.certificate else []
        text = _EDGE.format(
            edge=self.edge, url=self.url, client_id=self.client_id, more="".join(f"{line}\n" for line in more)
        )
        files = {"edge.toml": text, "mqtt-password": self.password + "\n", "ca.pem": self.authority}
        files |= {"edge.pem": self.certificate, "edge.key": self.key}
        files |= {"certificate.conf": _DROP_IN if self.certificate else ""}
        return {name: content for name, content in files.items() if content}


def check_free(place: Path) -> None:
    """Raise CellherdError where something lies already: it may be the only copy of a password."""
    if place.exists():
        raise CellherdError(f"{place} is there already; move it away, or choose another with --out")


def write_folder(bundle: Bundle, place: Path) -> None:
    """Write a folder (0700) of files (0600)."""
    place.mkdir(parents=True, mode=0o700)
    for name, content in bundle.files().items():
        write_private(place / name, content)


def write_tar(bundle: Bundle, place: Path) -> None:
    """Write a tar file (0600) that holds a folder of the edge's name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in bundle.files().items():
            found = tarfile.TarInfo(f"{bundle.edge}/{name}")
            found.size, found.mode = len(content.encode()), 0o600
            tar.addfile(found, io.BytesIO(content.encode()))
    write_private(place, packed.getvalue().decode("latin-1"), encoding="latin-1")


def next_steps(bundle: Bundle, place: Path, *, tar: bool) -> str:
    """What to type next, on this machine and on the Pi."""
    files = bundle.files()
    public = " ".join(name for name in PUBLIC if name in files)
    private = " ".join(name for name in ("mqtt-password", "edge.key") if name in files)
    drop_in = "/etc/systemd/system/cellherd-edge.service.d"
    steps = [
        f"scp -{'p' if tar else 'rp'} {place} pi@RASPBERRY:          # then remove {place} here: it holds the password",
        "ssh pi@RASPBERRY",
        *([f"tar -xf {place.name}"] if tar else []),
        f"cd {bundle.edge if tar else place.name}",
        f"sudo install -D -m 644 -t /etc/cellherd {public}",
        f"sudo install -m 600 -t /etc/cellherd {private}",
        *([f"sudo install -D -m 644 -t {drop_in} certificate.conf"] if "certificate.conf" in files else []),
        "cellherd config check /etc/cellherd/edge.toml",
        "sudo systemctl restart cellherd-edge   # by hand: sudo cellherd edge run --config /etc/cellherd/edge.toml",
    ]
    return "\n".join(f"  {step}" for step in steps)
