"""When a request is tried again. Pure: time and chance come in as arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from waypost.wire import Broken, Request

GATEWAYS = frozenset({502, 503, 504})
"""What a gateway between answers when what is behind it is away."""
AGAIN = frozenset({408, 409, 425, 429, 500}) | GATEWAYS
"""Statuses after which the same request may do later, where the answer says when."""


@dataclass(frozen=True)
class Retries:
    """How often, and how long is waited: twice as long each time, unless the answer says when.

    A ``Retry-After`` of more than ``asked_s_max`` ends the call with its error, which has it.
    """

    tries_max: int = 5
    pause_s: float = 0.25
    pause_s_max: float = 8.0
    asked_s_max: float = 60.0

    def __post_init__(self) -> None:
        if self.tries_max < 1:
            raise ValueError(f"tries_max must be at least 1, got {self.tries_max}")

    def after_answer(
        self,
        status: int,
        headers: Mapping[str, str],
        request: Request,
        *,
        is_ours: bool,
        tries: int,
        jitter: float,
    ) -> float | None:
        """How long to wait before the next try; None: this answer is the one.

        ``is_ours`` says that the error has the shape of this API, which sends ``Retry-After``
        wherever another try makes sense. ``jitter`` is from 0 to 1.
        """
        if status not in AGAIN or tries >= self.tries_max:
            return None
        if headers.get("x-should-retry", "").lower() == "false":
            return None
        asked_s = retry_after_s(headers)
        if asked_s is not None:
            return None if asked_s > self.asked_s_max else self._pause(asked_s, tries, jitter)
        if is_ours or status not in GATEWAYS or not request.is_repeatable:
            return None
        return self._pause(0.0, tries, jitter)

    def after_break(
        self, broken: Broken, request: Request, *, tries: int, jitter: float
    ) -> float | None:
        """The same after a broken connection."""
        if tries >= self.tries_max or (broken.was_sent and not request.is_repeatable):
            return None
        return self._pause(0.0, tries, jitter)

    def _pause(self, asked_s: float, tries: int, jitter: float) -> float:
        """Never before what was asked for; up to half as long again, so that callers spread."""
        backoff_s = min(self.pause_s_max, self.pause_s * math.ldexp(1.0, min(tries - 1, 10)))
        return max(asked_s, backoff_s) * (1.0 + jitter / 2)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds; a date counts from the answer's own. None where it says none."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        asked, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (asked - now).total_seconds())
    except (ValueError, TypeError, IndexError):
        return None
