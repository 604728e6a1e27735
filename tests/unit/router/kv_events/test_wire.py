"""Messages about KV caches: both forms, recorded streams, and what is not valid."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.contracts.engines.kv_events import (
    HASH_BYTES_MAX,
    Cleared,
    KvEvent,
    Removed,
    Stored,
    decode_kv_events,
)
from router.scheduling.caches.affinity import PrefixIndex
from router.scheduling.caches.kv_chains import Answered, KvChains
from tests.unit.router.kv_events.engine import (
    BLOCK_TOKENS,
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVEventBatch,
    as_arrays,
    text_blocks,
)
from tests.unit.router.kv_events.record import WATCHED, chats

FOLDER = Path(__file__).parent
packed = msgspec.msgpack.encode
NAMES = st.lists(st.binary(min_size=8, max_size=HASH_BYTES_MAX), max_size=5)
EVENTS = st.lists(
    st.one_of(
        st.builds(
            BlockStored,
            NAMES,
            st.none() | st.binary(min_size=8, max_size=32),
            st.lists(st.integers(0, 200_000), max_size=20),
            st.integers(1, 1_024),
            st.none() | st.integers(0, 9),
            st.sampled_from([None, "GPU"]),
            st.none() | st.text(max_size=5),
        ),
        st.builds(BlockRemoved, NAMES, st.sampled_from([None, "GPU"])),
        st.builds(AllBlocksCleared),
    ),
    max_size=10,
)


def recorded(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@given(EVENTS)
def test_maps_are_read_as_they_were_written(events: list[Any]) -> None:
    for event, read in zip(
        events, decode_kv_events(packed(KVEventBatch(1.0, events))), strict=True
    ):
        if isinstance(read, Stored):
            assert read.hashes == tuple(event.block_hashes)
            assert (read.parent, read.block_tokens) == (event.parent_block_hash, event.block_size)
        elif isinstance(read, Removed):
            assert read.hashes == tuple(event.block_hashes)
        else:
            assert isinstance(event, AllBlocksCleared)


@given(EVENTS)
def test_arrays_say_the_same(events: list[Any]) -> None:
    def names(read: list[KvEvent]) -> list[int]:
        return [
            name if isinstance(name, int) else int.from_bytes(name[:8], "big", signed=True)
            for event in read
            if not isinstance(event, Cleared)
            for name in event.hashes
        ]

    batch = KVEventBatch(1.0, events)
    arrays = decode_kv_events(packed(as_arrays(batch)))
    assert names(arrays) == names(decode_kv_events(packed(batch)))


@pytest.mark.parametrize("name", ["vllm", "sglang"])
def test_a_recorded_stream_says_what_an_engine_has(name: str) -> None:
    index = PrefixIndex()
    chains = KvChains(index)
    watched = text_blocks(chats()[WATCHED][0])
    left: list[int] = []
    *calls, last = recorded(name)
    for at_s, ((prompt, _), call) in enumerate(zip(chats(), calls, strict=True)):
        index.sent(text_blocks(prompt), "e")
        chains.heard(decode_kv_events(bytes.fromhex(call["payload"])), at_s + 0.5)
        counts = (call[f"{part}_tokens"] for part in ("prompt", "cached", "answer"))
        chains.ended(Answered("e", text_blocks(prompt), len(prompt), *counts, at_s, at_s + 0.6))
        chains.heard([], at_s + 0.9)
        found = 4 * BLOCK_TOKENS * index.cached(watched).get("e", 0)
        if at_s >= WATCHED:
            assert abs(found - call["watched_tokens"]) < 4 * BLOCK_TOKENS
            left.append(found)
    assert left[1] < left[0] == left[2]  # Part of it went, and was computed again.
    assert chains.matched == len(calls)
    chains.heard(decode_kv_events(bytes.fromhex(last["payload"])), 20.0)
    assert len(index) == len(chains) == 0


def test_unknown_kinds_and_later_fields_are_skipped() -> None:
    events: list[Any] = [
        ["BlockStored", [1, -2], 3, [5], 16, None, "GPU", "lora", [None], 0, "full", 9, "later"],
        ["BlockMoved", [1], "there"],
        ["AllBlocksCleared", "why"],
    ]
    stored = Stored((1, -2), 3, 16)
    assert decode_kv_events(packed([1.0, events, 0, "later"])) == [stored, Cleared()]
    kept = [{"type": "BlockRemoved", "block_hashes": [1], "why": 3}, {"type": "Other"}]
    assert decode_kv_events(packed({"ts": 1, "events": kept, "x": 1})) == [Removed((1,))]


def test_other_caches_are_left_out() -> None:
    events: list[Any] = [
        ["BlockRemoved", [1], "CPU"],
        ["BlockStored", [1], None, [5], 16, None, "DISK"],
        ["BlockRemoved", [2], "GPU", 1],
        ["BlockRemoved", [3], None, 0],
    ]
    assert decode_kv_events(packed([1.0, events])) == [Removed((3,))]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x91",
        b"\xff\x00",
        packed(5),
        packed([1.0]),
        packed(["now", []]),
        packed({"ts": 1.0}),
        packed([1.0, [[]]]),
        packed([1.0, [7]]),
        packed([1.0, [["BlockStored", [1]]]]),
        packed([1.0, [["BlockStored", [1], None, [1], 0, None]]]),
        packed([1.0, [["BlockRemoved", ["name"]]]]),
        packed([1.0, [["BlockRemoved", [b"x" * (HASH_BYTES_MAX + 1)]]]]),
        packed([1.0, [["Other"], ["BlockRemoved", 1]]]),
        packed({"ts": 1.0, "events": [{"type": "BlockRemoved"}]}),
        packed({"ts": 1.0, "events": [{"block_hashes": [1]}]}),
        packed([1.0, [["BlockRemoved", [1], "GPU"]]]).replace(b"GPU", b"\xff\xfe\xfd"),
        b"\x92" + packed(1.0) + b"\x91" * 100_000 + b"\x01",
    ],
)
def test_what_is_not_valid_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="KV cache events"):
        decode_kv_events(payload)


@given(st.binary(max_size=200))
def test_nothing_else_is_raised(payload: bytes) -> None:
    with suppress(ValueError):
        decode_kv_events(payload)
