"""Sends the dashboards to a Grafana by its HTTP API, for those who do not provision files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from cellherd.errors import CellherdError

FOLDER = {"uid": "cellherd", "title": "CellHerd"}
_THERE_ALREADY = frozenset({409, 412})


@dataclass(frozen=True, slots=True)
class Grafana:
    """A server and a service account's token, which may edit dashboards and is never shown."""

    url: str
    token: str

    def post(self, path: str, body: dict[str, Any]) -> int:
        """The status of the answer. Raises CellherdError where Grafana is away or does not let us in."""
        address = f"{self.url.rstrip('/')}{path}"
        if not address.startswith(("http://", "https://")):
            raise CellherdError(f"{self.url!r} is no address of a Grafana; write it as https://grafana.example")
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = Request(address, json.dumps(body).encode(), headers)  # noqa: S310 - http and https only, see above
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                return int(answer.status)
        except HTTPError as error:
            with error:
                if error.code in _THERE_ALREADY and path == "/api/folders":
                    return error.code
                said = error.read().decode(errors="replace")[:200]
            way_out = "; give a token of a service account that may edit" if error.code in {401, 403} else ""
            raise CellherdError(f"Grafana at {self.url} answers {error.code} to {path}: {said}{way_out}") from None
        except (URLError, OSError) as error:
            raise CellherdError(f"Grafana at {self.url} does not answer: {error}") from None


def push(grafana: Grafana, boards: dict[str, str]) -> Iterator[str]:
    """Make the folder, then put each dashboard into it in place of the one with its uid; yields the uids."""
    grafana.post("/api/folders", FOLDER)
    for text in boards.values():
        board = json.loads(text)
        body = {"dashboard": {**board, "id": None}, "folderUid": FOLDER["uid"], "overwrite": True}
        grafana.post("/api/dashboards/db", body)
        yield board["uid"]
