"""The lines a person watches while a stack starts."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from deploy.local.home.state import Condition, ServiceState

MARKS = {
    Condition.WAITING: "·",
    Condition.STARTING: "…",
    Condition.READY: "✓",
    Condition.DONE: "✓",
    Condition.UNAVAILABLE: "–",
    Condition.UNHEALTHY: "!",
    Condition.RESTARTING: "↻",
    Condition.STOPPED: "·",
    Condition.FAILED: "✗",
}


def describe(state: ServiceState, now: float) -> str:
    """One service on one line: mark, name, condition, seconds, and where or why."""
    if state.seconds_to_ready is not None and state.condition is not Condition.STOPPED:
        seconds = f"{state.seconds_to_ready:5.1f} s"
    elif state.condition is Condition.STARTING:
        seconds = f"{now - state.since:5.1f} s"
    else:
        seconds = ""
    note = state.reason or state.address
    line = f"  {MARKS[state.condition]} {state.name:<16} {state.condition:<12}{seconds:<9}{note}"
    return line.rstrip()


def unheard() -> contextlib.AbstractContextManager[None]:
    """Go on where nothing can be written: the reader of a pipe has left, or a disk is full."""
    return contextlib.suppress(OSError)


class Progress:
    """Shows states as they change: redrawn in place on a terminal, one line a change elsewhere."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._clock = clock
        self._live = out.isatty()
        self._drawn: list[str] = []
        self._conditions: dict[str, Condition] = {}

    def show(self, states: tuple[ServiceState, ...]) -> None:
        """Bring what is on the screen up to these states."""
        lines = [describe(state, self._clock()) for state in states]
        with unheard():
            if self._live:
                self._redraw(lines)
            else:
                for state, line in zip(states, lines, strict=True):
                    seen = self._conditions.get(state.name, Condition.WAITING)
                    if state.condition not in {seen, Condition.STOPPED}:
                        print(line, file=self._out, flush=True)
        self._conditions = {state.name: state.condition for state in states}

    def settle(self) -> None:
        """Keep what is drawn; from now on write each change on its own line."""
        self._live = False

    def _redraw(self, lines: list[str]) -> None:
        # A wrapped line would count twice on the way up.
        columns = shutil.get_terminal_size().columns
        lines = [line[:columns] for line in lines]
        if lines == self._drawn:
            return
        up = f"\033[{len(self._drawn)}F" if self._drawn else ""
        self._out.write(up + "".join(f"\033[K{line}\n" for line in lines))
        self._out.flush()
        self._drawn = lines
