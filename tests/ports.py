"""Ports for the servers of a test run, that no other test and no outgoing connection is given.

The kernel hands out a port that a program only asked about to the next one that asks, so a server
that starts a second later may find it taken. Instead, each process of a run has its own range of
ports, below those that the kernel gives.
"""

import contextlib
import functools
import itertools
import socket
from collections.abc import Iterator

from deploy.local.processes.ports import is_free

FIRST, END, STRETCH = 10_240, 32_768, 512
"""32,768 is where Linux begins with the ports of outgoing connections."""


@functools.cache
def _stretch() -> tuple[socket.socket, Iterator[int]]:
    """A stretch that is this process's for as long as it lives, and its ports in turn.

    A name in Linux's abstract namespace belongs to one process at a time, until it ends.
    Raises RuntimeError when forty others hold one.
    """
    held = socket.socket(socket.AF_UNIX)
    for first in range(FIRST, END, STRETCH):
        with contextlib.suppress(OSError):
            held.bind(f"\0waypost-test-ports-{first}")
            return held, itertools.cycle(range(first, first + STRETCH))
    raise RuntimeError(f"all ports from {FIRST} to {END} are held by other test runs")


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nobody listens on, and that only this process is given."""
    _, ports = _stretch()
    return list(itertools.islice(filter(is_free, ports), count))
