"""Which engine still has the beginning of a prompt.

Engines keep the attention state of recent prompts. If a prompt begins like an earlier one, there is
less to compute. The index remembers the blocks that each engine was sent. It forgets the least
recently used blocks first, and the end of a prompt before its beginning (the approximate prefix
cache of SGLang's router and of llm-d). An engine's count of cached tokens teaches how many blocks
it keeps. Where an engine publishes what it stores and removes,
:mod:`router.scheduling.caches.kv_chains` says which blocks are known to be there, until they are
known to be gone.

Calls of one session (``session_of``) share more than their beginnings:
the index remembers the engine of its last call, its home.

Other routers tell only the last block of each prompt that they sent there. That is enough for the
next turn of a chat, which begins with the whole turn before. A beginning that many chats share is
soon sent by every router itself.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

BLOCK_BYTES = 256
"""Bytes of a prefix block: about 64 tokens, or four of an engine's own blocks."""

PREFIX_BLOCKS_MAX = 512
"""A longer prompt is placed by its beginning."""

CAPACITY = 3_000
CAPACITY_MIN = 100
BLOCKS_MAX = 200_000
"""Blocks remembered for all engines together, about 200 bytes each."""

FOUND_SHARE = 0.6
"""An engine that had less than this share of the expected tokens has forgotten some."""

SHRINK, GROW = 0.97, 1.003
TELLING_TOKENS = 200
"""If fewer tokens than this are expected, the count teaches nothing."""

LATEST_MAX = 500
"""How many of the latest prompts each beat sends to other routers."""

OTHERS_MAX = 20_000
"""How many prompts of other routers are remembered."""

SESSIONS_MAX = 20_000
"""How many sessions are remembered, the latest ones."""

NOTHING_CACHED: Mapping[str, int] = {}


class _Memory:
    """What one engine is expected to have cached."""

    __slots__ = ("bit", "blocks", "capacity", "counts", "known")

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.blocks: OrderedDict[int, None] = OrderedDict()
        self.known: set[int] = set()
        """Blocks that it certainly has; the others are an estimate."""
        self.capacity = float(CAPACITY)
        self.counts = False
        """Whether the engine reports how many tokens were cached."""


class PrefixIndex:
    """See the module. A prompt is a chain of block hashes, each over all blocks so far."""

    def __init__(self, blocks_max: int = BLOCKS_MAX) -> None:
        self._blocks_max = blocks_max
        self._memories: dict[str, _Memory] = {}
        self._ids: list[str] = []
        self._holders: dict[int, int] = {}
        self._latest: OrderedDict[int, str] = OrderedDict()
        self._others: OrderedDict[int, str] = OrderedDict()
        self._sessions: OrderedDict[int, str] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(memory.blocks) + len(memory.known) for memory in self._memories.values())

    def sent(self, prefix: Sequence[int], endpoint_id: str, session: int = 0) -> None:
        """The endpoint is sent a prompt of these blocks, in a session or none (0)."""
        memory = self._memory(endpoint_id)
        blocks, holders, bit, known = memory.blocks, self._holders, memory.bit, memory.known
        for block in reversed(prefix):
            if block in blocks:
                blocks.move_to_end(block)
            elif block not in known:
                blocks[block] = None
                holders[block] = holders.get(block, 0) | bit
        most = min(memory.capacity, self._blocks_max / len(self._ids))
        while len(blocks) > most:
            self._forget(blocks.popitem(last=False)[0], bit)
        if prefix:
            _remember(self._latest, prefix[-1], endpoint_id, LATEST_MAX)
        if session:
            _remember(self._sessions, session, endpoint_id, SESSIONS_MAX)

    def known(self, endpoint_id: str, block: int) -> None:
        """The endpoint has this block until it is :meth:`gone`."""
        memory = self._memory(endpoint_id)
        memory.known.add(block)
        if memory.blocks.pop(block, self) is self:
            self._holders[block] = self._holders.get(block, 0) | memory.bit

    def gone(self, endpoint_id: str, block: int) -> None:
        """The endpoint has this block no more."""
        memory = self._memories.get(endpoint_id)
        if memory is not None:
            memory.known.discard(block)
            memory.blocks.pop(block, None)
            self._forget(block, memory.bit)

    def cleared(self, endpoint_id: str) -> None:
        """The endpoint has nothing."""
        memory = self._memories.get(endpoint_id)
        if memory is not None:
            for block in (*memory.known, *memory.blocks):
                self._forget(block, memory.bit)
            memory.known.clear()
            memory.blocks.clear()

    def uncertain(self, endpoint_id: str) -> None:
        """What the endpoint was known to have is an estimate from now on."""
        memory = self._memories.get(endpoint_id)
        if memory is not None:
            memory.blocks.update(dict.fromkeys(memory.known))
            memory.known.clear()

    def _memory(self, endpoint_id: str) -> _Memory:
        memory = self._memories.get(endpoint_id)
        if memory is None:
            memory = self._memories[endpoint_id] = _Memory(1 << len(self._ids))
            self._ids.append(endpoint_id)
        return memory

    def latest(self) -> dict[str, tuple[int, ...]]:
        """The last blocks of the latest prompts, by endpoint, the latest last."""
        by_endpoint: dict[str, list[int]] = {}
        for block, endpoint_id in self._latest.items():
            by_endpoint.setdefault(endpoint_id, []).append(block)
        return {endpoint_id: tuple(blocks) for endpoint_id, blocks in by_endpoint.items()}

    def others_sent(self, endpoint_id: str, blocks: Iterable[int]) -> None:
        """Another router has sent the endpoint prompts that end with these blocks."""
        for block in blocks:
            _remember(self._others, block, endpoint_id, OTHERS_MAX)

    def home(self, session: int) -> str | None:
        """The endpoint that had the last call of a session; None if there was none."""
        return self._sessions.get(session) if session else None

    def cached(self, prefix: Sequence[int]) -> dict[str, int]:
        """How many of these blocks each endpoint has, counted from the first. 0 is left out."""
        found = self._sent(prefix)
        if others := self._others:
            for place in range(len(prefix), 0, -1):
                endpoint_id = others.get(prefix[place - 1])
                if endpoint_id is not None:
                    found[endpoint_id] = max(found.get(endpoint_id, 0), place)
                    break
        return found

    def _sent(self, prefix: Iterable[int]) -> dict[str, int]:
        found: dict[str, int] = {}
        holders, count = -1, 0
        for block in prefix:
            having = holders & self._holders.get(block, 0)
            if having != holders and count:
                self._note(found, holders & ~having, count)
            holders = having
            if not holders:
                return found
            count += 1
        if count:
            self._note(found, holders, count)
        return found

    def counted(self, endpoint_id: str, expected: float, cached: float) -> None:
        """The endpoint had ``cached`` of the ``expected`` tokens."""
        memory = self._memories.get(endpoint_id)
        if memory is None:
            return
        memory.counts = memory.counts or cached > 0
        if memory.counts and expected >= TELLING_TOKENS:
            change = SHRINK if cached < FOUND_SHARE * expected else GROW
            memory.capacity = max(CAPACITY_MIN, min(memory.capacity * change, self._blocks_max))

    def keep_only(self, endpoint_ids: Iterable[str]) -> None:
        """Forget endpoints that are gone."""
        known = set(endpoint_ids)
        for endpoint_id in [id_ for id_ in self._memories if id_ not in known]:
            memory = self._memories.pop(endpoint_id)
            for block in (*memory.known, *memory.blocks):
                self._forget(block, memory.bit)
        for prompts in (self._latest, self._others, self._sessions):
            for block in [block for block, holder in prompts.items() if holder not in known]:
                del prompts[block]
        self._renumber()

    def _renumber(self) -> None:
        if len(self._ids) == len(self._memories):
            return
        self._ids = list(self._memories)
        self._holders = {}
        for place, memory in enumerate(self._memories.values()):
            memory.bit = 1 << place
            for block in (*memory.known, *memory.blocks):
                self._holders[block] = self._holders.get(block, 0) | memory.bit

    def _note(self, found: dict[str, int], bits: int, count: int) -> None:
        while bits:
            lowest = bits & -bits
            found[self._ids[lowest.bit_length() - 1]] = count
            bits ^= lowest

    def _forget(self, block: int, bit: int) -> None:
        left = self._holders.get(block, 0) & ~bit
        if left:
            self._holders[block] = left
        else:
            self._holders.pop(block, None)


def _remember(prompts: OrderedDict[int, str], key: int, endpoint_id: str, most: int) -> None:
    """Note the endpoint that was last sent the prompt that ends with a block, or a session's."""
    prompts[key] = endpoint_id
    prompts.move_to_end(key)
    if len(prompts) > most:
        prompts.popitem(last=False)


def cached_tokens(blocks: float, block_tokens: float, prompt_tokens: float) -> float:
    """The tokens of a prompt in these blocks, without its last token, which is always computed."""
    return min(blocks * block_tokens, prompt_tokens - 1) if blocks else 0.0
