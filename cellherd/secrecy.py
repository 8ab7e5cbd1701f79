"""Keeps secrets out of what we say: whatever was read as a secret is struck out of logs, errors and tracebacks."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from types import TracebackType
from typing import TextIO

STRUCK = "[secret]"
LEAST = 6
"""Shorter ones are not struck out: they would take half of every text with them."""
LEVEL = "CELLHERD_LOG"
"""Environment variable with the level of the log: debug, info, warning."""
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_known: set[str] = set()


def remember(secret: str) -> None:
    """From now on this text is struck out of everything that goes through `redacted`."""
    if len(secret) >= LEAST:
        _known.add(secret)


def redacted(text: str) -> str:
    """The text without the secrets that were remembered, and without a password inside a URL."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, STRUCK)
    return _USERINFO.sub(STRUCK, text)


class Formatter(logging.Formatter):
    """Formats as usual, tracebacks included, and strikes the secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        return redacted(super().format(record))


def begin_log(form: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Log to `stream` (standard error) without secrets, at `level` or what CELLHERD_LOG says; the last call counts."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(form))
    told = logging.getLevelNamesMapping().get(os.environ.get(LEVEL, "").upper(), level)
    logging.basicConfig(level=told, handlers=[handler], force=True)


def guard_tracebacks() -> None:
    """What Python prints when it dies carries no secrets either; threads use the same hook."""
    sys.excepthook = _print_redacted


def _print_redacted(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, where))))
