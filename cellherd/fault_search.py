"""Find a fault by whatever a person has at hand: an id, a code of a brand, what the display or the lights show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from cellherd import faults
from cellherd.faults import Code, Fault, Word

LETTERS_AND_NUMBER = r"[a-z]*-?\d+"
"""The shape of codes that people take for one another."""


@dataclass(frozen=True, slots=True)
class Use:
    """One code of one brand, with the word it belongs to and the name that a person uses for it."""

    brand: str
    word_name: str
    word: Word
    name: str
    code: Code


@dataclass(frozen=True, slots=True)
class Found:
    """What a query names: faults by id or title, codes, and codes that look alike but are others."""

    faults: tuple[Fault, ...] = ()
    uses: tuple[Use, ...] = ()
    alike: tuple[Use, ...] = ()


@cache
def uses(brand: str | None = None) -> tuple[Use, ...]:
    """Every code of a brand, or of all. Raises CellherdError for a brand without a file."""
    return tuple(use for name in ([brand] if brand else faults.brands()) for use in _of_brand(name))


def _of_brand(brand: str) -> Iterator[Use]:
    for name, word in faults.brand(brand).items():
        yield from (Use(brand, name, word, key, code) for key, code in word.codes())


def uses_of(fault: str, brand: str | None = None) -> tuple[Use, ...]:
    """Every code that stands for a fault."""
    return tuple(use for use in uses(brand) if fault == use.code.fault)


def find(query: str, brand: str | None = None) -> Found:
    """Look for an id first, then for a code by its exact name, then for the words in texts and titles."""
    first, _, rest = query.strip().partition(" ")
    if brand is None and rest and first.lower() in faults.brands():
        brand, query = first.lower(), rest
    fault = faults.catalogue().get("_".join(query.lower().split()))
    if fault:
        return Found((fault,), uses_of(fault.id, brand))
    exact = _exact(query, brand)
    if exact:
        return Found(uses=exact, alike=_alike(query, exact))
    wanted = _words(query)
    titled = [
        fault for fault in faults.catalogue().values() if wanted and wanted <= _words(f"{fault.id} {fault.title}")
    ]
    told = [use for use in uses(brand) if wanted and wanted <= _words(f"{use.name} {use.code.text}")]
    return Found(tuple(titled) if brand is None else (), tuple(told))


def nearest(query: str, brand: str | None = None) -> list[str]:
    """Names close to one that was not found, nearest first: ids, and codes with their brand before them."""
    names = {f"{use.brand} {use.name}": use.name for use in uses(brand)}
    codes = _close(query, list(names.values()))
    elsewhere = [use for use in _exact(query, None) if use.brand != brand]
    said = [f"{use.brand} {use.name}" for use in elsewhere]
    said += [known for known, name in names.items() if name in codes]
    return list(dict.fromkeys(said + _close("_".join(query.split()), list(faults.catalogue()))))[:8]


def _close(query: str, names: list[str]) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    return [by_lower[name] for name in get_close_matches(query.lower(), by_lower, n=4, cutoff=0.6)]


def _exact(query: str, brand: str | None) -> tuple[Use, ...]:
    wanted = _compact(_as_bit(query))
    found = [use for use in uses(brand) if wanted in (_compact(use.name), _compact(f"{use.word_name} {use.name}"))]
    return tuple(sorted(found, key=lambda use: not use.word.typed)) if wanted else ()


def _alike(query: str, exact: tuple[Use, ...]) -> tuple[Use, ...]:
    """E6, E006 and, in the same brand, 6: people take one for the other."""
    wanted, brands = _compact(query), {use.brand for use in exact}
    if not re.fullmatch(LETTERS_AND_NUMBER, wanted):
        return ()
    others = (use for use in uses() if use not in exact and re.fullmatch(LETTERS_AND_NUMBER, use.name.lower()))
    return tuple(use for use in others if _same_but_zeros(use, wanted) or _same_number(use, wanted, brands))


def _same_but_zeros(use: Use, wanted: str) -> bool:
    return not wanted.isdigit() and _no_zeros(use.name) == _no_zeros(wanted)


def _same_number(use: Use, wanted: str, brands: set[str]) -> bool:
    return use.brand in brands and re.sub(r"\D|^0+", "", use.name) == re.sub(r"\D|^0+", "", wanted)


def _compact(text: str) -> str:
    """`E-03`, `e 03` and `E03` are one; 0x1D is 29."""
    text = text.strip().lower()
    if re.fullmatch(r"0x[0-9a-f]+", text):
        return str(int(text, 16))
    return re.sub(r"[^a-z0-9.>]", "", text)


def _as_bit(query: str) -> str:
    """`byte 1 bit 2` is bit 10, as makers count."""
    found = re.fullmatch(r"(.*)\bbyte (\d+)[ ,]+bit (\d)", query.strip().lower())
    return f"{found[1]}bit {8 * int(found[2]) + int(found[3])}" if found else query


def _no_zeros(text: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", text.lower())


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9.]+", text.lower()))
