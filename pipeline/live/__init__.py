"""The live event engine: readings become fault events within seconds, and the same code replays history."""
