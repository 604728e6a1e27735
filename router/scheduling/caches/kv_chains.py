"""What an engine says that it keeps, and which blocks of prompts that is.

An engine that publishes its cache's events names its blocks of tokens by hashes of its own. The
router knows prompts by their text (:mod:`router.scheduling.caches.affinity`) and has no tokenizer.
It learns which blocks are whose from counts. When an answer ends, its engine has counted the tokens
of the prompt, of its cached part, and of the answer. While it ran, a chain of blocks was stored
that begins where the cached part ends, passes the end of the prompt, and ends where the answer
does. If there is exactly one such chain that is nobody else's, it is the request's, and its blocks
are those of the prompt's text, in proportion. If there is none, or several, nothing is learned.

From then on it is known and not estimated that the engine has them, until it says that they are
gone. Everything else stays an estimate, and so does everything once events were missed.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from router.contracts.engines.kv_events import Hash, KvEvent, Removed, Stored
from router.scheduling.caches.affinity import BLOCK_BYTES, PREFIX_BLOCKS_MAX

SETTLE_S = 0.1
"""Events come this long after the end of an answer, or sooner."""

ENDS_OFF = 1
"""By how many blocks a chain may be longer or shorter than what was counted: an engine need not
store the last token.
"""

STARTS_MAX = 20_000
"""The latest places at which chains were continued, each engine's."""

PENDING_MAX = 1_000
"""Ended answers whose chains are looked for, each engine's; the oldest are given up."""


class Answered(Struct, frozen=True, gc=False):
    """A request that has ended, with its engine's counts. ``prefix`` is its prompt's text blocks,
    of ``prompt_bytes`` in all.
    """

    endpoint_id: str
    prefix: Sequence[int]
    prompt_bytes: int
    prompt_tokens: int
    cached_tokens: int
    answer_tokens: int
    begun_s: float
    ended_s: float


class TextBlocks(Protocol):
    """Who is told what an endpoint has; see ``PrefixIndex``."""

    def known(self, endpoint_id: str, block: int) -> None:
        """It has this block until it is gone."""
        ...

    def gone(self, endpoint_id: str, block: int) -> None:
        """It has this block no more."""
        ...

    def cleared(self, endpoint_id: str) -> None:
        """It has nothing."""
        ...

    def uncertain(self, endpoint_id: str) -> None:
        """What it was known to have is an estimate from now on."""
        ...


class _Block:
    """A block of an engine's cache, the ``depth``-th of its chain.

    ``following`` was the first to be stored after it. ``text`` is the endpoint and the block of a
    prompt's text that it belongs to.
    """

    __slots__ = ("copies", "depth", "following", "parent", "text")

    def __init__(self, parent: "_Block | None", depth: int) -> None:
        self.parent = parent
        self.depth = depth
        self.copies = 1
        self.following: Hash | None = None
        self.text: tuple[str, int] | None = None


class KvChains:
    """The cache of one engine. ``len`` is how many of its blocks are followed: those of chains
    whose beginning was seen.
    """

    def __init__(self, texts: TextBlocks) -> None:
        self._texts = texts
        self._endpoints: set[str] = set()
        self.matched = self.unmatched = 0
        """Ended answers whose chain was found, and those whose chain was not."""
        self._forget()

    def __len__(self) -> int:
        return len(self._blocks)

    def _forget(self) -> None:
        self._blocks: dict[Hash, _Block] = {}
        self._block_tokens = 0
        self._starts: dict[int, dict[Hash, float]] = {}
        self._started: deque[tuple[int, Hash]] = deque()
        self._pending: deque[Answered] = deque(maxlen=PENDING_MAX)

    def ended(self, answered: Answered) -> None:
        """An answer has ended; its chain is looked for once all events of it have come."""
        self._endpoints.add(answered.endpoint_id)
        self._pending.append(answered)

    def heard(self, events: Iterable[KvEvent], now_s: float) -> None:
        """The engine has said this."""
        self._settle(now_s - SETTLE_S)
        for event in events:
            if isinstance(event, Stored):
                self._store(event, now_s)
            elif isinstance(event, Removed):
                for name in event.hashes:
                    self._remove(name)
            else:
                self._forget()
                for endpoint_id in self._endpoints:
                    self._texts.cleared(endpoint_id)

    def missed(self) -> None:
        """Something was not heard, so nothing is certain any more."""
        self._forget()
        for endpoint_id in self._endpoints:
            self._texts.uncertain(endpoint_id)

    def _store(self, event: Stored, now_s: float) -> None:
        blocks = self._blocks
        before: _Block | None = None
        if event.parent is not None:
            before = blocks.get(event.parent)
            if before is None:
                return  # Its beginning was stored before anybody listened.
        if not event.hashes:
            return
        depth = before.depth if before is not None else 0
        self._start(depth, event.hashes[0], now_s)
        self._block_tokens = event.block_tokens
        for name in event.hashes:
            depth += 1
            block = blocks.get(name)
            if block is not None:
                block.copies += 1
            else:
                block = blocks[name] = _Block(before, depth)
            if before is not None and before.following not in blocks:
                before.following = name
            before = block

    def _start(self, depth: int, name: Hash, now_s: float) -> None:
        names = self._starts.setdefault(depth, {})
        names.pop(name, None)  # The latest last.
        names[name] = now_s
        self._started.append((depth, name))
        if len(self._started) > STARTS_MAX:
            depth, name = self._started.popleft()
            oldest = self._starts.get(depth)
            if oldest is not None:
                oldest.pop(name, None)
                if not oldest:
                    del self._starts[depth]

    def _remove(self, name: Hash) -> None:
        block = self._blocks.get(name)
        if block is None:
            return
        block.copies -= 1
        if not block.copies:
            del self._blocks[name]
            if block.text is not None:
                self._texts.gone(*block.text)

    # Whose chain it is

    def _settle(self, until_s: float) -> None:
        pending = self._pending
        while pending and pending[0].ended_s <= until_s:
            answered = pending.popleft()
            last = self._last_of(answered)
            if last is None:
                self.unmatched += 1
            else:
                self.matched += 1
                self._name(last, answered)

    def _last_of(self, answered: Answered) -> _Block | None:
        """The last whole block of its prompt, None if that is not certain."""
        size = self._block_tokens
        if not size:
            return None
        cached, prompt = answered.cached_tokens // size, answered.prompt_tokens // size
        if cached >= prompt:
            return None  # Nothing of the prompt was stored.
        ends = (answered.prompt_tokens + answered.answer_tokens - 1) // size
        starts = self._starts.get(cached, {})
        found: dict[int, list[tuple[Hash, _Block]]] = {}
        for name, at_s in reversed(starts.items()):
            if at_s < answered.begun_s:
                break
            last, depth = self._end_of(name, prompt, ends + ENDS_OFF)
            if last is not None and abs(depth - ends) <= ENDS_OFF:
                found.setdefault(abs(depth - ends), []).append((name, last))
        if not found:
            return None
        name, last = found[min(found)][0]
        if len(found[min(found)]) > 1:
            return None
        del starts[name]  # It is nobody else's.
        return last

    def _end_of(self, name: Hash, prompt: int, most: int) -> tuple[_Block | None, int]:
        """The block at the end of the prompt, and where its chain ends, or goes beyond ``most``."""
        last: _Block | None = None
        depth = 0
        for block in self._chain(name):
            depth = block.depth
            if depth == prompt:
                last = block
            if depth > most:
                break
        return last, depth

    def _chain(self, name: Hash | None) -> Iterator[_Block]:
        """From this block on, always the one that was stored first."""
        while name is not None and (block := self._blocks.get(name)) is not None:
            yield block
            name = block.following

    def _name(self, last: _Block, answered: Answered) -> None:
        """Say of each block whose text it is, from the end of the prompt to what is known."""
        prefix, endpoint_id, size = answered.prefix, answered.endpoint_id, self._block_tokens
        first, each = _tokens_of(answered)
        block: _Block | None = last
        while block is not None and block.copies and block.text is None:
            place = max(int(((block.depth - 1) * size - first) / each), 0)
            if place < len(prefix):
                block.text = (endpoint_id, prefix[place])
                self._texts.known(endpoint_id, prefix[place])
            block = block.parent


def _tokens_of(answered: Answered) -> tuple[float, float]:
    """Tokens before the text that was hashed, and of each of its blocks, in proportion to bytes.

    What was not hashed and makes up for more than a block is tools, which come first. Of a prompt
    that is too long to be hashed whole, it is the end.
    """
    count, tokens = len(answered.prefix), answered.prompt_tokens
    each = tokens * BLOCK_BYTES / max(answered.prompt_bytes, count * BLOCK_BYTES)
    first = tokens - each * (count + 0.5)  # On average, half a block of text is left over.
    return (first if first > each and count < PREFIX_BLOCKS_MAX else 0.0), each
