"""`cellherd read --watch`: a battery on the screen until Ctrl-C, with the age of the reading and how the line is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cellherd.clock import Clock
from cellherd.errors import BadFrame, Silent

PERIOD_S = 1.0
LAST = 30
"""Tries that the quality of the line is judged by."""
STALE_S = 10
"""Age from which a reading is no longer what the battery does now."""


@dataclass(slots=True)
class Watch:
    """What is on the screen. `view` is the last reading as it is shown."""

    clock: Clock
    view: RenderableType | None = None
    at: int = 0
    tries: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))
    trouble: str = ""

    def turn(self, take: Callable[[], RenderableType]) -> None:
        """One try. Silence and broken answers are counted and told, the last good reading stays. Raises LinkError."""
        try:
            self.view, self.at, self.trouble = take(), self.clock.boot(), ""
            self.tries.append(True)
        except (Silent, BadFrame) as error:
            self.trouble = str(error)
            self.tries.append(False)

    def shown(self) -> RenderableType:
        """The reading, its age, the line's quality, and the newest trouble if there is one."""
        line = Text(quality(self.tries), style="green" if all(self.tries) else "yellow" if any(self.tries) else "red")
        parts: list[RenderableType] = [line]
        if self.view is not None:
            seconds = (self.clock.boot() - self.at) // 1000
            age = Text(f"read {seconds} s ago", style="red" if seconds >= STALE_S else "dim")
            parts = [self.view, age, line]
        if self.trouble:
            parts.append(Text(self.trouble, style="red"))
        return Group(*parts, Text("Ctrl-C ends this", style="dim"))


def quality(tries: Sequence[bool]) -> str:
    """How the line is, in words, by the outcome of the last tries."""
    good, count = sum(tries), len(tries)
    if not count:
        return "line: nothing asked yet"
    if good == count:
        return f"line: good, every answer of the last {count} came"
    if not good:
        return f"line: dead, none of the last {count} tries gave an answer; check plug, A and B, baud rate, address"
    if good * 10 >= count * 9:
        return f"line: fair, {count - good} of the last {count} tries failed"
    return (
        f"line: bad, {count - good} of the last {count} tries failed; check terminators, cable length, a second master"
    )


def watch(take: Callable[[], RenderableType], clock: Clock, console: Console) -> None:
    """Read once a second and show it until Ctrl-C. Raises LinkError when the port goes away."""
    state, pause = Watch(clock), Event()
    with suppress(KeyboardInterrupt), Live(console=console, get_renderable=state.shown, refresh_per_second=2) as live:
        while True:
            state.turn(take)
            live.refresh()
            pause.wait(PERIOD_S)
