"""Questions asked of readings and of the small daily tables: one file each, pure, no clock and no store.

Big questions take a day's readings of modules, with a `unit` column of any type, and answer by unit. Small ones take
the daily tables of pipeline/schema.py.
"""
