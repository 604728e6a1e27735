"""Ways to ask a service whether it is ready. None of them raises."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

from deploy.local.ports import HOST

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


def logged(text: str) -> Callable[[Path], bool]:
    """Ready once the log of this start shows `text`: for services without a port."""

    def check(log: Path) -> bool:
        try:
            with log.open(errors="replace") as file:
                return any(text in line for line in file)
        except OSError:
            return False

    return check
