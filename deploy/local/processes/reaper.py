"""End the services when the launcher is gone, however it went.

The launcher holds the writing end of a pipe and this process reads it:

    + PID STARTED_TICKS SIGNAL      a service runs (it leads its own process group)
    - PID                           it was stopped and waited for

A SIGKILLed launcher closes the pipe. Then every service still listed gets its stop signal, and
after a grace its whole process group gets SIGKILL. A launcher that stops in order has taken
every service off the list before, and nothing happens.

    python -m deploy.local.processes.reaper GRACE_S < PIPE
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

from deploy.local import ROOT
from deploy.local.processes.process import Process

POLL_S = 0.05


class Reaper:
    """The launcher's end: a process that outlives it.

    Somebody may have killed it: then the parent-death signal of each child is what remains.
    """

    def __init__(self, grace_s: float) -> None:
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.processes.reaper", str(grace_s)],
            cwd=ROOT,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            # Its own session: Ctrl-C at the launcher's terminal must not reach it.
            start_new_session=True,
        )
        os.close(reading)
        self._pipe = os.fdopen(writing, "wb", buffering=0)

    def add(self, process: Process, stop_signal: signal.Signals) -> None:
        """Add a service to the list; `stop_signal` asks it to stop."""
        self._say(f"+ {process.pid} {process.started_ticks} {int(stop_signal)}\n")

    def remove(self, pid: int) -> None:
        """Take a service that was waited for off the list."""
        self._say(f"- {pid}\n")

    def close(self) -> None:
        """Let it go, after every service was removed."""
        self._pipe.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(line.encode())


def read_orders(lines: Iterable[str]) -> dict[Process, signal.Signals]:
    """Follow the launcher until the pipe closes; return what then still runs."""
    services: dict[int, tuple[Process, signal.Signals]] = {}
    for line in lines:
        words = line.split()
        if words[0] == "+":
            pid, started_ticks, stop_signal = map(int, words[1:])
            services[pid] = (Process(pid, started_ticks), signal.Signals(stop_signal))
        else:
            services.pop(int(words[1]), None)
    return dict(services.values())


def end(services: dict[Process, signal.Signals], grace_s: float) -> None:
    """Stop services that are no children of this process."""
    deadline = time.monotonic() + grace_s
    for process, stop_signal in services.items():
        process.send(stop_signal)
    while time.monotonic() < deadline and any(process.is_alive() for process in services):
        time.sleep(POLL_S)
    for process in services:
        process.kill_group(even_leaderless=True)


def main() -> None:
    """Wait for the end of the launcher."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(read_orders(sys.stdin), grace_s=float(sys.argv[1]))


if __name__ == "__main__":
    main()
