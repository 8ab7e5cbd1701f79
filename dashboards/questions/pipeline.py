"""What `fleet-pipeline` asks: can what is shown be trusted?"""

from __future__ import annotations

from dashboards.asking import INTERVAL, Ask, Column
from dashboards.datasets import Dataset, named
from dashboards.questions.shared import COUNT, FLEET, ONE, one

ASKED = named(
    Dataset(
        "edges",
        Ask(
            "edge",
            tuple(
                Column(c, "last", f)
                for c, f in (
                    ("online", "online"),
                    ("version", "version"),
                    ("waiting", "depth"),
                    ("oldest", "oldest_ms"),
                    ("dropped", "drops"),
                    ("polls ok", "polls_ok"),
                    ("polls bad", "polls_bad"),
                    ("bad checksums", "crc_bad"),
                )
            ),
            FLEET,
            ("site", "edge"),
            back="30d",
        ),
        "none",
        "What each collector last said of itself.",
        "a collector that was heard of in 30 days",
        table=True,
        within={"online": (0, 1)},
    ),
    Dataset(
        "edges_online",
        Ask(Ask("edge", one("on", "last", "online"), FLEET, ("edge",), back="1d"), one("n", "sum", "on")),
        "none",
        "Collectors that are connected.",
        "a collector that was heard of within a day",
        within={"n": COUNT},
    ),
    Dataset(
        "edge_waiting",
        Ask("edge", one("waiting", "max", "depth"), FLEET, ("edge",), INTERVAL),
        "none",
        "Readings that wait on each collector for the server; a line that climbs is a collector that cannot send.",
        "a connected collector",
        within={"waiting": COUNT},
    ),
    Dataset(
        "edge_age",
        Ask("edge", one("oldest", "max", "oldest_ms"), FLEET, ("edge",), INTERVAL),
        "ms",
        "Age of the oldest reading that waits on each collector.",
        "a connected collector",
        within={"oldest": (0, 1e12)},
    ),
    Dataset(
        "polls_bad",
        Ask("edge", one("bad", "spread", "polls_bad"), FLEET, ("edge",), INTERVAL),
        "none",
        "Polls that a BMS did not answer, or not rightly; counted anew from each start of a collector.",
        "two health messages of a collector in one bar",
        within={"bad": COUNT},
    ),
    Dataset(
        "polls_ok",
        Ask(
            Ask("edge", one("ok", "spread", "polls_ok"), FLEET, ("edge",), INTERVAL),
            one("ok", "sum", "ok"),
            every=INTERVAL,
        ),
        "none",
        "Polls that a BMS answered; counted anew from each start of a collector.",
        "two health messages of a collector in one bar",
        within={"ok": COUNT},
    ),
    Dataset(
        "readings",
        Ask("module", one("readings", "count", "voltage_mv"), FLEET, (), INTERVAL, "none"),
        "none",
        "Readings stored, by the time at which they were taken; the last bar is not full yet.",
        ONE,
        within={"readings": COUNT},
    ),
    Dataset(
        "dead_letters",
        Ask("server", one("dead letters", "max", "dead_letters"), (), (), INTERVAL),
        "none",
        "Payloads that could not be read and wait for a person: `cellherd deadletter list`.",
        "a running ingester",
        within={"dead letters": COUNT},
    ),
    Dataset(
        "messages",
        Ask(
            "server",
            (
                Column("sent", "spread", "messages_sent"),
                Column("failed", "spread", "messages_failed"),
                Column("waiting", "max", "messages_waiting"),
            ),
            (),
            (),
            "1h",
            "none",
        ),
        "none",
        "Messages to people by hour: sent, given up as undeliverable, and still waiting. `cellherd alerts history`.",
        "a running ingester beside a notifier or a night",
        within={"sent": COUNT, "failed": COUNT, "waiting": COUNT},
    ),
    Dataset(
        "night_time",
        Ask("server", one("took", "last", "night_ms"), (), (), INTERVAL, "none"),
        "ms",
        "How long the newest day's work took, of all sites that owed it.",
        "one night on this server",
        within={"took": (0, 1e9)},
    ),
    Dataset(
        "clocks",
        Ask("module", (Column("clock", "last", "clk"),), FLEET, ("site",), back="1d"),
        "none",
        "How each site's newest reading got its time.",
        "one reading within a day",
        table=True,
    ),
    Dataset(
        "nights",
        Ask("verdict", one("modules", "count", "urgency"), FLEET, ("site",), "1d", "none"),
        "none",
        "Modules that each night judged, by site: a hole is a night without data, or one that did not run.",
        "one night",
        bucket="nightly",
        within={"modules": COUNT},
    ),
    Dataset(
        "coverage_days",
        Ask("module_day", (Column("came", "share", "n", 1, "expected"),), FLEET, ("site",), "1d", "none"),
        "percent",
        "Readings that came, of those expected, by site and day.",
        "one night",
        bucket="nightly",
        within={"came": (0, 120)},
    ),
)
