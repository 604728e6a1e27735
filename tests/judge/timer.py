"""Calls at a moment, some 50 µs late: an event loop's own timers count in milliseconds."""

import asyncio
import ctypes
import heapq
import itertools
import os
import time
from collections.abc import Callable

CLOCK_MONOTONIC = 1
ABSOLUTE = 1
SOONEST_S = 1e-6
"""A timer of 0 is off."""

now_s = time.monotonic

_libc = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """``struct itimerspec`` of timerfd_settime(2)."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """One call to come."""

    __slots__ = ("_call", "at_s")

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s = at_s
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call. Harmless afterwards."""
        self._call = None

    def ring(self) -> None:
        """Call, at most once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Timer:
    """Alarms in order of their time, on one timerfd of the running loop."""

    def __init__(self) -> None:
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._fd = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._ring)

    def at(self, at_s: float, call: Callable[[], None]) -> Alarm:
        """Call then, on :func:`now_s`'s clock; soon, where that has passed."""
        alarm = Alarm(at_s, call)
        heapq.heappush(self._alarms, (at_s, next(self._order), alarm))
        if self._alarms[0][2] is alarm:
            self._set(at_s)
        return alarm

    async def until(self, at_s: float) -> None:
        """Return then."""
        then: asyncio.Future[None] = self._loop.create_future()

        def ring() -> None:
            if not then.done():
                then.set_result(None)

        alarm = self.at(at_s, ring)
        try:
            await then
        finally:
            alarm.cancel()

    def close(self) -> None:
        """Call nobody any more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _set(self, at_s: float) -> None:
        at_s = max(at_s, SOONEST_S)
        spec = _Spec(0, 0, int(at_s), int(at_s % 1 * 1e9))
        _libc.timerfd_settime(self._fd, ABSOLUTE, ctypes.byref(spec), None)

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # Set again since.
        reached_s = now_s()
        while self._alarms and self._alarms[0][0] <= reached_s:
            heapq.heappop(self._alarms)[2].ring()
        if self._alarms:
            self._set(self._alarms[0][0])
