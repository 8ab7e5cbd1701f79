"""Batteries that are not there: a cell model, and for each driver the device that answers with real protocol bytes."""
