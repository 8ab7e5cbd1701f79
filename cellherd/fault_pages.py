"""Write the fault pages of the documentation from the catalogue: `python -m cellherd.fault_pages docs/faults`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from cellherd import fault_words
from cellherd.faults import CONFIDENCE, Code, Fault, Rule, Word, brand, brand_title, brands, catalogue, doubtful, rules

MADE = "<!-- Written by `python -m cellherd.fault_pages docs/faults` from cellherd/catalogue; edit there. -->"
CATEGORIES = {
    "cell_voltage": "Cell voltage",
    "pack_voltage": "Battery voltage",
    "soc": "State of charge",
    "current": "Current",
    "temperature": "Temperature",
    "balance": "Balance",
    "comm": "Communication",
    "stack": "Stack",
    "hardware": "Hardware",
    "config": "Settings and firmware",
    "lockout": "Lockout",
    "state": "States",
    "safety": "Safety",
    "station": "Power stations",
}


def pages() -> dict[str, str]:
    """Every page by its file name."""
    each = {f"{name}.md": _page(_brand_page(name)) for name in brands()}
    all_of_them = {"README.md": _overview(), "rules.md": _rules_page(), "runbooks.md": _runbooks()}
    return {**{name: _page(parts) for name, parts in all_of_them.items()}, **each}


def _overview() -> Iterator[str]:
    yield f"# Faults\n\n{MADE}\n"
    yield "One vocabulary for every brand: what a BMS reports, or a rule concludes, is one of these."
    yield "`cellherd faults show CODE` explains any of them, and any code of a brand, at length.\n"
    links = ", ".join(f"[{brand_title(name)}]({name}.md)" for name in brands())
    yield f"Codes by brand: {links}. Numbers and doubtful claims: [rules](rules.md).\n"
    yield "What an alert means and what to do about it: [runbooks](runbooks.md).\n"
    yield "How sure a code is: " + "; ".join(f"*{word}*, {meaning}" for word, meaning in CONFIDENCE.items()) + ".\n"
    for category, group in groupby(catalogue().values(), key=lambda fault: fault.category):
        yield f"## {CATEGORIES[category]}\n"
        yield _table(("fault", "meaning", "urgency", "what it does", "first of all"), map(_fault_row, group))


def _fault_row(fault: Fault) -> tuple[str, ...]:
    does = fault_words.CUTS[fault.cuts] if fault.severity != "info" else fault_words.STATE["info"]
    first = fault.actions[0] if fault.actions else ""
    return (f"[`{fault.id}`](runbooks.md#{fault.id})", fault.title, fault_words.URGENCY[fault.priority], does, first)


def _runbooks() -> Iterator[str]:
    yield f"# What an alert means, and what to do\n\n{MADE}\n"
    yield "One section for each fault, by the name that stands in alerts, events and dashboards. The messages say the"
    yield "same, in the language of whoever is told. Before any of it:\n"
    yield "1. `cellherd alerts show ALERT` shows each module concerned, what was told to whom, and why it is kept back."
    yield "2. `cellherd alerts ack ALERT --by NAME` (or the button) says that you take it on; nobody else is asked."
    yield "3. Work on the batteries: `cellherd alerts silence 4h --site SITE` keeps back what your work sets off.\n"
    yield "[All faults in one table](README.md); [how to set up who is told](../alerts-setup.md).\n"
    for category, group in groupby(catalogue().values(), key=lambda fault: fault.category):
        yield f"## {CATEGORIES[category]}\n"
        for fault in group:
            yield from _runbook(fault)


def _runbook(fault: Fault) -> Iterator[str]:
    yield f"### {fault.id}\n"
    yield f"**{_cell(fault.title)}** ({fault_words.standing(fault)}).\n"
    told = {"No fault if": fault.benign_when, "Note": fault.note}
    yield from (f"{word}: {_cell(text).rstrip('.')}.\n" for word, text in told.items() if text)
    if shown := ", ".join(fault_words.numbers(fault.numbers)):
        yield f"Numbers where the device names none: {shown}.\n"
    steps = {"Likely causes": fault.causes, "What to do": fault.actions, "What not to do": fault.never}
    for title, lines in steps.items():
        yield from _steps(title, lines, numbered=lines is fault.actions)
    if fault.safety:
        yield f"> **Safety:** {_cell(fault.safety)}\n"
    if fault.related:
        yield f"See also: {', '.join(f'[{name}](#{name})' for name in fault.related)}.\n"


def _steps(title: str, lines: Sequence[str], *, numbered: bool) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:\n"
    yield "\n".join(f"{f'{n}.' if numbered else '-'} {_cell(line)}" for n, line in enumerate(lines, 1)) + "\n"


def _brand_page(name: str) -> Iterator[str]:
    yield f"# {brand_title(name)}: fault codes\n\n{MADE}\n"
    yield f"Meanings and what to do: [all faults](README.md), or `cellherd faults show --brand {name} CODE`.\n"
    for word_name, word in brand(name).items():
        yield f"## `{word_name}`: {_cell(word.where)}\n"
        yield from _word_lead(word)
        yield _table(("code", "maker's words", "means", "how sure"), (_code_row(*known) for known in word.codes()))


def _word_lead(word: Word) -> Iterator[str]:
    if word.typed:
        yield "Seen by a person, never sent by the device.\n"
    if word.source:
        yield f"Source: {word.source}.\n"
    if word.note:
        yield f"Note: {word.note}.\n"


def _code_row(name: str, code: Code) -> tuple[str, ...]:
    note = f" ({code.note})" if code.note else ""
    return (name, code.text, fault_words.meaning(code) + note, code.confidence)


def _rules_page() -> Iterator[str]:
    yield f"# Rules and doubtful claims\n\n{MADE}\n"
    yield "Numbers that makers and guides give. What the device itself reports always comes first.\n"
    yield _table(("rule", "for", "says", "numbers", "but"), map(_rule_row, rules().values()))
    yield "## Claims that we do not simply follow\n"
    doubts = ((one.about, one.claim, one.but, one.instead) for one in doubtful().values())
    yield _table(("about", "claim", "but", "instead"), doubts)


def _rule_row(rule: Rule) -> tuple[str, ...]:
    return (f"`{rule.id}`", rule.scope, rule.rule, ", ".join(fault_words.numbers(rule.numbers)), rule.caveat)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _page(parts: Iterable[str]) -> str:
    return "\n".join(parts).rstrip("\n") + "\n"


def main(folder: Path) -> None:
    """Write every page into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/faults"))
