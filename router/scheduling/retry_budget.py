"""How many retries the fleet can bear: a share of calls plus a floor (Finagle's retry budget).

Retries help against a bad worker and hurt an overloaded fleet; a budget tells the two apart
without knowing which it is.
"""

RETRY_SHARE = 0.2
RETRY_FLOOR = 10.0
RETRY_TOKENS_MAX = 100.0


class RetryBudget:
    """Tokens: each call deposits a share of one, each retry takes one."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = RETRY_FLOOR

    def deposit(self) -> None:
        """Count one call."""
        self._tokens = min(self._tokens + RETRY_SHARE, RETRY_TOKENS_MAX)

    def withdraw(self) -> bool:
        """Take a token for a retry; False when there is none."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
