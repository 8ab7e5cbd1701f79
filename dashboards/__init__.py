"""Draws: Grafana dashboards as data, built from the same words as everything else."""
