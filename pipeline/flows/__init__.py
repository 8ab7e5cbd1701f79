"""The nightly work under Prefect: a thin shell with retries, a schedule and a page for each night.

Prefect is told to keep to itself, and given time to make its database, before it is imported.
"""

import os

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
