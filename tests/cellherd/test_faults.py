"""The fault vocabulary: every line it grew from resolves, every maker's code leads somewhere, and people find it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from cellherd import fault_pages, fault_words, faults
from cellherd.commands_faults import answer, show
from cellherd.errors import CellherdError
from cellherd.fault_search import find, nearest, uses

HERE = Path(__file__).parent
PAGES = HERE.parents[1] / "docs" / "faults"
CHECKLIST = tomllib.loads((HERE / "seed_checklist.toml").read_text(encoding="utf-8"))
GOLDEN = tomllib.loads((HERE.parent / "golden" / "vendor_codes.toml").read_text(encoding="utf-8"))


def told(query: str, brand: str | None = None) -> str:
    """What `faults show` prints, as one line."""
    out = StringIO()
    for part in answer(find(query, brand)):
        Console(width=400, file=out).print(part)
    return " ".join(out.getvalue().split())


def codes(query: str, brand: str | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    """Word, code and faults of what a query finds."""
    return [(f"{use.brand}.{use.word_name}", use.name, use.code.faults) for use in find(query, brand).uses]


# ---- where the vocabulary comes from ----


@pytest.mark.parametrize("seed", CHECKLIST["seeds"])
def test_every_line_of_the_seed_texts_resolves(seed: str) -> None:
    known = {"faults": faults.catalogue(), "rules": faults.rules(), "doubts": faults.doubtful()}
    for line in CHECKLIST["lines"][seed]:
        named = {(kind, one) for kind in known for one in line.get(kind, ())}
        assert named, line
        assert [one for kind, one in named if one not in known[kind]] == []


def test_the_checklist_is_whole() -> None:
    counts = {seed: len(lines) for seed, lines in CHECKLIST["lines"].items()}
    assert counts == {"000": 51, "001": 23, "002": 64, "003": 38, "004": 35}


def golden_codes() -> Iterator[tuple[tuple[str, str, str], set[str]]]:
    for brand, words in GOLDEN.items():
        for word, rows in words.items():
            yield from (((brand, word, code), {ids} if isinstance(ids, str) else {*ids}) for code, ids in rows.items())


def test_every_makers_code_leads_to_its_faults() -> None:
    known = {(use.brand, use.word_name, use.name): {*use.code.faults} for use in uses()}
    lost = [(place, ids) for place, ids in golden_codes() if not ids <= known.get(place, set())]
    assert lost == []
    assert sum(len(ids) for _, ids in golden_codes()) >= 455


def test_every_code_says_in_known_words_how_sure_it_is_and_what_the_maker_calls_it() -> None:
    assert [use for use in uses() if use.code.confidence not in faults.CONFIDENCE] == []
    assert [use for use in uses() if not use.code.text] == []


# ---- what a fault is ----


def test_a_benign_state_never_alerts() -> None:
    benign = [fault for fault in faults.catalogue().values() if fault.benign_when == "always"]
    assert {fault.priority for fault in benign} == {4}
    assert {"full_charge_reached", "user_limit_reached", "cell_spread_normal"} <= {fault.id for fault in benign}
    assert faults.catalogue()["software_lock"].priority == 4


def test_trip_and_release_are_two_numbers_and_the_release_is_on_the_safe_side() -> None:
    pairs = [
        (fault.id, name, number, fault.numbers[name.replace("trip", "release")])
        for fault in faults.catalogue().values()
        for name, number in fault.numbers.items()
        if "trip" in name.split("_")
    ]
    assert len(pairs) >= 15
    for fault_id, name, trip, release in pairs:
        low = "under" in fault_id or fault_id == "low_soc_warning"
        back_off = ("above_limit" in name) or ("below_limit" in name)
        assert release > trip if low or back_off else release < trip, (fault_id, name)


def test_everything_a_fault_points_to_is_there() -> None:
    known = {*faults.catalogue()}
    assert {one for fault in faults.catalogue().values() for one in fault.related} <= known
    assert {fault.category for fault in faults.catalogue().values()} == {*fault_pages.CATEGORIES}


def test_whoever_opens_a_battery_is_warned() -> None:
    touched = ("short_circuit_protection", "cell_group_failing", "sense_wire_fault", "deep_sleep", "bms_comm_internal")
    assert [one for one in touched if not faults.catalogue()[one].safety] == []


# ---- what a device says ----


def test_a_state_raises_nothing_and_a_released_fault_has_gone() -> None:
    alarm, log = faults.brand("jk")["alarm"], faults.brand("jk")["log"]
    assert alarm.of_mask(1 << 19) == ()
    assert alarm.of_mask(1 << 19 | 1 << 11) == ("cell_undervoltage_protection",)
    assert log.of_value("29") == ("cell_undervoltage_protection",)
    assert log.of_value("30") == ()
    assert log.of_value("99") == (faults.UNKNOWN,)


def test_a_brand_without_a_file_is_named_with_those_that_have_one() -> None:
    with pytest.raises(CellherdError, match=r"'acme'.*bluetti.*jbd"):
        faults.brand("acme")
    with pytest.raises(CellherdError, match="no fault catalogue for 'ids'"):
        faults.brand("ids")


# ---- what people look for ----


def test_the_display_and_telemetry_are_apart() -> None:
    ((place, name, ids),) = codes("E6", "ecoflow")
    assert (place, name, ids) == ("ecoflow.display", "E6", ("cell_imbalance_warning", "cell_group_failing"))
    assert codes("6", "ecoflow") == [("ecoflow.bms_error", "6", ("full_charge_reached",))]
    assert faults.brand("ecoflow")["display"].typed
    assert not faults.brand("ecoflow")["bms_error"].typed


def test_codes_that_people_take_for_one_another_are_shown_beside() -> None:
    alike = {(use.brand, use.name): use.code.fault for use in find("E6").alike}
    assert alike == {("bluetti", "E006"): "station_inverter_fault", ("ecoflow", "6"): "full_charge_reached"}


@pytest.mark.parametrize(
    ("query", "brand", "place", "fault"),
    [
        ("E-03", "jk", "jk.display", "temperature_sensor_fault"),
        ("e03", None, "jk.display", "temperature_sensor_fault"),
        ("jk b-07", None, "jk.display", "balancing_inactive"),
        ("ALM solid", None, "pylontech.led", "protection_shutdown"),
        ("all leds off", None, "pylontech.led", "deep_sleep"),
        ("0x1D", "jk", "jk.log", "cell_undervoltage_protection"),
        ("byte 6 bit 2", "daly", "daly.failure", "short_circuit_protection"),
        ("protection bit 12", "jbd", "jbd.protection", "software_lock"),
        ("10b", "chargery", "chargery.faq", "cell_undervoltage_protection"),
        ("HighCellVoltage", "victron", "victron.venus_warning", "cell_overvoltage_warning"),
        ("one cell jumps", None, "generic.pattern", "cell_reading_erratic"),
    ],
)
def test_a_code_is_found_however_it_is_written(query: str, brand: str | None, place: str, fault: str) -> None:
    found = [(where, ids[0]) for where, _, ids in codes(query, brand)]
    assert (place, fault) in found


def test_a_fault_is_found_by_its_id_or_by_words_of_its_title() -> None:
    found = find("cell overvoltage protection")
    assert [fault.id for fault in found.faults] == ["cell_overvoltage_protection"]
    assert {"jbd", "daly", "pylontech", "seplos", "victron"} <= {use.brand for use in found.uses}
    assert [fault.id for fault in find("too cold charge charging").faults] == ["charge_undertemperature_protection"]


def test_a_wrong_name_gets_the_nearest_right_ones() -> None:
    assert "cell_overvoltage_protection" in nearest("cell_overvoltage_protecton")
    assert nearest("E6", "jackery")[0] == "ecoflow E6"
    assert find("???").uses == find("no such thing").uses == ()


def test_an_answer_says_how_sure_it_is_and_what_not_to_do() -> None:
    text = told("C-FF")
    assert "doubtful" in text
    assert "comm_lost" in text
    assert "What not to do: 1. reset it again before the cause is found" in told("repeat_lockout")
    assert "Safety: A battery can push thousands of amperes" in told("short_circuit_protection")
    assert "trip 3.65 V, release 3.45 V" in told("cell_overvoltage_protection")


def test_an_ambiguous_code_lists_all_its_meanings() -> None:
    text = told("6")
    assert "balancing_slow" in text
    assert "full_charge_reached" in text
    assert "add --brand" in text


def test_the_command_explains_and_refuses_what_nobody_knows() -> None:
    app = typer.Typer()
    app.command()(show)
    assert "deep_sleep" in CliRunner().invoke(app, ["all", "LEDs", "off"]).output
    refused = CliRunner().invoke(app, ["--brand", "jackery", "E6"])
    assert isinstance(refused.exception, CellherdError)
    assert str(refused.exception) == "nobody has explained 'E6' on jackery yet; nearest: ecoflow E6"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"trip_mv": 3650}, "trip 3.65 V"),
        ({"moderate_mv": [50, 100]}, "moderate 50 to 100 mV"),
        ({"trip_dc": 0}, "trip 0 °C"),
        ({"after_s": 600}, "after 10 min"),
        ({"charges": 3}, "charges 3"),
        ({"main_unit": "1.21"}, "main unit 1.21"),
    ],
)
def test_numbers_are_said_in_units_that_people_use(numbers: faults.Numbers, said: str) -> None:
    assert list(fault_words.numbers(numbers)) == [said]


# ---- the pages ----


def test_the_committed_pages_are_those_of_the_catalogue() -> None:
    made = fault_pages.pages()
    assert {path.name for path in PAGES.iterdir()} == {*made}
    stale = [name for name, text in made.items() if (PAGES / name).read_text(encoding="utf-8") != text]
    assert stale == [], "run: python -m cellherd.fault_pages docs/faults"


def test_pages_can_be_written_anywhere(tmp_path: Path) -> None:
    fault_pages.main(tmp_path / "faults")
    assert len(list((tmp_path / "faults").iterdir())) == len(faults.brands()) + 3


def test_every_fault_has_a_runbook_that_says_what_to_do_and_names_only_faults_that_exist() -> None:
    page = fault_pages.pages()["runbooks.md"]
    sections = dict(part.split("\n", 1) for part in page.split("\n### ")[1:])
    assert set(sections) == set(faults.catalogue())
    for name, fault in faults.catalogue().items():
        words = (fault.title, *fault.actions, *fault.never, fault.safety)
        assert [word for word in words if word.replace("<", "&lt;").replace("|", "\\|") not in sections[name]] == []
        assert set(re.findall(r"\(#(\w+)\)", sections[name])) <= set(faults.catalogue())


# ---- other languages ----

TRANSLATED = ("title", "causes", "actions", "never", "safety")


@pytest.mark.parametrize("language", [name for name in faults.LANGUAGES if name != "en"])
@pytest.mark.parametrize("name", faults.catalogue())
def test_every_fault_has_all_of_its_words_in_every_language(name: str, language: str) -> None:
    english, other = faults.catalogue()[name], faults.catalogue(language)[name]
    for key in TRANSLATED:
        said, meant = getattr(other, key), getattr(english, key)
        assert bool(said) == bool(meant), key
        if isinstance(meant, tuple):
            assert len(said) == len(meant), key
            assert not {*said} & {*meant}, key
    assert other.title != english.title


@pytest.mark.parametrize("language", [name for name in faults.LANGUAGES if name != "en"])
def test_a_language_names_no_fault_and_no_word_that_does_not_exist(language: str) -> None:
    path = HERE.parents[1] / "cellherd" / "catalogue" / "languages" / f"{language}.toml"
    words = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(words) == set(faults.catalogue())
    assert {key for entry in words.values() for key in entry} <= set(TRANSLATED)
