"""How many tokens an engine's KV cache has room for, learned from how full it says it is.

What runs on an engine holds the state of all its tokens in the KV cache. A request that does not
fit waits until others end, or makes the engine stop one of them and compute it again later. An
engine says which share of its cache running requests use. What they should use is known in the
router's own estimates, and so is their ratio: the room. It is in the same unit as the estimates, so
it makes up for what they leave out: answers, which grow, and beginnings that requests share.
"""

from math import inf

TELLING_SHARE = 0.3
"""A cache that is emptier than this says little of its size, and nothing that matters yet."""

FULL_SHARE = 0.9
"""In a cache that is fuller than this, prompts that have not begun may be waiting for room."""

SMOOTHING = 0.2


class KvRoom:
    """See the module. ``tokens`` is how much context fits, infinite while that is not known."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = inf

    def reported(self, share: float | None, context_tokens: float, waiting_tokens: float) -> None:
        """The engine reports which share of its cache is in use, or None if it does not.

        ``context_tokens`` are those of all its requests, ``waiting_tokens`` those of requests whose
        answers have not begun.
        """
        if share is None:
            self.tokens = inf
            return
        if share < TELLING_SHARE:
            return
        held = context_tokens - waiting_tokens if share > FULL_SHARE else context_tokens
        if held <= 0:
            return
        room = held / share
        known = self.tokens
        self.tokens = room if known == inf else known + SMOOTHING * (room - known)
