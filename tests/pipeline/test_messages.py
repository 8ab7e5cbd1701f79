"""What a message says: its order, its limits, and that no name of the outside world can break out of it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellherd.faults import LANGUAGES, catalogue
from pipeline.alerts.hiding import REPEAT
from pipeline.alerts.messages import BRIEF, listed, message, size
from pipeline.alerts.news import news_of
from pipeline.alerts.people import Person
from tests.fakes.fleet_by_hand import fleet
from tests.fakes.telegram import fault_of
from tests.pipeline.herd import HOUR, START, TRIP, Herd

NUMBERS = {"soc_pm": 955, "current_ma": -12_300, "voltage_mv": 56_800, "lo": 3412, "hi": 3702, "tmax": 315}
EVENT: dict[str, Any] = {
    "cell": 6, "value": 3702.0, "threshold": 3650.0, "value_unit": "mV", "origin": "device", "vendor": "jk",
    "code": "0x0010", "date": "2026-03-14", "evidence": json.dumps({"numbers": NUMBERS}),
}  # fmt: skip
ENTERS = [START - 3 * HOUR, START - 2 * HOUR, START]
AGAIN = {"of": TRIP, "times_24_h": 3, "times_7_days": 5, "enters": ENTERS, "stop_resetting": True}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


def told(fault: str = TRIP, language: str = "en", more: dict[str, Any] | None = None, **settings: Any) -> Any:
    herd = Herd()
    herd.enter(fault, **{**EVENT, **(more or {})})
    herd.wait(HOUR)
    config = fleet(dashboard_url="https://g.example", **settings)
    person = Person("anna", (), "Europe/Berlin", language=language)
    return message(news_of(herd.turns[0], config, person, START + 60_000))


class Page(HTMLParser):
    """Whether every tag is closed in order, and which ones there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_live_alert_says_everything_in_the_order_of_its_use(language: str) -> None:
    said, fault = told(language=language), catalogue(language)[TRIP]
    comma = {"en": ".", "de": ","}[language]
    parts = [
        fault.title, "Farm Müller", "3702 mV", f"95{comma}5 %", f"-12{comma}3 A", f"31{comma}5 °C", "jk 0x0010",
        fault.causes[0], fault.actions[0], *fault.never[:1], *([fault.safety] if fault.safety else []),
        "https://g.example/d/fleet-module?",
    ]  # fmt: skip
    assert sorted(parts, key=said.text.index) == parts
    assert said.subject.startswith({"en": "[Today]", "de": "[Heute]"}[language])
    assert fault.safety in said.text


def test_the_link_opens_the_dashboard_at_the_time_of_the_event() -> None:
    assert f"from={START - 2 * HOUR}&to={START + HOUR}" in told().text


def test_a_repeat_lockout_counts_and_dates_itself_and_asks_to_stop_resetting_in_every_form() -> None:
    said = told(REPEAT, more={"evidence": json.dumps(AGAIN)})
    for form in (said.text, Page(said.html).text, said.brief):
        assert "Came 3 times in 24 hours, 5 times in 7 days" in form
        assert "Stop resetting it" in form
    german = told(REPEAT, "de", more={"evidence": json.dumps(AGAIN)})
    assert "Nicht mehr zurücksetzen" in german.brief


def test_what_came_before_is_counted_dated_and_compared_with_the_week_before() -> None:
    herd = Herd()
    for _ in range(3):
        herd.enter(**EVENT)
        herd.wait(HOUR)
        herd.leave()
        herd.wait(24 * HOUR, each=HOUR)
    person = Person("anna", (), "UTC")
    last = next(turn for turn in reversed(herd.turns) if turn.kind == "raised")
    text = message(news_of(last, fleet(), person, herd.now)).text
    assert "Came 3 times in 7 days, the time before on 15 Mar" in text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("fault", [name for name, known in catalogue().items() if known.safety])
def test_the_safety_note_stands_in_every_form_of_every_fault_that_has_one(fault: str, language: str) -> None:
    said, safety = told(fault, language), catalogue(language)[fault].safety
    assert safety in said.text
    assert safety in Page(said.html).text
    assert safety[:80].replace("&", "&amp;") in said.brief


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("fault", [name for name, known in catalogue().items() if known.priority < 4])
def test_the_brief_form_of_every_fault_names_it_its_place_and_what_to_do_first(fault: str, language: str) -> None:
    said, known = told(fault, language), catalogue(language)[fault]
    assert fault_of({"caption": said.brief, "parse_mode": "HTML"}) == ""
    assert size(said.brief) <= BRIEF
    assert "Farm Müller" in said.brief
    if known.actions:
        assert known.actions[0][:60].replace("&", "&amp;") in said.brief


WILD = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(
    ['<script>alert(1)</script>', '"><img src=x onerror=1>', "'; --", "\u202eevil\u2066", "a\r\nBcc: x@y.example",
     "{site}", "</div></body>", "\ud800", "&lt;b&gt;", "<" * 400, "😀" * 400, "ק\u200fא", "\x00\x1b[31m"]
)  # fmt: skip


@given(site=WILD, by=WILD, code=WILD)
def test_no_name_breaks_out_of_any_form(site: str, by: str, code: str) -> None:
    herd = Herd()
    herd.enter(**{**EVENT, "code": code})
    herd.wait(HOUR)
    config = fleet(
        site=[{"id": "farm", "installer": "sunny", "edge": "e", "name": site.encode("utf-8", "replace").decode()}]
    )
    news = news_of(herd.turns[0], config, Person("anna", (), "UTC"), START)
    news = type(news)(**{**{k: getattr(news, k) for k in news.__slots__}, "notes": (("acked", {"by": by}),)})
    said, calm = message(news), told()
    page = Page(said.html)
    assert (page.wrong, page.open) == ([], [])
    assert set(page.tags) <= set(Page(calm.html).tags)
    assert set(page.attributes) <= set(Page(calm.html).attributes)
    assert fault_of({"caption": said.brief, "parse_mode": "HTML"}) == ""
    assert size(said.brief) <= BRIEF
    assert not any(sign in said.subject + said.text.replace("\n", "") for sign in "\r\n\u2028\u202e\u2066\x00\x1b")
    (said.text + said.html + said.brief + said.subject).encode()


@given(st.lists(WILD, max_size=40), WILD)
def test_lists_of_lines_keep_to_the_limits_too(lines: list[str], subject: str) -> None:
    said = listed("k", "digest", subject, lines)
    assert fault_of({"text": said.brief, "parse_mode": "HTML"}) in ("", "message is empty")
    assert size(said.brief) <= BRIEF + 10
    assert (Page(said.html).wrong, Page(said.html).open) == ([], [])


def test_a_link_that_is_none_is_not_shown() -> None:
    said = told(alerts={"runbook_url": "javascript:alert(1)//{fault}"})
    assert all(link.startswith("https://g.example/") for link in Page(said.html).links)
    good = told(alerts={"runbook_url": "https://docs.example/runbooks.html#{fault}"})
    assert f"https://docs.example/runbooks.html#{TRIP}" in Page(good.html).links
