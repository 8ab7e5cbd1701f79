"""What each dashboard asks: its data sets, once each."""

from __future__ import annotations

from dashboards.datasets import Dataset
from dashboards.questions import degradation, home, lockouts, mismatch, module, pipeline, site

BY_PAGE: dict[str, dict[str, Dataset]] = {
    "fleet-home": home.ASKED,
    "fleet-site": site.ASKED,
    "fleet-module": module.ASKED,
    "fleet-lockouts": lockouts.ASKED,
    "fleet-degradation": degradation.ASKED,
    "fleet-mismatch": mismatch.ASKED,
    "fleet-pipeline": pipeline.ASKED,
}
EVERY: dict[str, Dataset] = {dataset.influxql: dataset for asked in BY_PAGE.values() for dataset in asked.values()}
"""By their InfluxQL, which is what stands in a panel."""
