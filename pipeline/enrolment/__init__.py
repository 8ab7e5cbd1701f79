"""Letting edges in and shutting them out: accounts, certificates, the broker's rights, what the Pi gets."""
