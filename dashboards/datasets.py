"""What the panels ask, one name a question: the question itself, its unit, its meaning and the data that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dashboards.asking import Ask

Bucket = Literal["live", "nightly"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A question with what a person must know of its answer.

    `unit` is Grafana's name of it, `needs` the least data below which there is no answer, `table` whether rows are
    wanted and not curves, `within` where a number may lie, `bucket` where it stands, `may_be_empty` where no row
    is an answer too.
    """

    name: str
    ask: Ask
    unit: str
    meaning: str
    needs: str
    table: bool = False
    bucket: Bucket = "live"
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    may_be_empty: bool = False

    @property
    def influxql(self) -> str:
        """The question as Grafana sends it."""
        return self.ask.influxql()

    @property
    def source(self) -> str:
        """Where it is asked, for those who look behind a panel."""
        of = self.ask
        while not isinstance(of.of, str):
            of = of.asks[0]
        return of.of

    @property
    def told(self) -> str:
        """The panel's description: meaning, data set and minimum data."""
        return f"{self.meaning} Data: `{self.source}` (data set `{self.name}`). Needs: {self.needs}."


def named(*datasets: Dataset) -> dict[str, Dataset]:
    """By name. Raises ValueError for a name that stands twice."""
    found = {dataset.name: dataset for dataset in datasets}
    if len(found) < len(datasets):
        raise ValueError("a data set's name stands twice")
    return found
