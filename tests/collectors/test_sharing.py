"""Which devices may share a line: only those whose readings cannot be taken for one another's."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from cellherd.config import EdgeConfig
from cellherd.errors import CellherdError
from collectors.drivers import WHERE, driver
from collectors.edge import devices
from collectors.station import Station
from tests.collectors.test_station import Hand


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"driver": "jk_modbus", "link": "modbus:bus", "address": 1}, "jk_modbus at address 1 stands there twice"),
        ({"driver": "pylontech_rs485", "link": "serial:bus"}, "pylontech_rs485 at address 2 stands there twice"),
        ({"driver": "pylontech_can", "link": "can:can0"}, "pylontech_can is listened to"),
        ({"driver": "jk_pb", "link": "serial:bus"}, "jk_pb is listened to"),
    ],
)
def test_two_stacks_that_cannot_be_told_apart_on_a_line_are_refused(table: dict[str, object], says: str) -> None:
    config = EdgeConfig.model_validate(
        {"edge": "pi", "device": [{"stack": name, **table} for name in ("left", "right")]}
    )
    with pytest.raises(CellherdError, match=says) as refused:
        Station(devices(config), lambda event: None, Hand())
    assert "left, right" in str(refused.value)


@pytest.mark.parametrize("name", sorted(WHERE))
def test_a_driver_without_addresses_reads_one_bms_a_port(name: str) -> None:
    known = driver(name)
    if known.feed or known.whole_bus or not known.poll or known.links == ("ble",):
        return
    link = {"modbus": "modbus:bus", "serial": "serial:bus", "tcp": "tcp:host:8899"}[known.links[0]]
    entry = {"stack": "cellar", "driver": name, "link": link, "modules": ["m1", "m2"]}
    found = devices(EdgeConfig.model_validate({"edge": "pi", "device": [entry]}))
    alone = name in {"ant_new", "ant_old", "jbd", "jk_nw", "victron_hex"}
    with pytest.raises(CellherdError, match="one port reads one") if alone else nullcontext():
        Station(found, lambda event: None, Hand())


def test_groups_of_pylontech_masters_share_a_line() -> None:
    groups = [{"stack": f"s{n}", "driver": "pylontech_rs485", "link": "serial:bus", "address": n} for n in (2, 18)]
    config = EdgeConfig.model_validate({"edge": "pi", "device": groups})
    assert len(Station(devices(config), lambda event: None, Hand()).ports) == 1
