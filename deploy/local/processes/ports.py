"""TCP ports on the loopback interface."""

from __future__ import annotations

import contextlib
import socket

HOST = "127.0.0.1"
_given: set[int] = set()
"""Until its server starts, nothing but this keeps a port from being found free once more."""


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            probe = stack.enter_context(socket.socket())
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
            if port not in _given:
                ports.append(port)
                _given.add(port)
        return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now (sockets in TIME_WAIT do not count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s):
            return True
    except OSError:
        return False
