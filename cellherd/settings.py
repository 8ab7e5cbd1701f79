"""The shape of `edge.toml` and `fleet.toml`: every table, key, unit and default, checked as it is read."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cellherd.reading import Kind
from cellherd.settings_people import Alerts, Mail, Person, Route, Telegram, Webhook, Window
from cellherd.settings_words import Id, Strict, Zone
from cellherd.topics import BANK
from cellherd.warranty import warranty


class Mqtt(Strict):
    """The broker as an edge sees it. `mqtts://` speaks TLS; plain `mqtt://` off the loopback wants `plain_text`."""

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_id: str | None = None
    plain_text: bool = False

    @model_validator(mode="after")
    def _no_open_passwords(self) -> Mqtt:
        scheme, _, rest = self.url.partition("://")
        host = rest.rpartition(":")[0] or rest
        if scheme not in ("mqtt", "mqtts") or not rest:
            raise ValueError("url must look like mqtts://host:8883")
        if "@" in rest:
            raise ValueError("url carries a login; use username and password_file")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together")
        if scheme == "mqtt" and not self.plain_text and host not in ("127.0.0.1", "localhost", "[::1]"):
            raise ValueError("mqtt:// would send the password in the open; use mqtts:// (or set plain_text = true)")
        return self


class Outbox(Strict):
    """Store-and-forward on the edge: its hard size and how often it commits."""

    cap_mb: int = Field(default=1024, ge=8)
    commit_s: float = Field(default=5.0, gt=0, le=60)


class Login(Strict):
    """With what a device's broker or cloud is entered; secrets stand in the files."""

    username: str | None = None
    username_file: str | None = None
    password_file: str | None = None
    ca_file: str | None = None


class Device(Strict):
    """One BMS, or one bus of several. `modules` names the modules by bus address, or in order from the lowest."""

    stack: Id
    driver: str
    link: str
    address: int | None = None
    modules: list[Id] | dict[str, Id] = Field(default_factory=lambda: ["m1"])
    period_s: float = Field(default=5.0, ge=0.2, le=3600)
    ask: bool = False
    ack: bool = False
    login: Login | None = None
    preset: str | None = None


class EdgeConfig(Strict):
    """edge.toml: one collector machine at one site."""

    edge: Id
    mqtt: Mqtt = Mqtt()
    outbox: Outbox = Outbox()
    device: list[Device] = Field(default_factory=list)

    @model_validator(mode="after")
    def _no_module_twice(self) -> EdgeConfig:
        seen: set[tuple[str, str]] = set()
        for device in self.device:
            names = device.modules if isinstance(device.modules, list) else list(device.modules.values())
            for name in names:
                if (device.stack, name) in seen:
                    raise ValueError(f"module {name!r} of stack {device.stack!r} stands twice")
                seen.add((device.stack, name))
        return self


class Broker(Strict):
    """The server's broker: our own child process (`embedded`), or another one at `url`."""

    embedded: bool = True
    url: str = "mqtt://127.0.0.1:1883"
    listen: str = "127.0.0.1:1883"
    public_url: str | None = None
    plain_text: bool = False
    require_certificate: bool = False
    command: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    username: str = "ingest"
    password_file: str | None = None
    mosquitto_dir: str | None = None
    reload_command: list[str] = Field(default_factory=list)


Table = Literal[
    "reading", "reading_60s", "event", "gap", "device_info", "device_counter", "device_log", "edge_event",
    "module_day", "cell_day", "spread_hist", "finding", "lockout", "step_sum", "crossing", "anchor", "capacity",
    "miscount", "soh", "resistance", "loop", "trend", "stack_day",
]  # fmt: skip
Days = Annotated[int, Field(ge=35, le=36500)]
"""At least 35: the nights work through what comes up to 31 days late once more."""


class ArchiveStore(Strict):
    """Where the archive lies: a folder (default: in the state folder) or s3://bucket/prefix, and what it keeps.

    Tables are kept for ever, but for those with a number of days in `keep_days`.
    """

    uri: str | None = None
    keep_days: dict[Table, Days] = Field(default_factory=dict)
    thin_after_days: Days | None = None


INSTALLER = "{installer}"


class JournalDisk(Strict):
    """What the ingester's journal may take of its disk while a store is away; beyond it nothing is taken in."""

    cap_gb: float = Field(default=32, ge=0.1)
    reserve_mb: int = Field(default=512, ge=0)


class ReplayRequests(Strict):
    """After so many seconds an edge is asked for numbers that never came and did not begin to come; 0 = never."""

    after_s: float = Field(default=120, ge=0)


class Health(Strict):
    """Where the ingester tells how it is, over plain HTTP without a login: /healthz and /metrics. "" = nowhere."""

    listen: str = "127.0.0.1:9837"


class Influx(Strict):
    """InfluxDB 2, or anything with /api/v2/write.

    `{installer}` in the buckets and in `token_file` makes one bucket and one token of each installer.
    """

    url: str
    org: str = "cellherd"
    bucket: str = "cellherd"
    derived_bucket: str = "cellherd_derived"
    token_file: str | None = None
    keep_days: int = Field(default=0, ge=0)
    derived_keep_days: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _all_or_none_by_installer(self) -> Influx:
        told = [INSTALLER in text for text in (self.bucket, self.derived_bucket, self.token_file) if text is not None]
        if len(set(told)) > 1:
            raise ValueError("{installer} stands in bucket, derived_bucket and token_file alike, or in none of them")
        return self

    def of(self, installer: str) -> Influx:
        """What holds for one installer."""
        names = ("bucket", "derived_bucket", "token_file")
        told = {name: text.replace(INSTALLER, installer) for name in names if (text := getattr(self, name)) is not None}
        return self.model_copy(update=told)

    def by_installer(self) -> bool:
        """Whether each installer has buckets of its own."""
        return INSTALLER in self.bucket


class Live(Strict):
    """The live event engine: faults within seconds, beside the stores."""

    enabled: bool = True


class Installer(Strict):
    """Who looks after sites."""

    id: Id
    name: str = ""


class Site(Strict):
    """A place with batteries; `edge` is the collector machine there."""

    id: Id
    installer: Id
    tz: Zone = "UTC"
    edge: Id
    name: str = ""


NMC_MODELS = ("river pro", "river max")
"""EcoFlow's stations before the River 2: captures of theirs show 4.0 to 4.13 V a cell."""


class Module(Strict):
    """What is known of a module beyond what it says itself."""

    site: Id
    stack: Id
    id: Id
    kind: Kind = "module"
    model: str = ""
    chemistry: Literal["lfp", "nmc", "lto"] = "lfp"
    cells: int | None = Field(default=None, ge=1, le=48)
    nominal_mah: int | None = Field(default=None, gt=0)
    installed: date | None = None
    warranty: str = ""

    @field_validator("warranty")
    @classmethod
    def _can_be_read(cls, text: str) -> str:
        warranty(text)
        return text

    @model_validator(mode="after")
    def _chemistry_of_its_model(self) -> Module:
        told = "chemistry" in self.model_fields_set
        if told or not any(name in self.model.lower() for name in NMC_MODELS):
            return self
        return self.model_copy(update={"chemistry": "nmc"})


class FleetConfig(Strict):
    """fleet.toml: the server's registry and its services."""

    broker: Broker = Broker()
    archive: ArchiveStore = ArchiveStore()
    journal: JournalDisk = JournalDisk()
    health: Health = Health()
    replay: ReplayRequests = ReplayRequests()
    influx: Influx | None = None
    live: Live = Live()
    telegram: Telegram | None = None
    mail: Mail | None = None
    webhook: list[Webhook] = Field(default_factory=list)
    installer: list[Installer] = Field(default_factory=list)
    site: list[Site] = Field(default_factory=list)
    module: list[Module] = Field(default_factory=list)
    alerts: Alerts = Alerts()
    person: list[Person] = Field(default_factory=list)
    route: list[Route] = Field(default_factory=list)
    window: list[Window] = Field(default_factory=list)
    dashboard_url: str = ""
    simulated: bool = False

    @model_validator(mode="after")
    def _everything_named_exists(self) -> FleetConfig:
        installers, sites = {i.id for i in self.installer}, {s.id for s in self.site}
        unknown = [f"installer {s.installer!r} of site {s.id!r}" for s in self.site if s.installer not in installers]
        unknown += [f"site {m.site!r} of module {m.id!r}" for m in self.module if m.site not in sites]
        unknown += [f"site {r.site!r} of a route" for r in self.route if r.site and r.site not in sites]
        unknown += [f"module id {BANK!r} for a kind that is no bank" for m in self.module if m.id == BANK != m.kind]
        unknown += [f"site {w.site!r} of a window" for w in self.window if w.site not in sites]
        people = {p.id for p in self.person}
        named = [name for r in self.route for name in (*r.people, *r.escalate)]
        named += [away.stands_in for p in self.person for away in p.away]
        named += [self.alerts.caretaker] if self.alerts.caretaker else []
        sinks = {w.id for w in self.webhook}
        unknown += [f"webhook {name!r} of a route" for r in self.route for name in r.webhook if name not in sinks]
        unknown += [f"person {name!r}" for name in dict.fromkeys(named) if name not in people]
        edges = [s.edge for s in self.site]
        unknown += [
            f"edge {e!r}, twice: an edge has one site," for e in sorted({e for e in edges if edges.count(e) > 1})
        ]
        if unknown:
            raise ValueError("; ".join(f"{thing} is not in this file" for thing in unknown))
        return self
