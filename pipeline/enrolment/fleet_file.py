"""Writes a new site into fleet.toml, at its end, so that comments and order of what a person wrote stay."""

from __future__ import annotations

import json  # a JSON string is a TOML string
import os
from dataclasses import dataclass
from pathlib import Path

from cellherd.config import load_fleet
from cellherd.errors import CellherdError, ConfigError
from cellherd.settings import FleetConfig


@dataclass(frozen=True, slots=True)
class Place:
    """What a person said of the site: each part may be missing where fleet.toml leaves no choice."""

    site: str | None = None
    installer: str | None = None
    tz: str = "UTC"


def registered(file: Path, edge: str, place: Place) -> FleetConfig:
    """The registry with this edge in it, written if need be.

    Raises CellherdError where the edge stands at another site, or the file cannot be written (it shows the lines then).
    """
    config = load_fleet(file)
    stands = next((site.id for site in config.site if site.edge == edge), None)
    if stands is not None:
        if place.site not in (None, stands):
            raise CellherdError(
                f"edge {edge!r} belongs to site {stands!r} in {file}; change it there, or leave --site out"
            )
        return config
    taken = next((site.edge for site in config.site if site.id == place.site), None)
    if place.site is None or taken:
        why = f"site {place.site!r} has edge {taken!r}" if taken else f"edge {edge!r} is in no [[site]]"
        raise CellherdError(f"{why} in {file}; say which new site it watches: --site ID")
    _append(file, _lines(place.site, edge, _installer(config, place), place.tz))
    return load_fleet(file)


def _installer(config: FleetConfig, place: Place) -> str:
    if place.installer:
        return place.installer
    if len(config.installer) != 1:
        known = ", ".join(one.id for one in config.installer) or "none yet; write an [[installer]] first"
        raise CellherdError(f"say who looks after the site: --installer ID ({known})")
    return config.installer[0].id


def _lines(site: str, edge: str, installer: str, tz: str) -> str:
    keys = {"id": site, "installer": installer, "tz": tz, "edge": edge}
    return "\n[[site]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def _append(file: Path, lines: str) -> None:
    beside = file.with_name(f".{file.name}.new")
    try:
        text = file.read_text(encoding="utf-8").rstrip("\n") + "\n" + lines
        beside.write_text(text, encoding="utf-8")
        beside.chmod(file.stat().st_mode & 0o777)
        load_fleet(beside)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(file)
    except ConfigError as error:
        raise ConfigError(str(file), [f"would be wrong: {line}" for line in error.complaints]) from None
    except OSError as error:
        raise CellherdError(f"{file} cannot be written ({error.strerror}); add to it by hand:\n{lines}") from None
    finally:
        beside.unlink(missing_ok=True)
