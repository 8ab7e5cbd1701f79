"""CellHerd's vocabulary: what a reading, a fault, a topic and a limit are called, and the command line."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cellherd")
except PackageNotFoundError:  # a bare source tree, not installed
    __version__ = "0+unknown"
