"""What an LLM engine says of its KV cache: which blocks of tokens it has stored and removed.

vLLM and SGLang publish it with ``--kv-events-config``, in msgpack. A batch is ``[ts, events, …]``
or a map with these names. An event is ``["BlockStored", ...]`` or a map with its ``type``. Both
forms were read in the sources: arrays in SGLang's ``srt/disaggregation/kv_events.py`` (006d053) and
in vLLM's subscriber example (0ef0f42), maps in vLLM's ``distributed/kv_events.py`` (0181ea3). Later
versions add fields at the end, which are skipped, and kinds of events, which are skipped too.

Only the cache from which a prompt's beginning is taken at once is followed: blocks on the GPU, and
of several groups of layers the first.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

HASH_BYTES_MAX = 64
HASHES_MAX = 100_000
EVENTS_MAX = 100_000
BLOCK_TOKENS_MAX = 65_536

Hash = int | Annotated[bytes, Meta(max_length=HASH_BYTES_MAX)]
"""An engine's name of a block and of all before it: an integer or a digest."""

Hashes = Annotated[tuple[Hash, ...], Meta(max_length=HASHES_MAX)]
BlockTokens = Annotated[int, Meta(ge=1, le=BLOCK_TOKENS_MAX)]

GPU = "GPU"


class Stored(Struct, frozen=True, gc=False):
    """Blocks of ``block_tokens`` each, one after the other, after ``parent`` (None: the first)."""

    hashes: Hashes
    parent: Hash | None
    block_tokens: int


class Removed(Struct, frozen=True, gc=False):
    """These blocks are gone, one copy of each."""

    hashes: Hashes


class Cleared(Struct, frozen=True, gc=False):
    """All blocks are gone."""


KvEvent = Stored | Removed | Cleared

_CLEARED = Cleared()


# The forms on the wire. Token ids are not read: what they spell is not known here.


class _StoredArray(Struct, array_like=True, tag="BlockStored"):
    block_hashes: Hashes
    parent_block_hash: Hash | None
    token_ids: Raw
    block_size: BlockTokens
    lora_id: Raw = Raw()
    medium: str | None = None
    lora_name: Raw = Raw()
    extra_keys: Raw = Raw()
    group_idx: int | None = None


class _RemovedArray(Struct, array_like=True, tag="BlockRemoved"):
    block_hashes: Hashes
    medium: str | None = None
    group_idx: int | None = None


class _ClearedArray(Struct, array_like=True, tag="AllBlocksCleared"):
    pass


class _StoredMap(Struct, tag="BlockStored"):
    block_hashes: Hashes
    block_size: BlockTokens
    parent_block_hash: Hash | None = None
    medium: str | None = None
    group_idx: int | None = None


class _RemovedMap(Struct, tag="BlockRemoved"):
    block_hashes: Hashes
    medium: str | None = None
    group_idx: int | None = None


class _ClearedMap(Struct, tag="AllBlocksCleared"):
    pass


_ArrayEvent = _StoredArray | _RemovedArray | _ClearedArray
_MapEvent = _StoredMap | _RemovedMap | _ClearedMap
_AnyEvent = _StoredArray | _RemovedArray | _ClearedArray | _StoredMap | _RemovedMap | _ClearedMap


class _ArrayBatch(Struct, array_like=True):
    ts: float
    events: Annotated[list[_ArrayEvent], Meta(max_length=EVENTS_MAX)]


class _MapBatch(Struct):
    ts: float
    events: Annotated[list[_MapEvent], Meta(max_length=EVENTS_MAX)]


# With kinds of events that are not known: each is looked at by itself, which takes longer.


class _MixedArrayBatch(Struct, array_like=True):
    ts: float
    events: Annotated[list[Raw], Meta(max_length=EVENTS_MAX)]


class _MixedMapBatch(Struct):
    ts: float
    events: Annotated[list[Raw], Meta(max_length=EVENTS_MAX)]


class _ArrayKind(Struct, array_like=True):
    type: str


class _MapKind(Struct):
    type: str


KINDS = frozenset({"BlockStored", "BlockRemoved", "AllBlocksCleared"})

_array_batch = msgspec.msgpack.Decoder(_ArrayBatch)
_map_batch = msgspec.msgpack.Decoder(_MapBatch)
_mixed_array_batch = msgspec.msgpack.Decoder(_MixedArrayBatch)
_mixed_map_batch = msgspec.msgpack.Decoder(_MixedMapBatch)
_array_event = msgspec.msgpack.Decoder(_ArrayEvent)
_map_event = msgspec.msgpack.Decoder(_MapEvent)
_array_kind = msgspec.msgpack.Decoder(_ArrayKind)
_map_kind = msgspec.msgpack.Decoder(_MapKind)


def decode_kv_events(payload: bytes) -> list[KvEvent]:
    """The events of one message. Raises ``ValueError`` if it is not valid."""
    is_array = _is_array(payload)
    try:
        try:
            whole = _array_batch if is_array else _map_batch
            events: Iterable[_AnyEvent] = whole.decode(payload).events
        except msgspec.ValidationError:
            mixed = _mixed_array_batch if is_array else _mixed_map_batch
            events = _known(mixed.decode(payload).events)
        return [_event(one) for one in events if _is_followed(one)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no batch of KV cache events: {error}") from None


def _known(events: Iterable[Raw]) -> Iterator[_AnyEvent]:
    for raw in events:
        packed = memoryview(raw)
        is_array = _is_array(packed)
        if (_array_kind if is_array else _map_kind).decode(packed).type in KINDS:
            yield (_array_event if is_array else _map_event).decode(packed)


def _is_followed(event: _AnyEvent) -> bool:
    """Whether it is about the cache on the GPU."""
    if isinstance(event, _ClearedArray | _ClearedMap):
        return True
    return event.medium in (None, GPU) and not event.group_idx


def _event(event: _AnyEvent) -> KvEvent:
    if isinstance(event, _StoredArray | _StoredMap):
        return Stored(event.block_hashes, event.parent_block_hash, event.block_size)
    if isinstance(event, _RemovedArray | _RemovedMap):
        return Removed(event.block_hashes)
    return _CLEARED


def _is_array(packed: bytes | memoryview) -> bool:
    """Whether a msgpack value is an array: fixarray, array 16 or array 32."""
    head = packed[0] if packed else 0
    return head & 0xF0 == 0x90 or head in (0xDC, 0xDD)
