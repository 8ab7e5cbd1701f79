"""From the journal to the stores: a process of its own, since a slow store must not hold up the intake."""
