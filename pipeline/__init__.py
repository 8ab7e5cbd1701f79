"""The server: takes every reading in, keeps it, asks questions of it and tells people."""
