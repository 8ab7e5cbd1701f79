"""`cellherd faults`: what a code means, how sure that is, what to do about it and what not to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cellherd import fault_words
from cellherd.errors import CellherdError
from cellherd.fault_search import Found, Use, find, nearest
from cellherd.faults import Fault, brand_title, catalogue

IN_FULL = 2
"""So many faults or codes are explained at length; more are listed, and one can be asked for by its id."""


def show(
    code: Annotated[
        list[str], typer.Argument(help="a fault's id, a brand's code, what the display or the lights show")
    ],
    brand: Annotated[str | None, typer.Option("--brand", "-b", help="look in this brand only")] = None,
) -> None:
    """Explain a fault or a code: meaning, how certain, what to do, what not to do.

    Example: cellherd faults show E6

    Example: cellherd faults show --brand jk E-03
    """
    query = " ".join(code)
    found = find(query, brand)
    if not (found.faults or found.uses):
        near = nearest(query, brand)
        hint = f"nearest: {', '.join(near)}" if near else "try the words on the display, or a fault's id"
        raise CellherdError(f"nobody has explained {query!r}{f' on {brand}' if brand else ''} yet; {hint}")
    console = Console(highlight=False)
    for part in answer(found):
        console.print(part)


def answer(found: Found) -> Iterator[RenderableType]:
    """Everything there is to say, in the order in which a person needs it."""
    asked_by_code = not found.faults
    if asked_by_code:
        yield from _codes(found.uses)
    meant = found.faults or _meant(found.uses)
    if len(meant) <= IN_FULL:
        for fault in meant:
            yield from explain(fault)
    else:
        yield Text("\nSeveral faults; ask for one by its id, or add --brand:", "bold")
        yield from (_line(f"{fault.id}: {fault.title} ({fault_words.URGENCY[fault.priority]})") for fault in meant)
    if found.faults and found.uses:
        yield Text("\nWho says so", "bold")
        yield _table(found.uses, meaning=False)
    if found.alike:
        yield Text("\nLooks alike, means something else", "bold yellow")
        yield _table(found.alike)


def explain(fault: Fault) -> Iterator[RenderableType]:
    """One fault at length."""
    yield Text(f"\n{fault.title}", "bold")
    yield _line(f"{fault.id}: {fault_words.standing(fault)}", "dim")
    if fault.benign_when:
        yield _line(f"No fault when: {fault.benign_when}", "green")
    yield from _list("Why", fault.causes, "")
    yield from _list("What to do", fault.actions, "")
    yield from _list("What not to do", fault.never, "red")
    if fault.safety:
        yield _line(f"Safety: {fault.safety}", "bold red")
    if fault.note:
        yield _line(f"Note: {fault.note}")
    if fault.numbers:
        yield _line(f"Numbers, where the device names none: {', '.join(fault_words.numbers(fault.numbers))}", "dim")
    if fault.related:
        yield _line(f"See also: {', '.join(fault.related)}", "dim")


def _meant(uses: tuple[Use, ...]) -> tuple[Fault, ...]:
    """The likeliest fault of each code."""
    ids = dict.fromkeys(use.code.faults[0] for use in uses if use.code.faults)
    return tuple(catalogue()[fault] for fault in ids)


def _codes(uses: tuple[Use, ...]) -> Iterator[RenderableType]:
    if len(uses) > IN_FULL:
        yield _table(uses)
        return
    for use in uses:
        yield Text(f'{brand_title(use.brand)} {use.name} "{use.code.text}" ({use.word.where})', "bold")
        yield _line(f"= {fault_words.meaning(use.code)}")
        yield _line(f"How sure: {fault_words.sure(use.code, use.word)}", "dim")
        yield from (_line(f"Note: {note}") for note in (use.code.note, use.word.note) if note)


def _table(uses: tuple[Use, ...], *, meaning: bool = True) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("brand", "code", "maker's words", "where", "means")[: 5 if meaning else 4]:
        table.add_column(name, overflow="fold")
    for use in uses:
        row = [
            use.brand,
            use.name,
            use.code.text,
            use.word.where,
            *([fault_words.meaning(use.code)] if meaning else []),
        ]
        table.add_row(*map(Text, row))
    return Padding(table, (0, 0, 0, 2))


def _list(name: str, entries: tuple[str, ...], style: str) -> Iterator[RenderableType]:
    if entries:
        yield _line(f"{name}:", f"bold {style}")
        yield from (Padding(Text(f"{number}. {entry}", style), (0, 0, 0, 4)) for number, entry in enumerate(entries, 1))


def _line(text: str, style: str = "") -> RenderableType:
    return Padding(Text(text, style), (0, 0, 0, 2))
