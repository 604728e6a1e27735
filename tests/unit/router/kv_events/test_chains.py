"""Which blocks of prompts an engine has, learned from its events and counts."""

import tracemalloc
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.contracts.engines.kv_events import Hash, KvEvent, decode_kv_events
from router.scheduling.caches import affinity, kv_chains
from router.scheduling.caches.affinity import BLOCK_BYTES, PrefixIndex
from router.scheduling.caches.kv_chains import Answered, KvChains
from tests.unit.router.kv_events.engine import (
    TOKEN_BYTES,
    BlockRemoved,
    CachingEngine,
    Request,
    as_arrays,
    names_of,
    text_blocks,
)

E = "endpoint"
BLOCK = BLOCK_BYTES // TOKEN_BYTES
"""Tokens of a block of text."""


class Followed:
    """An engine, the router's index, and what the one hears of the other."""

    def __init__(self, blocks_max: int = 10_000, *, arrays: bool = False) -> None:
        self.engine = CachingEngine(blocks_max)
        self.index = PrefixIndex()
        self.chains = KvChains(self.index)
        self.now_s = 1.0
        self._arrays = arrays

    def events(self) -> list[KvEvent]:
        batch = self.engine.taken()
        return decode_kv_events(msgspec.msgpack.encode(as_arrays(batch) if self._arrays else batch))

    def hear(self) -> None:
        self.now_s += 0.01
        self.chains.heard(self.events(), self.now_s)

    def begin(self, text: bytes) -> tuple[Request, float]:
        begun_s = self.now_s
        self.index.sent(text_blocks(text), E)
        request = self.engine.begin(text)
        self.hear()
        return request, begun_s

    def end(self, text: bytes, request: Request, begun_s: float) -> None:
        used = len(request.tokens) - request.prompt_tokens
        self.chains.ended(
            Answered(
                E,
                text_blocks(text),
                len(text),
                request.prompt_tokens,
                request.cached_tokens,
                used,
                begun_s,
                self.now_s,
            )
        )

    def settle(self) -> None:
        self.now_s += 1.0
        self.hear()

    def call(self, text: bytes, answer: bytes = b"") -> None:
        request, begun_s = self.begin(text)
        self.engine.answer(request, answer or b"a" * TOKEN_BYTES)
        self.hear()
        self.end(text, request, begun_s)
        self.settle()

    def found(self, text: bytes) -> int:
        """How many tokens of a prompt the index says are there."""
        return self.index.cached(text_blocks(text)).get(E, 0) * BLOCK


def text(seed: int, blocks: float) -> bytes:
    return Random(seed).randbytes(int(blocks * BLOCK_BYTES))


@pytest.mark.parametrize("arrays", [False, True])
def test_what_an_engine_removes_is_forgotten_exactly(arrays: bool) -> None:
    followed = Followed(blocks_max=64, arrays=arrays)
    one, two = text(1, 10.5), text(2, 8.5)
    followed.call(one)
    assert followed.chains.matched == 1
    assert followed.found(one) == 10 * BLOCK
    followed.call(two)
    assert followed.found(two) == 8 * BLOCK
    there = followed.engine.cached_tokens(one)
    assert there < 8 * BLOCK
    assert there - BLOCK < followed.found(one) <= there


def test_without_events_the_same_would_be_expected_to_be_there() -> None:
    followed = Followed(blocks_max=64)
    for seed in (1, 2):
        followed.begin(text(seed, 10.5))
    assert followed.found(text(1, 10.5)) == 10 * BLOCK


def test_what_is_known_is_kept_however_little_the_estimate_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(affinity, "CAPACITY", 4)
    followed = Followed()
    one, two = text(1, 20), text(2, 20)
    followed.call(one)
    followed.call(two)
    assert followed.found(one) == followed.found(two) == 20 * BLOCK


def test_turns_of_a_chat_are_known_with_the_answers_between_them() -> None:
    followed = Followed(blocks_max=130)
    said, more = b"", text(1, 6.5)
    for turn in range(4):
        said += more
        answer = text(100 + turn, 2)
        followed.call(said, answer)
        more = answer + text(200 + turn, 1)
    assert followed.chains.matched == 4
    assert followed.found(said) == 15 * BLOCK
    followed.call(text(9, 22))  # Part of the chat has to go: first of all its last answer.
    there = followed.engine.cached_tokens(said)
    assert 0 < there < 14 * BLOCK
    assert there - BLOCK < followed.found(said) <= there + BLOCK


def test_tools_come_before_the_text() -> None:
    followed = Followed(blocks_max=100)
    tools, said = text(7, 6), text(1, 10.5)
    request = followed.engine.begin(tools + said)
    followed.hear()
    blocks = text_blocks(said)
    used = Answered(E, blocks, len(tools + said), request.prompt_tokens, 0, 1, 0.0, followed.now_s)
    followed.engine.answer(request, b"answ")
    followed.chains.ended(used)
    followed.settle()
    assert followed.found(said) == 10 * BLOCK
    followed.call(text(2, 9.5))
    there = followed.engine.cached_tokens(tools + said) - 6 * BLOCK
    assert there - 1.5 * BLOCK < followed.found(said) <= there + BLOCK


def test_requests_that_run_at_once_are_told_apart() -> None:
    followed = Followed()
    texts = [text(seed, blocks) for seed, blocks in ((1, 5.5), (2, 9.5), (3, 5.5))]
    runs = [followed.begin(item) for item in texts]
    for step in range(90):
        for number, (request, _) in enumerate(runs):
            if step < 10 + 40 * number:
                followed.engine.answer(request, b"%04d" % (step + 100 * number))
        followed.hear()
    for item, run in zip(texts, runs, strict=True):
        followed.end(item, *run)
    followed.settle()
    assert (followed.chains.matched, followed.chains.unmatched) == (3, 0)


def test_two_that_look_alike_are_not_guessed() -> None:
    followed = Followed(blocks_max=400)
    texts = [text(1, 5.5), text(2, 5.5)]
    runs = [followed.begin(item) for item in texts]
    for item, run in zip(texts, runs, strict=True):
        followed.engine.answer(run[0], b"same")
        followed.end(item, *run)
    followed.settle()
    assert (followed.chains.matched, followed.chains.unmatched) == (0, 2)
    assert followed.found(texts[0]) == 5 * BLOCK  # An estimate.


def test_all_that_is_cleared_is_forgotten() -> None:
    followed = Followed()
    one = text(1, 10)
    followed.call(one)
    followed.engine.clear()
    followed.hear()
    assert (followed.found(one), len(followed.chains), len(followed.index)) == (0, 0, 0)
    followed.call(one)
    assert followed.found(one) > 0


def test_after_a_gap_what_was_known_is_an_estimate() -> None:
    followed = Followed(blocks_max=64)
    one, two = text(1, 10), text(2, 10)
    followed.call(one)
    followed.chains.missed()
    assert followed.found(one) > 0
    assert len(followed.chains) == 0
    followed.call(two)  # Stored from its beginning, so it is known again.
    assert followed.chains.matched == 2
    assert followed.found(one) > followed.engine.cached_tokens(one)  # It cannot be known better.
    followed.call(text(3, 12))
    there = followed.engine.cached_tokens(two)
    assert there - BLOCK < followed.found(two) <= there


def test_chains_whose_beginning_was_not_heard_are_left_out() -> None:
    followed = Followed()
    one = text(1, 10)
    followed.engine.begin(one)
    followed.engine.taken()
    followed.call(one + text(2, 4))
    assert (followed.chains.matched, len(followed.chains)) == (0, 0)


def test_a_block_that_is_there_twice_is_gone_with_its_last_copy() -> None:
    followed = Followed()
    one = text(1, 4.5)
    followed.call(one)
    known = followed.found(one)
    again = followed.engine.begin(one)
    again.stored = 0
    followed.engine._store(again)  # Computed at once by two requests.
    followed.hear()
    name = next(reversed(followed.engine._cached))
    for left in (known, 0):
        followed.engine._events.append(BlockRemoved([name], "GPU"))
        followed.hear()
        assert followed.found(one) == left


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 12)), min_size=1, max_size=25
    ),
    st.integers(120, 400),
    st.booleans(),
)
def test_it_follows_whatever_an_engine_does(
    calls: list[tuple[int, int, int]], blocks_max: int, arrays: bool
) -> None:
    followed = Followed(blocks_max, arrays=arrays)
    chats = [text(seed, 3) for seed in range(6)]
    for chat, more, answered in calls:
        chats[chat] = chats[chat][: 18 * BLOCK_BYTES]
        answer = text(answered + 7, answered / 10)[: 4 * (answered + 2)]
        followed.call(chats[chat], answer)
        chats[chat] += answer + text(more + 50, more)
    for chat in chats:
        there = followed.engine.cached_tokens(chat)
        assert followed.found(chat) <= there + 2 * BLOCK
    followed.engine.clear()
    followed.hear()
    assert not any(followed.found(chat) for chat in chats)


def test_what_is_remembered_of_starts_and_ends_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_chains, "STARTS_MAX", 10)
    followed = Followed()
    for seed in range(20):
        followed.call(text(seed, 2.5))
    assert len(followed.chains._started) == 10
    assert sum(map(len, followed.chains._starts.values())) <= 10


def test_a_block_takes_at_most_260_bytes() -> None:
    random = Random(1)
    names = [[random.randbytes(32) for _ in range(512)] for _ in range(40)]
    messages = [
        msgspec.msgpack.encode([1.0, [["BlockStored", chain, None, [7] * 8_192, 16, None, "GPU"]]])
        for chain in names
    ]
    tracemalloc.start()
    try:
        chains = KvChains(PrefixIndex())
        for at_s, message in enumerate(messages):
            chains.heard(decode_kv_events(message), at_s)
        assert tracemalloc.get_traced_memory()[0] / len(chains) < 260
    finally:
        tracemalloc.stop()


def test_of_chats_that_run_at_once_most_are_told_apart_and_none_is_taken_for_another() -> None:
    random, followed = Random(1), Followed(blocks_max=2_000)
    systems = [text(1_000 + number, 5) for number in range(4)]
    chats = [random.choice(systems) + text(number, random.uniform(0.3, 3)) for number in range(30)]
    idle = list(range(30))
    running: list[tuple[int, bytes, Request, float, int]] = []
    ended = 0
    theirs: dict[Hash, set[int]] = {}
    while ended < 150:
        while len(running) < 12:
            chat = idle.pop(random.randrange(len(idle)))
            length = round(random.lognormvariate(3, 0.6)) + 2
            running.append((chat, chats[chat], *followed.begin(chats[chat]), length))
        for one in list(running):
            chat, said, request, begun_s, length = one
            followed.engine.answer(request, random.randbytes(TOKEN_BYTES))
            if len(request.tokens) - request.prompt_tokens == length:
                followed.hear()
                followed.end(said, request, begun_s)
                running.remove(one)
                for name in names_of(request.tokens):
                    theirs.setdefault(name, set()).update(text_blocks(said))
                idle.append(chat)
                chats[chat] = said + text(ended + 5_000, random.uniform(0.2, 2))
                ended += 1
        followed.hear()
    followed.settle()
    assert followed.chains.matched > 0.8 * (followed.chains.matched + followed.chains.unmatched)
    named = {name: block.text for name, block in followed.chains._blocks.items() if block.text}
    assert len(named) > 500
    assert [name for name, (_, block) in named.items() if block not in theirs.get(name, ())] == []
