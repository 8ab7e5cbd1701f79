"""The report: one HTML file that opens anywhere, offline, on a phone, for people without Grafana and for mail."""

from pipeline.report.page import build

__all__ = ["build"]
