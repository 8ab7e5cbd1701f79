"""A fleet of batteries that does not exist, with the truth about it: readings as a BMS tells them, and what was so.

docs/simulation.md describes the model, its sources and its limits.
"""

from pipeline.simulation.fleet import Day, simulate
from pipeline.simulation.plan import Flaw, FleetPlan

__all__ = ["Day", "Flaw", "FleetPlan", "simulate"]
