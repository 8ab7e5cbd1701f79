"""EcoFlow power stations through the maker's open platform: asked (REST) or listened to (its MQTT broker).

Protocol: docs/devices/ecoflow.md.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from cellherd import faults
from cellherd.errors import BadFrame, Silent
from cellherd.reading import Measured
from collectors.kernel import Answer, Chunk, Conversation, Driver, Entrance, Keys, Send
from collectors.telegrams import Key, document, flat, number, objects, parts, read

QUOTA = Send(b"GET /iot-open/sign/device/quota/all?sn={unit}")
CERTIFICATION = Send(b"GET /iot-open/sign/certification")
TOPICS = ("/open/+/{unit}/quota", "/open/+/{unit}/status")
SUCCESS = ("0", 0)
NONE = (65535, 4294967295)
"""What stands where a station has no value."""
OFTEN_NONE = (0, *NONE)
STEP_MV = 20
"""How far a list of cells may be from the lowest and highest cell told beside it: they are not taken at one moment."""

PACK = (
    Key("soc_pm", ("f32ShowSoc", "actSoc", "soc", "bmsBattSoc", "cmsBattSoc"), 10, NONE, 0, 1000),
    Key("soh_pm", ("soh", "bmsBattSoh"), 10, OFTEN_NONE, 0, 1100),
    Key("voltage_mv", ("vol", "bmsBattVol"), absent=OFTEN_NONE, least=0),
    Key("current_ma", ("amp", "bmsBattAmp"), least=-1_000_000, most=1_000_000),
    Key("full_mah", ("fullCap", "bmsFullCap"), absent=(0, 4294967295), least=0),
    Key("remaining_mah", ("remainCap", "bmsRemainCap"), absent=(4294967295,), least=0),
    Key("cycles", ("cycles", "bmsCycles"), absent=NONE, least=0),
    Key("cell_min_mv", ("minCellVol", "bmsMinCellVol"), absent=OFTEN_NONE, least=0),
    Key("cell_max_mv", ("maxCellVol", "bmsMaxCellVol"), absent=OFTEN_NONE, least=0),
    Key("temp_min_dc", ("minCellTemp", "minCellTmp", "bmsMinCellTemp"), 10, NONE, -600, 1500),
    Key("temp_max_dc", ("maxCellTemp", "maxCellTmp", "bmsMaxCellTemp"), 10, NONE, -600, 1500),
    Key("mos_temp_dc", ("maxMosTemp", "maxMosTmp", "bmsMaxMosTemp"), 10, NONE, -600, 1500),
    Key("power_in_w", ("inputWatts", "inWatts", "powInSumW"), absent=NONE, least=0),
    Key("power_out_w", ("outputWatts", "outWatts", "powOutSumW"), absent=NONE, least=0),
    Key("info.nominal_mah", ("designCap", "bmsDesignCap"), absent=(0, 4294967295), least=0),
    Key("info.n_cells", ("cellSeriesNum",), absent=OFTEN_NONE, least=0, most=1000),
    Key("extra.balance_state", ("balanceState",)),
    Key("extra.balance_left", ("remainBalanceTime",), absent=NONE),
)
STATION = (Key("power_in_w", ("pd.wattsInSum",), least=0), Key("power_out_w", ("pd.wattsOutSum",), least=0))
CELLS = Key("cell_mv", ("cellVol",), absent=OFTEN_NONE, least=1, most=10_000)
TEMPS = Key("temp_dc", ("cellTemp",), 10, NONE, -600, 1500)
VALUES = {"errCode": "bms_error", "bmsErrCode": "bms_error", "err": "bms_error"}
OTHERS = {"inv.errCode": "inverter_error", "mppt.faultCode": "mppt_fault"}
MASKS = {"allErrCode": "all_errors", "bmsWarState": "state_warning", "bms_emsStatus.bmsWarState": "state_warning"}
SILENT = ("bmsProtectState1", "bmsProtectState2", "bmsAlarmState1", "bmsAlarmState2", "pd.errCode")
"""Words whose bits nobody has explained."""
SLAVE = re.compile(r"bms_?slave\D*(\d*)", re.IGNORECASE)

Found = Mapping[int, Mapping[str, Any]]
"""Pack (0 is the station's own) -> what was said of it, by the names of telemetry."""


def decode(frame: Chunk, request: bytes | None = None) -> tuple[Measured, ...]:
    """A REST answer, or an MQTT message of either shape: flat module keys, or cmdId, cmdFunc and param.

    One reading a pack: 0 is the station with its own, 1 and on are extra batteries. Raises BadFrame.
    """
    told = [each for tree in objects(parts(frame)[1]) for each in _measured(tree)]
    if not told:
        raise BadFrame("nothing in it that a battery says", parts(frame)[1][:512])
    return tuple(told)


def _measured(tree: Mapping[str, Any]) -> Iterator[Measured]:
    found = _found(tree)
    online = number(found.get(0, {}).get("status"))
    if set(found) == {0} and online is not None and len(found[0]) == 1:
        yield Measured(extra={"online": int(bool(online))})
        return
    yield from (pack(at, said) for at, said in sorted(found.items()) if says_something(said))


def says_something(said: Mapping[str, Any]) -> bool:
    """Whether a pack's keys give any reading at all."""
    return pack(0, said) != Measured(module=0)


def _found(tree: Mapping[str, Any]) -> Found:
    """Both shapes, and a bare set of keys, by pack. Raises BadFrame where the cloud refuses."""
    inner: Any = tree
    if "code" in tree and "message" in tree:
        if tree["code"] not in SUCCESS:
            raise BadFrame(f"the cloud refuses: {tree['code']} {tree['message']}")
        inner = tree.get("data")
    else:
        inner = next((tree[name] for name in ("params", "param", "data") if isinstance(tree.get(name), dict)), tree)
    if not isinstance(inner, dict):
        raise BadFrame("a message without values")
    kind = tree.get("typeCode") or tree.get("moduleType")
    before = f"{kind}." if isinstance(kind, str) and inner is not tree else ""
    packs: dict[int, dict[str, Any]] = {}
    for path, value in flat(inner):
        group, _, name = path.rpartition(".") if "." in path else ("", "", path)
        group = group or before.rstrip(".")
        slave = SLAVE.search(group)
        at = int(slave[1] or 1) % 100 if slave else 0
        ours = slave or not group or ("bms" in group.lower() and "ems" not in group.lower().removeprefix("bms"))
        packs.setdefault(at, {})[_camel(name) if ours else f"{group}.{name}"] = value
    number_of = number(packs.get(0, {}).get("num"))
    if set(packs) == {0} and number_of and 0 < number_of < 100:  # an extra battery's own message
        return {int(number_of): packs[0]}
    return packs


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)


def pack(at: int, said: Mapping[str, Any]) -> Measured:
    """One pack's reading from its keys."""
    said = dict(said)
    for name in ("amp", "bmsBattAmp"):  # signed, but sent as 32 bits without sign
        if isinstance(said.get(name), int) and 2**31 <= said[name] < 2**32:
            said[name] -= 2**32
    values = read(PACK, said) | read(STATION, said)
    if "full_mah" in values and "remaining_mah" in values:
        values["remaining_mah"] = min(values["remaining_mah"], values["full_mah"])
    values |= {"cell_mv": _cells(said, values), "temp_dc": _temps(said, values)}
    told, raw = _faults(said)
    return Measured(module=at, faults=told, raw=raw, **values)


def _cells(said: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[int, ...]:
    """The cells, if the list is whole: lists come short, of nothing, or of another moment."""
    cells = CELLS.value(said)
    if not isinstance(cells, tuple) or len(cells) < values.get("info", {}).get("n_cells", 1):
        return ()
    low, high, volts = (values.get(name) for name in ("cell_min_mv", "cell_max_mv", "voltage_mv"))
    if volts and abs(sum(cells) - volts) > volts / 20:
        return ()
    far = (low and abs(min(cells) - low) > STEP_MV) or (high and abs(max(cells) - high) > STEP_MV)
    return () if far else cells


def _temps(said: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[int, ...]:
    temps = TEMPS.value(said)
    if not isinstance(temps, tuple) or not any(temps):
        return ()
    return temps if max(temps) == values.get("temp_max_dc", max(temps)) else ()


def _faults(said: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """Faults, None where no error word is among the keys, and the words that are not 0."""
    codes = {name: int(value) for name in _WORDS if (value := number(said.get(name))) is not None and value >= 0}
    if not codes:
        return None, {}
    known, told = faults.brand("ecoflow"), list[str]()
    for name, code in codes.items():
        if word := VALUES.get(name) or OTHERS.get(name):
            told += known[word].of_value(str(code))
        elif name == "allErrCode":  # its bits are the numbers of bms_error
            told += [fault for bit in range(code.bit_length()) if code >> bit & 1 for fault in _listed(bit)]
        elif name in MASKS:
            told += known[MASKS[name]].of_mask(code)
        elif code:
            told.append("bms_internal_failure" if name == "bmsFault" else faults.UNKNOWN)
    raw = {name: f"{code:x}" for name, code in codes.items() if code}
    return tuple(dict.fromkeys(told)), raw


_WORDS = (*VALUES, *OTHERS, *MASKS, "bmsFault", *SILENT)


def _listed(bit: int) -> tuple[str, ...]:
    known = faults.brand("ecoflow")
    return (
        known["all_errors"].bits[bit].active
        if bit in known["all_errors"].bits
        else known["bms_error"].of_value(str(bit))
    )


def feed(state: Found, chunk: Chunk) -> tuple[Found, tuple[Measured, ...]]:
    """A message tells what changed; the rest of a pack stays as it was told before."""
    try:
        news = [found for tree in objects(parts(chunk)[1]) for found in [_found(tree)]]
    except BadFrame:
        return state, ()
    told: list[Measured] = []
    for found in news:
        state = {**state, **{at: {**state.get(at, {}), **said} for at, said in found.items()}}
        packs = [pack(at, state[at]) for at, said in found.items() if says_something(said)]
        told += [each for each in packs if each.voltage_mv is not None or each.soc_pm is not None]
    return state, tuple(told)


def poll(address: int) -> Conversation:
    """The whole quota. Raises Silent where the cloud refuses."""
    answer = yield QUOTA
    _accepted(answer)
    return decode(answer)


def enter() -> Generator[Send, Answer, Entrance]:
    """The way to the broker, and the whole quota to begin with: its messages only tell what changes."""
    data = _accepted((yield CERTIFICATION))
    names = ("certificateAccount", "certificatePassword", "url")
    texts = [data.get(name) for name in names] if isinstance(data, dict) else []
    port = number(data.get("port")) if isinstance(data, dict) else None
    if not texts or not all(isinstance(text, str) and text for text in texts) or not port:
        raise Silent("the cloud's certification has another shape than it had; the maker changed it")
    account, password, host = map(str, texts)
    quota = yield QUOTA
    topics = tuple(topic.replace("+", account) for topic in TOPICS)
    return Entrance(host.strip(), int(port), account, password, topics, (quota,))


def _accepted(answer: bytes) -> Any:
    tree = document(answer)
    if not isinstance(tree, dict) or tree.get("code") not in SUCCESS:
        said = f"{tree.get('code')} {tree.get('message')}" if isinstance(tree, dict) else "something else than it did"
        raise Silent(f"the cloud refuses: {said}"[:200])
    return tree.get("data")


def to_sign(params: Mapping[str, Any], keys: Keys, nonce: str, ts: int) -> str:
    """What is signed: all parameters flat and sorted, then key, nonce and time."""
    listed = sorted(f"{name}={value}" for name, value in _indexed(params))
    return "&".join([*listed, f"accessKey={keys.name}", f"nonce={nonce}", f"timestamp={ts}"])


def _indexed(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in flat(params):
        if isinstance(value, list):
            yield from ((f"{name}[{i}]", each) for i, each in enumerate(value))
        else:
            yield name, value


def sign(query: str, keys: Keys, nonce: str, ts: int) -> Mapping[str, str]:
    """HMAC-SHA256 over everything, as the maker's page on signatures has it."""
    text = to_sign(dict(parse_qsl(query)), keys, nonce, ts)
    signature = hmac.digest(keys.secret.encode(), text.encode(), "sha256").hex()
    return {"accessKey": keys.name, "nonce": nonce, "timestamp": str(ts), "sign": signature}


DRIVER = Driver(
    name="ecoflow",
    brand="ecoflow",
    title="EcoFlow Delta and River power stations",
    line="the maker's open platform: access key and secret key of a developer account",
    links=("https", "cloud", "mqtt"),
    decode=decode,
    allow=(re.compile(re.escape(QUOTA.data)), re.compile(re.escape(CERTIFICATION.data))),
    poll=poll,
    feed=feed,
    fresh=dict,
    topics=TOPICS,
    sign=sign,
    enter=enter,
    timeout_s=20.0,
    silence_s=180.0,
    whole_bus=True,
    ascii=True,
    spans_lines=True,
)
