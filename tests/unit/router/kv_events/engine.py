"""An engine's prefix cache that publishes events as vLLM's block pool and SGLang's radix tree do.

Blocks are named by hashes over all tokens so far. A prompt's uncached blocks are stored at once, an
answer's one by one. What is least recently used is removed first, and the ends of chains before
their beginnings. A token is four bytes of text.
"""

from collections import OrderedDict
from hashlib import sha256
from typing import Any
from zlib import crc32

import msgspec

from router.scheduling.caches.affinity import BLOCK_BYTES

BLOCK_TOKENS = 16
TOKEN_BYTES = 4


# The structs of vLLM's ``distributed/kv_events.py`` at 0181ea3: maps, each with its type.


class KVCacheEvent(msgspec.Struct, omit_defaults=True, tag=True):
    pass


class BlockStored(KVCacheEvent):
    block_hashes: list[Any]
    parent_block_hash: Any
    token_ids: list[int]
    block_size: int
    lora_id: int | None
    medium: str | None
    lora_name: str | None
    extra_keys: list[Any] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None


class BlockRemoved(KVCacheEvent):
    block_hashes: list[Any]
    medium: str | None
    group_idx: int | None = None


class AllBlocksCleared(KVCacheEvent):
    pass


class KVEventBatch(msgspec.Struct, omit_defaults=True):
    ts: float
    events: list[BlockStored | BlockRemoved | AllBlocksCleared]
    data_parallel_rank: int | None = None


# The same in SGLang's ``srt/disaggregation/kv_events.py`` at 006d053: arrays.


class ArrayEvent(msgspec.Struct, array_like=True, omit_defaults=True):
    pass


class ArrayStored(ArrayEvent, tag="BlockStored"):
    block_hashes: list[Any]
    parent_block_hash: Any
    token_ids: list[int]
    block_size: int
    lora_id: int | None


class ArrayRemoved(ArrayEvent, tag="BlockRemoved"):
    block_hashes: list[Any]


class ArrayCleared(ArrayEvent, tag="AllBlocksCleared"):
    pass


class ArrayBatch(msgspec.Struct, array_like=True, omit_defaults=True):
    ts: float
    events: list[ArrayStored | ArrayRemoved | ArrayCleared]


def as_arrays(batch: KVEventBatch) -> ArrayBatch:
    """The same batch as SGLang sends it: integers for hashes, and a page an event."""
    made: list[Any] = []
    for event in batch.events:
        if isinstance(event, BlockStored):
            parent = _number(event.parent_block_hash)
            for place, name in enumerate(event.block_hashes):
                tokens = event.token_ids[place * event.block_size :][: event.block_size]
                made.append(ArrayStored([_number(name)], parent, tokens, event.block_size, None))
                parent = _number(name)
        elif isinstance(event, BlockRemoved):
            made += [ArrayRemoved([_number(name)]) for name in event.block_hashes]
        else:
            made.append(ArrayCleared())
    return ArrayBatch(batch.ts, made)


def _number(name: bytes | None) -> int | None:
    return None if name is None else int.from_bytes(name[:8], "big", signed=True)


class Request:
    """One that runs: its tokens so far, and how many blocks of them are stored."""

    def __init__(self, tokens: list[int], cached_tokens: int) -> None:
        self.tokens = tokens
        self.prompt_tokens = len(tokens)
        self.cached_tokens = cached_tokens
        self.stored = cached_tokens // BLOCK_TOKENS


class CachingEngine:
    """See the module. ``taken`` gives the events since the last time."""

    def __init__(self, blocks_max: int) -> None:
        self._blocks_max = blocks_max
        self._cached: OrderedDict[bytes, None] = OrderedDict()
        self._events: list[Any] = []

    def begin(self, text: bytes) -> Request:
        """Compute a prompt."""
        tokens = [crc32(text[at : at + TOKEN_BYTES]) for at in range(0, len(text), TOKEN_BYTES)]
        names, cached = names_of(tokens), 0
        while cached < (len(tokens) - 1) // BLOCK_TOKENS and names[cached] in self._cached:
            cached += 1
        request = Request(tokens, cached * BLOCK_TOKENS)
        self._store(request)
        return request

    def answer(self, request: Request, text: bytes) -> None:
        """Write some more of its answer; the last token of an answer is not stored."""
        for at in range(0, len(text), TOKEN_BYTES):
            self._store(request)
            request.tokens.append(crc32(text[at : at + TOKEN_BYTES]))

    def cached_tokens(self, text: bytes) -> int:
        """How many of a prompt's tokens are there from the beginning."""
        tokens = [crc32(text[at : at + TOKEN_BYTES]) for at in range(0, len(text), TOKEN_BYTES)]
        count = 0
        for name in names_of(tokens):
            if name not in self._cached:
                break
            count += BLOCK_TOKENS
        return count

    def clear(self) -> None:
        """Remove everything."""
        self._cached.clear()
        self._events.append(AllBlocksCleared())

    def taken(self, ts: float = 0.0) -> KVEventBatch:
        """The events since the last time."""
        events, self._events = self._events, []
        return KVEventBatch(ts, events, 0)

    def _store(self, request: Request) -> None:
        names = names_of(request.tokens)
        new = names[request.stored :]
        own = set(names)
        for name in reversed(names):  # The end is removed before the beginning.
            self._cached[name] = None
            self._cached.move_to_end(name)
        while len(self._cached) > self._blocks_max:
            oldest = next(name for name in self._cached if name not in own)
            del self._cached[oldest]
            self._events.append(BlockRemoved([oldest], "GPU"))
        if new:
            parent = names[request.stored - 1] if request.stored else None
            tokens = request.tokens[request.stored * BLOCK_TOKENS : len(names) * BLOCK_TOKENS]
            self._events.append(BlockStored(new, parent, tokens, BLOCK_TOKENS, None, "GPU", None))
            request.stored = len(names)


def names_of(tokens: list[int]) -> list[bytes]:
    """The names of a sequence's whole blocks."""
    names: list[bytes] = []
    name = b""
    for end in range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS):
        name = sha256(name + repr(tokens[end - BLOCK_TOKENS : end]).encode()).digest()
        names.append(name)
    return names


def text_blocks(text: bytes) -> tuple[int, ...]:
    """A prompt's hashes, as :func:`router.pipeline.plans.sizing.prefix_blocks` makes them."""
    blocks: list[int] = []
    chained = 0
    for end in range(BLOCK_BYTES, len(text) + 1, BLOCK_BYTES):
        chained = crc32(text[end - BLOCK_BYTES : end], chained)
        blocks.append(chained)
    return tuple(blocks)
