"""An engine's blocks of KV cache, counted by segments.

A segment is a run of blocks that always come in one order: a shared system prompt, what one turn
adds, an answer. A prompt is a chain of segments; a segment's name also stands for everything before
it. The cache keeps the beginning of a segment, so one number describes it, and work does not grow
with the length of prompts.

An engine that keeps single blocks, and forgets the least recently used first and the ends of
prompts before their beginnings, keeps the same blocks. There is one difference: if two sequences
compute one segment at once, its end is released later here, when no sequence uses any of it.
"""

from collections import OrderedDict
from collections.abc import Sequence as Items

BLOCK_TOKENS = 16

Chain = Items[tuple[int, int]]
"""Segments of a prompt from its beginning: a name, and the number of blocks up to its end."""


class Segment:
    """Its first ``have`` blocks are there, used by ``users`` sequences (0: free, but cached)."""

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
        """Blocks that are neither in use nor cached."""
        return self.capacity - self.shared - self.private - self.cached

    @property
    def used(self) -> int:
        """Blocks in use by running sequences."""
        return self.shared + self.private

    def matched(self, chain: Chain, limit: int) -> int:
        """How many blocks of a prompt are there from its beginning, at most ``limit``."""
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
        """Use the ``matched`` blocks and make ``needed`` more private; None if they don't fit."""
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
        """Make blocks private, cached ones last. False if there are not enough."""
        short = count - self.capacity + self.shared + self.private + self.cached
        if short > 0:
            if short > self.cached:
                return False
            self._evict(short)
        self.private += count
        return True

    def share(self, chain: Chain, computed: int, upto: int, held: list[Segment]) -> int:
        """Blocks from ``computed`` to ``upto`` hold a prompt now, so let other sequences find them.

        Returns how many blocks are no longer private. A copy of an existing block stays private.
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
        """A sequence has left. Blocks that no sequence uses stay while there is room."""
        self.private -= private
        for segment in reversed(held):
            segment.users -= 1
            if not segment.users:
                self.shared -= segment.have
                self.cached += segment.have
                self._unused[segment.name] = segment

    def keep(self, name: int, blocks: int) -> None:
        """Keep the blocks of a finished answer while there is room."""
        if name not in self._segments and (have := min(blocks, self.free)) > 0:
            segment = self._segments[name] = self._unused[name] = Segment(name)
            segment.have = have
            self.cached += have

    def clear(self) -> None:
        """Forget the blocks that no sequence uses."""
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
