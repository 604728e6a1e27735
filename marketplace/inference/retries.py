"""When a call to the router is tried again. Pure: time and randomness come in as arguments."""

import math
from dataclasses import dataclass, field
from http import HTTPStatus

AGAIN = frozenset(
    {
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)
"""Statuses after which a call is tried again, where the router says when."""

PAUSE_S_MIN = 0.25
PAUSE_S_MAX = 30.0
RENEW_S = 1.0
"""The pause after a 401: the router learns of a new key, or of a new token, within this time."""


@dataclass(slots=True)
class Retries:
    """The tries of one call, until ``until_s`` on the caller's clock.

    ``is_repeatable`` says that a call which the router may have begun can be sent again, as it has
    an ``Idempotency-Key``.
    """

    until_s: float
    is_repeatable: bool
    _tries: int = field(default=0, init=False)
    _renewed: bool = field(default=False, init=False)

    def after_answer(
        self, status: int, retry_after: str | None, *, now_s: float, jitter: float
    ) -> float | None:
        """How long to wait before the next try; None if this answer is the one. ``jitter``: 0…1."""
        if status == HTTPStatus.UNAUTHORIZED and not self._renewed:
            self._renewed = True
            return self._within(RENEW_S, now_s)
        if status not in AGAIN or retry_after is None or not retry_after.isdecimal():
            return None
        return self._pause(float(retry_after), now_s, jitter)

    def after_break(self, *, was_sent: bool, now_s: float, jitter: float) -> float | None:
        """The same after a broken connection. None: the call fails."""
        if was_sent and not self.is_repeatable:
            return None
        return self._pause(0.0, now_s, jitter)

    def _pause(self, asked_s: float, now_s: float, jitter: float) -> float | None:
        backoff_s = min(PAUSE_S_MAX, PAUSE_S_MIN * math.ldexp(1.0, min(self._tries, 10)))
        self._tries += 1
        return self._within(max(asked_s, backoff_s) * (1.0 + jitter / 2), now_s)

    def _within(self, pause_s: float, now_s: float) -> float | None:
        return pause_s if now_s + pause_s < self.until_s else None
