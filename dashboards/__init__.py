"""Draws: Grafana dashboards as data, built from the same words as everything else."""

from pathlib import Path

OUT = Path(__file__).parent / "out"
"""The built dashboards in the tree."""
