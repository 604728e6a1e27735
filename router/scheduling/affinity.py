"""Less work where a prompt's beginning is still cached.

Engines keep the attention state of recent prompts, so a worker that saw the first blocks of this
one has less to compute. The index remembers which endpoints were sent which chains of blocks (the
approximate prefix cache of SGLang's router and of llm-d); how much of the work a hit saves is
learned per model from hits that happened, and is 0 where the engine caches nothing.
"""

from collections import OrderedDict
from collections.abc import Sequence

BLOCKS_MAX = 50_000
ENDPOINTS_MAX = 8
"""Endpoints remembered for one block: the latest."""

SMOOTHING = 0.05
SAVED_MAX = 0.9
HITS_MIN = 0.5
"""Only a hit of this share of the prompt says something about what hits save."""


class PrefixIndex:
    """Chains of block hashes by endpoint, the least recently used forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, dict[str, None]] = OrderedDict()
        self._saved: dict[str, float] = {}

    def sent(self, prefix: Sequence[int], endpoint_id: str) -> None:
        """The endpoint gets a prompt of these blocks."""
        for block in prefix:
            holders = self._seen.setdefault(block, {})
            holders.pop(endpoint_id, None)
            holders[endpoint_id] = None
            if len(holders) > ENDPOINTS_MAX:
                del holders[next(iter(holders))]
            self._seen.move_to_end(block)
        while len(self._seen) > BLOCKS_MAX:
            self._seen.popitem(last=False)

    def hits(self, prefix: Sequence[int]) -> dict[str, float]:
        """Share of the prompt that each endpoint has seen, counted from its beginning."""
        hits: dict[str, float] = {}
        holders: set[str] | None = None
        for count, block in enumerate(prefix, start=1):
            seen = self._seen.get(block)
            if seen is None:
                break
            holders = set(seen) if holders is None else holders & set(seen)
            if not holders:
                break
            for endpoint_id in holders:
                hits[endpoint_id] = count / len(prefix)
        return hits

    def saved_share(self, model: str) -> float:
        """The share of a request's work that a full hit saves."""
        return max(self._saved.get(model, 0.0), 0.0)

    def observe(self, model: str, hits: float, relative_work: float) -> None:
        """A request with this share of hits took ``relative_work`` of what it was predicted to."""
        if hits < HITS_MIN:
            return
        saved = max(-1.0, min((1 - relative_work) / hits, SAVED_MAX))
        known = self._saved.get(model, 0.0)
        self._saved[model] = known + SMOOTHING * (saved - known)
