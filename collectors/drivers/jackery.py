"""Jackery Explorer stations as the maker's cloud tells of them, relayed by a bridge. Docs: docs/devices/jackery.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cellherd import faults
from cellherd.errors import BadFrame
from cellherd.reading import Measured
from collectors.kernel import Chunk, Driver
from collectors.telegrams import Key, number, objects, parts, read

TOPICS = ("jackery/{unit}/#",)
MAIN, MOST_PACKS = 0, 16
KEYS = (
    Key("soc_pm", ("rb",), 10, least=0, most=1000),
    Key("temp_min_dc", ("bt",), least=-600, most=1500),
    Key("temp_max_dc", ("bt",), least=-600, most=1500),
    Key("power_in_w", ("ip",), least=0, most=100_000),
    Key("power_out_w", ("op",), least=0, most=100_000),
    Key("extra.charge_left_min", ("it",), 6, least=0),
    Key("extra.discharge_left_min", ("ot",), 6, least=0),
    Key("extra.ac_mv", ("acov",), 100, least=0),
    Key("extra.ac_hz", ("acohz",), least=0),
    Key("extra.battery_state", ("bs",)),
    Key("extra.battery_saving", ("lps",)),
)
ALARMS = ("ec", "ta", "pal")

Found = Mapping[int, Mapping[str, Any]]
"""0 the station, 1 and on its extra batteries -> properties."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """An answer of the cloud's API, or a message that it pushes. Raises BadFrame."""
    found = [each for tree in objects(parts(frame)[1]) for each in _packs(tree)]
    told = [_measured(at, said) for at, said in found]
    if not told:
        raise BadFrame("nothing in it that a Jackery says", parts(frame)[1][:512])
    return tuple(told)


def _packs(tree: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    data = tree.get("data")
    if tree.get("code") not in (None, 0):
        raise BadFrame(f"the cloud refuses: {tree.get('code')} {tree.get('msg')}")
    inner: Any = tree.get("body", data.get("properties") if isinstance(data, dict) else tree)
    if not isinstance(inner, dict):
        raise BadFrame("a message without properties")
    packs = inner.get("subDevices")
    if isinstance(packs, list):
        yield from ((at, pack) for at, pack in enumerate(packs[:MOST_PACKS], 1) if isinstance(pack, dict))
    device = data.get("device", {}) if isinstance(data, dict) else {}
    online = inner.get("onlineStatus", device.get("onlineStatus") if isinstance(device, dict) else None)
    own = {**inner, **({} if online is None else {"onlineStatus": online})}
    if any(path in own for path in _OWN):
        yield MAIN, own


_OWN = (*(path for key in KEYS for path in key.paths), *ALARMS, "onlineStatus")


def _measured(at: int, said: Mapping[str, Any]) -> Measured:
    values = read(KEYS, said)
    codes = {name: int(value) for name in ALARMS if (value := number(said.get(name))) is not None and value >= 0}
    word = faults.brand("jackery")["property"]
    told = tuple(dict.fromkeys(fault for name, code in codes.items() if code for fault in word.of_value(name)))
    raw = {name: f"{code:x}" for name, code in codes.items() if code}
    if (online := number(said.get("onlineStatus"))) is not None:
        values["extra"] = {**values.get("extra", {}), "online": int(bool(online))}
    return Measured(module=at, kind="station", faults=told if codes else None, raw=raw, **values)


def feed(state: Found, chunk: Chunk) -> tuple[Found, tuple[Measured, ...]]:
    """A pushed message tells what changed; what it does not name stays. A station that is offline tells nothing."""
    try:
        news = [each for tree in objects(parts(chunk)[1]) for each in _packs(tree)]
    except BadFrame:
        return state, ()
    told: list[Measured] = []
    for at, said in news:
        state = {**state, at: {**state.get(at, {}), **{name: said[name] for name in _OWN if name in said}}}
        measured = _measured(at, state[at])
        if measured.soc_pm is not None and state.get(MAIN, {}).get("onlineStatus", 1):
            told.append(measured)
    return state, tuple(told)


DRIVER = Driver(
    name="jackery",
    brand="jackery",
    title="Jackery Explorer power stations with Wi-Fi",
    line="a bridge that relays the cloud's messages to a broker",
    links=("mqtt",),
    decode=decode,
    feed=feed,
    fresh=dict,
    topics=TOPICS,
    silence_s=600.0,
    ascii=True,
    spans_lines=True,
)
