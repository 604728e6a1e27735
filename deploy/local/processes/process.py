"""Identify a process: a pid alone can be reused."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


def boot_id() -> str:
    """Identify this boot of the machine: process start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name in parentheses may hold spaces and parentheses itself.
    return text[text.rindex(")") + 2 :].split()


@dataclass(frozen=True, slots=True)
class Process:
    """A process by pid and start time (clock ticks since boot): no other ever has both."""

    pid: int
    started_ticks: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """Identify the live process that has `pid` now."""
        fields = _stat_fields(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))

    @classmethod
    def own(cls) -> Process:
        """Identify the calling process."""
        return cls(os.getpid(), int((_stat_fields(os.getpid()) or [])[19]))

    def is_alive(self) -> bool:
        """Whether this process runs (a zombie does not)."""
        return Process.find(self.pid) == self

    def send(self, signal_number: int) -> bool:
        """Signal this process; False when it is gone (one that reuses its pid is left alone)."""
        if not self.is_alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal_number)
            return True
        return False

    def kill_group(self, *, even_leaderless: bool = False) -> None:
        """SIGKILL the process group that this process leads.

        `even_leaderless` goes on to what the dead leader left in its group. Only for a caller
        that knew the leader moments ago: an old pid may number somebody else's group by now.
        """
        leader = Process.find(self.pid)
        if leader != self and (leader is not None or not even_leaderless):
            return
        for member in group_members(self.pid):
            member.send(signal.SIGKILL)


def group_members(group: int) -> list[Process]:
    """List the live processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat_fields(int(entry.name))
            if fields is not None and fields[0] not in "ZX" and int(fields[2]) == group:
                members.append(Process(int(entry.name), int(fields[19])))
    return members


def stopped(pid: int) -> bool:
    """Whether a process has been stopped by a signal (one that a debugger holds has not)."""
    fields = _stat_fields(pid)
    return fields is not None and fields[0] == "T"
