"""Every language says the same things: the same names, the same braces, nothing left over."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from cellherd.faults import LANGUAGES
from pipeline.sentences import clock, decimal, duration, say, sentences
from pipeline.words import quantity, tell
from tests.fakes.fleet_by_hand import finding, fleet

PIPELINE = Path(__file__).parents[2] / "pipeline"
BY_VARIABLE = {"urgency_1", "urgency_2", "urgency_3", "urgency_4", "certain", "likely", "suspicion", "language"}
"""Names that the code puts together or chooses."""


def braces(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_names_and_the_same_braces(language: str) -> None:
    english, other = sentences("en"), sentences(language)
    assert set(other) == set(english)
    assert {name: braces(text) for name, text in other.items()} == {n: braces(text) for n, text in english.items()}


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_a_language_is_translated(language: str) -> None:
    same = {name for name, text in sentences(language).items() if text == sentences("en")[name]}
    assert same <= {"help", "module", "limit"}


def test_no_sentence_is_without_a_use() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in PIPELINE.rglob("*.py"))
    named = set(re.findall(r"[\"'](\w+)[\"']", code)) | BY_VARIABLE
    states = {f"state_{name}" for name in ("pending", "acked", "snoozed", "clearing")}
    assert set(sentences("en")) - named - states == set()


def test_parts_are_never_read_as_sentences() -> None:
    assert say("en", "acked", by="{by} {0} %s") == "Acknowledged by {by} {0} %s."


def test_numbers_times_and_spans_are_those_of_the_language() -> None:
    at = 1_773_475_500_000
    assert clock(at, "Europe/Berlin") == "14 Mar 09:05"
    assert clock(at, "Europe/Berlin", "de") == "14.03. 09:05"
    assert (duration(7_800_000), duration(260_000_000, "de")) == ("2 h 10 min", "3 Tage")
    assert quantity(231, "0.1 degC", "de") == "23,1 °C"
    assert quantity(3, "count", "de") == "3 mal"
    assert decimal("1.5", "en") == "1.5"
    assert [quantity(years, "years") for years in (0, 1, 3.25)] == ["less than a month", "12 months", "3.2 years"]
    assert [quantity(years, "years", "de") for years in (0.09, 2.5)] == ["1 Monat", "2,5 Jahre"]


def test_a_finding_is_told_in_german_from_the_catalogue() -> None:
    told = tell(finding(), fleet(), "de")
    assert told.where == "Farm Müller, Stapel s1, Modul m1, Zelle 7"
    assert told.numbers.startswith("118 mV (Grenze 100 mV")
    assert told.what != tell(finding(), fleet()).what
    assert len(told.actions) == len(tell(finding(), fleet()).actions)


@pytest.mark.parametrize(
    ("value", "said"),
    [(100.0, "100 %"), (99.96, "100 %"), (115.05, "115 %"), (9.996, "10 %"), (12.345, "12.3 %"), (7.123, "7.12 %")],
)
def test_a_number_is_said_with_three_digits_and_no_more(value: float, said: str) -> None:
    assert quantity(value, "%") == said
