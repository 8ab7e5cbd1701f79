"""The fleet in a browser for those without Grafana: a live page that updates by itself, and the report. Read-only."""
