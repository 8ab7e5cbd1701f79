"""The rules of the house, run as tests: whoever has to remember one adds it here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from cellherd import faults
from cellherd.reading import Measured
from cellherd.settings import EdgeConfig, FleetConfig
from collectors.drivers import WHERE, driver
from collectors.fields import Field

HOUSE = Path(__file__).parents[1]
ROOMS = ("cellherd", "collectors", "pipeline", "dashboards")
SOURCES = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, LINES_OF_A_DRIVER, LINES_OF_AN_ANALYSIS = 300, 40, 200, 80
BANNED_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "misc", "common", "data", "handle"}
HEAVY = {"polars", "prefect", "numpy", "altair", "pyarrow", "deltalake", "influxdb_client", "grafanalib", "httpx"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def code_lines(tree: ast.Module) -> int:
    """Lines of functions and classes: what is not a table, an import or a docstring."""
    return sum((node.end_lineno or 0) - node.lineno + 1 for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in SOURCES}


def test_files_and_functions_stay_small(trees: dict[Path, ast.Module]) -> None:
    long_files = {str(p): n for p in trees if (n := len(p.read_text().splitlines())) > LINES_OF_A_FILE}
    long_functions = {
        f"{path.relative_to(HOUSE)}:{f.name}": length(f)
        for path, tree in trees.items()
        for f in functions(tree)
        if length(f) > LINES_OF_A_FUNCTION
    }
    assert (long_files, long_functions) == ({}, {})


def test_drivers_and_analyses_stay_small(trees: dict[Path, ast.Module]) -> None:
    drivers = {p.name: n for p, t in trees.items() if p.parent.name == "drivers" and (n := code_lines(t)) > 200}
    analyses = {p.name: n for p, t in trees.items() if p.parent.name == "analyses" and (n := code_lines(t)) > 80}
    assert (drivers, analyses) == ({}, {})
    assert (LINES_OF_A_DRIVER, LINES_OF_AN_ANALYSIS) == (200, 80)


def test_every_module_says_what_it_is_for_and_no_name_is_a_pattern(trees: dict[Path, ast.Module]) -> None:
    silent = [str(path.relative_to(HOUSE)) for path, tree in trees.items() if not ast.get_docstring(tree)]
    patterns = [str(path.relative_to(HOUSE)) for path in trees if path.stem in BANNED_NAMES]
    assert (silent, patterns) == ([], [])


def test_nobody_sleeps(trees: dict[Path, ast.Module]) -> None:
    """A stop must be heard at once, and a faked clock must not make a sleep fail: wait on an event instead."""
    sleepers = [
        f"{path.relative_to(HOUSE)}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "sleep" and isinstance(node.value, ast.Name)
        if node.value.id == "time"
    ]
    assert sleepers == []


@pytest.mark.parametrize("name", sorted(WHERE))
def test_every_driver_has_a_vector_a_devices_row_and_a_docs_page(name: str) -> None:
    assert list((HOUSE / "tests" / "vectors" / name).glob("*.toml")), "no vector"
    assert f"`{name}`" in (HOUSE / "docs" / "devices" / "README.md").read_text(), "no row on the devices page"
    assert (HOUSE / "docs" / "devices" / f"{name}.md").exists(), "no page"


@pytest.mark.parametrize("name", sorted(WHERE))
def test_a_driver_is_called_what_the_table_calls_it_and_its_brand_has_a_fault_file(name: str) -> None:
    found = driver(name)
    assert found.name == name
    assert found.brand in faults.brands()
    assert found.poll or found.feed


def tables_of(module: Any) -> Iterator[Field]:
    for value in vars(module).values():
        if isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Field))


@pytest.mark.parametrize("name", sorted(WHERE))
def test_every_field_key_is_a_field_of_measured(name: str) -> None:
    known = {f.name for f in fields(Measured)}
    for field in tables_of(import_module(WHERE[name])):
        group, _, key = field.name.rpartition(".")
        assert (group or key) in known


def test_every_fault_has_a_meaning_and_every_alerting_one_a_cause_and_an_action() -> None:
    for fault in faults.catalogue().values():
        assert fault.title
        assert fault.severity in get_args(faults.Severity)
        assert fault.cuts in get_args(faults.Cuts)
        assert 1 <= fault.priority <= 4
        assert fault.priority == 4 or (fault.causes and fault.actions), fault.id
        assert fault.severity != "info" or fault.priority == 4, "a benign state never alerts"


@pytest.mark.parametrize("name", faults.brands())
def test_every_code_of_a_brand_stands_for_a_fault_of_the_catalogue(name: str) -> None:
    for word in faults.brand(name).values():
        for code in (*word.bits.values(), *word.values.values()):
            assert {*code.faults} <= {*faults.catalogue()}


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from keys_of(inner)


def test_every_config_key_is_documented() -> None:
    page = (HOUSE / "docs" / "configuration.md").read_text()
    keys = {*keys_of(EdgeConfig), *keys_of(FleetConfig)}
    assert sorted(key for key in keys if f"`{key}`" not in page) == []


def imported_by(code: str) -> set[str]:
    """Top-level packages in memory after running `code` in a new interpreter."""
    program = f"import sys\n{code}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_the_help_opens_no_room() -> None:
    code = "sys.argv = ['cellherd', '--help']\nfrom cellherd.cli import main\ntry: main()\nexcept SystemExit: pass"
    assert imported_by(code) & {*HEAVY, "collectors", "pipeline", "dashboards", "pydantic"} == set()


@pytest.mark.parametrize("option", ["--help", "--no-such-option"])
def test_no_command_opens_anything_heavy_before_it_is_known_what_is_wanted(option: str) -> None:
    program = """
import contextlib, io, sys
from cellherd import cli
for command in cli.COMMANDS:
    sys.argv = ["cellherd", *command.words.split(), OPTION]
    before, said = set(sys.modules), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as ended:
            assert (ended.code in (0, None)) == (OPTION == "--help"), (command.words, said.getvalue())
    heavy = {name.partition(".")[0] for name in set(sys.modules) - before} & HEAVY
    if heavy:
        print(command.words, *sorted(heavy), sep=";")
"""
    told = f"OPTION, HEAVY = {option!r}, {HEAVY | {'vl_convert', 'numba', 'pandas'}!r}\n{program}"
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == []


def test_the_edge_imports_nothing_heavy() -> None:
    code = (
        "import collectors.commands_edge, collectors.commands, collectors.drivers as d\n[d.driver(n) for n in d.WHERE]"
    )
    assert imported_by(code) & HEAVY == set()


def test_the_vocabulary_needs_the_standard_library_only() -> None:
    code = "import cellherd.reading, cellherd.topics, cellherd.wire, cellherd.faults, cellherd.clock, cellherd.errors"
    foreign = {"pydantic", "typer", "rich", "paho", *HEAVY}
    assert imported_by(code) & foreign == set()


def test_the_import_contracts_hold() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
