"""What a fault means, whoever reports it: one vocabulary, and for each brand which bit or code is which fault.

The words stand in `catalogue/`: `ids.toml` for the meanings, one file a brand for its codes, `rules.toml` for the
numbers that makers and guides give, `doubtful.toml` for claims that we do not follow, `languages/` for the words of
`ids.toml` in other languages. All are meant to be edited by people who know batteries, not Python.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from cellherd.errors import CellherdError

Severity = Literal["info", "warning", "protection", "lockout", "fault"]
Cuts = Literal["none", "charge", "discharge", "both", "varies"]
Numbers = Mapping[str, Any]
UNKNOWN = "vendor_code_unknown"
"""The fault of a code that nobody has explained yet; its raw value travels beside it."""

CONFIDENCE = {
    "document": "the maker's document says so",
    "implementation": "working programs read it so",
    "community": "users report it",
    "guide": "one troubleshooting guide says so",
    "doubtful": "doubtful: a claim without a second source",
}
"""How sure we are of a code, surest first."""

NOT_BRANDS = {"ids", "rules", "doubtful"}
LANGUAGES = ("en", "de")


@dataclass(frozen=True, slots=True)
class Fault:
    """One canonical fault. `severity` is a kind; `priority` (1 act now .. 4 never) ranks, routes and colours.

    `numbers` are fallbacks in the project's integer units, for a device that names no limit of its own; a `trip_` has
    its `release_`. `never` is what must not be done, `benign_when` the case in which it is no fault at all.
    """

    id: str
    title: str
    category: str
    severity: Severity
    priority: int
    cuts: Cuts
    release: str
    causes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    safety: str = ""
    benign_when: str = ""
    note: str = ""
    related: tuple[str, ...] = ()
    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Code:
    """A brand's code: the fault it stands for ("" = a state that is none), the maker's words, and how sure we are.

    `also` names what it may point to besides; `released` marks a log entry that says that the fault has gone.
    """

    fault: str = ""
    text: str = ""
    confidence: str = "implementation"
    also: tuple[str, ...] = ()
    released: bool = False
    note: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """Every fault that the code may stand for, the likeliest first."""
        return (self.fault, *self.also) if self.fault else self.also

    @property
    def active(self) -> tuple[str, ...]:
        """The fault that is there while a device sends this code, if any."""
        return (self.fault,) if self.fault and not self.released else ()


@dataclass(frozen=True, slots=True)
class Word:
    """An alarm word of a brand: what each bit, or each value, of it means.

    `typed` words are seen by a person (a display, LEDs) and never sent: E6 on a screen is not error 6 in telemetry.
    """

    where: str
    bits: Mapping[int, Code]
    values: Mapping[str, Code]
    typed: bool = False
    source: str = ""
    note: str = ""

    def of_mask(self, mask: int) -> tuple[str, ...]:
        """Faults of the bits that are set; a bit without a meaning gives `vendor_code_unknown`."""
        found = [
            self.bits[i].active if i in self.bits else (UNKNOWN,) for i in range(mask.bit_length()) if mask >> i & 1
        ]
        return tuple(dict.fromkeys(fault for active in found for fault in active))

    def of_value(self, value: str) -> tuple[str, ...]:
        """The fault of a code or signal by name; a code without a meaning gives `vendor_code_unknown`."""
        return self.values[value].active if value in self.values else (UNKNOWN,)

    def codes(self) -> Iterator[tuple[str, Code]]:
        """Every code by the name that a person uses for it: `bit 3`, or the value."""
        yield from ((f"bit {bit}", code) for bit, code in self.bits.items())
        yield from self.values.items()


@dataclass(frozen=True, slots=True)
class Rule:
    """A number or a way to judge that a maker or a guide gives, in our words; `caveat` says where it does not hold."""

    id: str
    topic: str
    scope: str
    rule: str
    numbers: Numbers = field(default_factory=dict)
    caveat: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A claim found in a guide or a program that we do not simply follow, why, and what we do instead."""

    id: str
    about: str
    claim: str
    but: str
    instead: str


@cache
def catalogue(language: str = "en") -> Mapping[str, Fault]:
    """Every canonical fault by its id, in a language of LANGUAGES; what is not translated stays English."""
    known = {name: Fault(id=name, **_frozen(entry)) for name, entry in _load("ids").items()}
    if language == "en":
        return known
    words = _load(f"languages/{language}")
    return {name: replace(fault, **_frozen(words.get(name, {}))) for name, fault in known.items()}


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its id."""
    return {name: Rule(id=name, **entry) for name, entry in _load("rules").items()}


@cache
def doubtful() -> Mapping[str, Doubt]:
    """Every doubtful claim by its id."""
    return {name: Doubt(id=name, **entry) for name, entry in _load("doubtful").items()}


@cache
def brand(name: str) -> Mapping[str, Word]:
    """A brand's alarm words by name. Raises CellherdError for a brand without a file."""
    return {word: _word(entry) for word, entry in _load(name, brands()).items() if isinstance(entry, dict)}


@cache
def brand_title(name: str) -> str:
    """What people call the brand. Raises CellherdError for a brand without a file."""
    return str(_load(name, brands())["title"])


def brands() -> list[str]:
    """Every brand that has a file, by name."""
    files = resources.files("cellherd").joinpath("catalogue").iterdir()
    names = {f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")}
    return sorted(names - NOT_BRANDS)


def _set_bits(mask: int) -> Iterator[int]:
    return (bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def _load(name: str, known: list[str] | None = None) -> dict[str, Any]:
    if known is not None and name not in known:
        raise CellherdError(f"no fault catalogue for {name!r}; there is one for {', '.join(known)}")
    return tomllib.loads(resources.files("cellherd").joinpath("catalogue", f"{name}.toml").read_text(encoding="utf-8"))


def _frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _word(entry: Mapping[str, Any]) -> Word:
    sure = {"confidence": entry["confidence"]} if "confidence" in entry else {}
    bits = {int(bit): Code(**sure | _frozen(code)) for bit, code in entry.get("bits", {}).items()}
    values = {value: Code(**sure | _frozen(code)) for value, code in entry.get("values", {}).items()}
    said = {key: entry[key] for key in ("typed", "source", "note") if key in entry}
    return Word(entry["where"], bits, values, **said)
