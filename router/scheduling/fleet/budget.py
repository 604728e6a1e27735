"""How much extra load the fleet can bear: a share of calls plus a floor (Finagle's retry budget).

Retries and hedges help against a bad worker and hurt an overloaded fleet. A budget limits the harm
without knowing which of the two it is.
"""


class Budget:
    """A bucket of tokens: each call adds ``share`` of one, each extra takes one. It starts with
    ``floor`` tokens and holds at most ``most``.
    """

    __slots__ = ("_most", "_share", "_tokens")

    def __init__(self, *, share: float, floor: float, most: float) -> None:
        self._share = share
        self._most = most
        self._tokens = floor

    def deposit(self) -> None:
        """Count one call."""
        self._tokens = min(self._tokens + self._share, self._most)

    def withdraw(self) -> bool:
        """Take a token for one extra; False when there is none."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def retry_budget() -> Budget:
    """A fifth of the calls may be tried again, and ten at any time."""
    return Budget(share=0.2, floor=10.0, most=100.0)


def hedge_budget(share: float) -> Budget:
    """``share`` of the calls may run twice; a burst of trouble may use what quiet times saved.

    A share of 0 switches hedging off: then no call runs twice, not even the first.
    """
    return Budget(share=share, floor=2.0 if share > 0.0 else 0.0, most=20.0)
