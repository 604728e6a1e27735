"""An engine's blocks of KV cache, counted by segments.

A segment is a stretch of blocks that is always found in one order: a shared system prompt, what one
turn adds, an answer. A prompt is a chain of segments, each named for everything before it too. What
is kept of a segment is its beginning, so that one number says it, and work does not grow with the
length of prompts: an engine that keeps single blocks and forgets the ends of prompts first, the
least recently used before others, keeps the same ones. Only where two compute one segment at once
the ends are released later than by single blocks: when nobody uses any of it.
"""

from collections import OrderedDict
from collections.abc import Sequence as Items

BLOCK_TOKENS = 16

Chain = Items[tuple[int, int]]
"""Segments of a prompt from its beginning: a name, and the count of blocks up to its end."""


class Segment:
    """The first ``have`` blocks of it are there, for ``users`` sequences (0: free, but cached)."""

    __slots__ = ("have", "name", "users")

    def __init__(self, name: int) -> None:
        self.name = name
        self.have = 0
        self.users = 0


class KvCache:
    """Blocks are shared (in use, of a segment), private to a sequence, cached, or free."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.shared = 0
        self.private = 0
        self.cached = 0
        self._segments: dict[int, Segment] = {}
        self._unused: OrderedDict[int, Segment] = OrderedDict()

    @property
    def free(self) -> int:
        """Neither in use nor cached."""
        return self.capacity - self.shared - self.private - self.cached

    @property
    def used(self) -> int:
        """In use by running sequences."""
        return self.shared + self.private

    def matched(self, chain: Chain, limit: int) -> int:
        """How many blocks of a prompt are there, from its beginning; ``limit`` at most."""
        segments, start = self._segments, 0
        for name, end in chain:
            segment = segments.get(name)
            if segment is None:
                break
            if segment.have < end - start:
                start += segment.have
                break
            start = end
        return min(limit, start)

    def admit(self, chain: Chain, matched: int, needed: int) -> list[Segment] | None:
        """Use the ``matched`` blocks and make ``needed`` more private; None when they don't fit."""
        found: list[Segment] = []
        start = revived = 0
        for name, end in chain:
            if start >= matched:
                break
            segment = self._segments[name]
            found.append(segment)
            if not segment.users:
                revived += segment.have
            start = end
        if self.free + self.cached - revived < needed:
            return None
        for segment in found:
            self._use(segment)
        self.take(needed)
        return found

    def take(self, count: int) -> bool:
        """Make blocks private, those of the cache last; False when there are not so many."""
        short = count - self.capacity + self.shared + self.private + self.cached
        if short > 0:
            if short > self.cached:
                return False
            self._evict(short)
        self.private += count
        return True

    def share(self, chain: Chain, computed: int, upto: int, held: list[Segment]) -> int:
        """Blocks from ``computed`` to ``upto`` hold a prompt now, so that others find them.

        What was private and is not any more; a double of what is there already stays private.
        """
        made = start = 0
        for name, end in chain:
            if end > computed:
                segment = self._segments.get(name)
                if segment is None:
                    segment = self._segments[name] = Segment(name)
                more = min(upto, end) - start - segment.have
                if more > 0:
                    if segment not in held:
                        self._use(segment)
                        held.append(segment)
                    segment.have += more
                    made += more
            if end >= upto:
                break
            start = end
        self.shared += made
        self.private -= made
        return made

    def release(self, held: Items[Segment], private: int) -> None:
        """A sequence has left: what nobody uses stays as long as there is room."""
        self.private -= private
        for segment in reversed(held):
            segment.users -= 1
            if not segment.users:
                self.shared -= segment.have
                self.cached += segment.have
                self._unused[segment.name] = segment

    def keep(self, name: int, blocks: int) -> None:
        """An answer has been made: it stays as far as there is room."""
        if name not in self._segments and (have := min(blocks, self.free)) > 0:
            segment = self._segments[name] = self._unused[name] = Segment(name)
            segment.have = have
            self.cached += have

    def clear(self) -> None:
        """Forget what nobody uses."""
        if self.cached:
            self._evict(self.cached)

    def _use(self, segment: Segment) -> None:
        if not segment.users and segment.have:
            del self._unused[segment.name]
            self.cached -= segment.have
            self.shared += segment.have
        segment.users += 1

    def _evict(self, count: int) -> None:
        self.cached -= count
        while count > 0:
            name, segment = next(iter(self._unused.items()))
            if segment.have > count:
                segment.have -= count
                return
            count -= segment.have
            del self._unused[name], self._segments[name]
