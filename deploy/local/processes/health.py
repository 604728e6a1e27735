"""Ways to ask a service whether it is ready. None of them raises."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

from deploy.local.processes.ports import HOST

TIMEOUT_S = 2.0


def answers_http(port: int, path: str, *, below: int = 400) -> Callable[[Path], bool]:
    """Ready when `path` is answered with a status below `below`."""

    def check(log: Path) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            return connection.getresponse().status < below
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def once_logged(text: str, check: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """As `check`, but not before the log of this start shows `text`."""
    shown_in = 0
    was_logged = logged(text)

    def ready(log: Path) -> bool:
        nonlocal shown_in
        try:
            started = log.stat().st_ino  # Each start has its own log.
        except OSError:
            return False
        if shown_in != started and was_logged(log):
            shown_in = started
        return shown_in == started and check(log)

    return ready


def logged(text: str) -> Callable[[Path], bool]:
    """Ready once the log of this start shows `text`: for services without a port."""

    def check(log: Path) -> bool:
        try:
            with log.open(errors="replace") as file:
                return any(text in line for line in file)
        except OSError:
            return False

    return check
