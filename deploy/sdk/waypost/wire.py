"""What the core asks of a transport, and what it gets. No I/O.

An operation is a generator: it yields an :data:`Effect`, is sent its result, and returns its value.
Both transports (``transports.py``) run the same generators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

Plane = Literal["router", "management"]


@dataclass(frozen=True)
class Upload:
    """A file to send as the field ``file`` of a form. ``on_bytes`` gets the bytes sent so far."""

    path: Path
    fields: Mapping[str, str]
    on_bytes: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Request:
    """One request, as often as it is tried.

    ``is_repeatable``: doing it twice is as doing it once, so it may be sent again when nobody knows
    whether it was done. ``quiet_s`` is how long nothing may come.
    """

    method: str
    path: str
    plane: Plane = "router"
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    upload: Upload | None = None
    is_repeatable: bool = False
    quiet_s: float | None = None


@dataclass(frozen=True)
class Head:
    """The beginning of an answer. Names in ``headers`` are lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def is_success(self) -> bool:
        """Whether it says yes."""
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Broken:
    """No answer, or no more of it."""

    message: str
    was_sent: bool
    is_timeout: bool


# --- effects ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Send a request. The result is a :class:`Head` or :class:`Broken`."""

    request: Request


@dataclass(frozen=True)
class More:
    """The next bytes of the open answer, ``b""`` at its end, or :class:`Broken`."""


@dataclass(frozen=True)
class Close:
    """Let go of the open answer."""


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Give this to who iterates."""

    item: T


Effect = Open | More | Close | Pause
Steps = Generator[Effect, Any, T]
"""An operation that returns a ``T``."""
Items = Generator[Effect | Emit[T], Any, None]
"""An operation that gives one ``T`` after another."""


def json_request(method: str, path: str, body: Any = None, **more: Any) -> Request:
    """A request with a JSON body. What reads or deletes may be repeated."""
    headers = dict(more.pop("headers", {}))
    content = None
    if body is not None:
        headers["content-type"] = "application/json"
        content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    repeatable = more.pop("is_repeatable", method in {"GET", "DELETE"})
    return Request(method, path, headers=headers, content=content, is_repeatable=repeatable, **more)
