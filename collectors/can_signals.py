"""CAN signals by name: the DBC files of `collectors/dbc`, which drivers decode with and emulators encode with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from cellherd.errors import CellherdError
from collectors.fields import put


@cache
def database(name: str) -> Any:
    """The signals of `dbc/<name>.dbc` by frame id; read at first use, since cantools takes its time to import.

    Raises CellherdError where cantools is not installed.
    """
    try:
        from cantools.database import load_string  # noqa: PLC0415 - see above
    except ImportError:
        raise CellherdError("CAN needs cantools: pip install 'cellherd[edge]'") from None
    text = resources.files("collectors").joinpath("dbc", f"{name}.dbc").read_text(encoding="utf-8")
    return load_string(text, database_format="dbc")


def in_our_names(signals: Mapping[str, float], names: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """Arguments for Measured. `names`: of a signal our name, and how many of our units one of the device's is."""
    said: dict[str, Any] = {}
    for signal, (name, times) in names.items():
        if signal in signals:
            value = round(signals[signal] * times)
            put(said, name, bool(value) if name.endswith("_on") else value)
    return said
