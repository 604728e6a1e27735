"""Steps, caches and preemption of simulated engines."""

from itertools import count
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router.simulator.engines.batching import (
    EngineSpec,
    EngineState,
    Sequence,
    StepForm,
    one_segment,
)
from router.simulator.engines.kv_cache import BLOCK_TOKENS

SPEC = EngineSpec(
    name="e",
    kind="e",
    prefill_hz=1000.0,
    base_s=0.1,
    batch_s=0.01,
    context_s=0.0001,
    kv_tokens=1600,
    step_tokens=100,
    sequences_max=2,
    event_tokens=8,
)
NAMES = count(1000)


def sequence(prompt_tokens: int, events: int, *shared: tuple[int, int]) -> Sequence:
    """Its prompt begins with the ``shared`` segments and has one of its own after them."""
    chain = list(shared)
    blocks = prompt_tokens // BLOCK_TOKENS
    if blocks > (chain[-1][1] if chain else 0):
        chain.append((next(NAMES), blocks))
    return Sequence(tuple(chain), prompt_tokens, events, one_segment(next(NAMES)))


def drain(engine: EngineState) -> list[Sequence]:
    ended: list[Sequence] = []
    while engine.ends_s < inf:
        ended += engine.finish()[1]
    return ended


def test_steps_take_what_their_batch_their_context_and_their_prompts_take() -> None:
    engine = EngineState(SPEC)
    first = sequence(150, 3)
    assert engine.submit(first, 0.0)
    assert engine.ends_s == pytest.approx(0.1 / 8 + 0.1)  # 100 of 150 tokens; nothing decodes.
    assert engine.finish() == ([], [])
    assert engine.ends_s == pytest.approx(0.1125 + 0.0125 + 0.05)
    assert engine.finish() == ([first], [])
    assert engine.ends_s == pytest.approx(0.175 + 0.1 + 0.01 + 0.0158)

    second = sequence(50, 1)
    assert not engine.submit(second, 0.2)  # It has to wait for the step to end.
    assert engine.finish() == ([], [])
    assert engine.ends_s == pytest.approx(0.3008 + 0.1 + 0.01 + 0.0216 + 0.05)
    assert engine.finish() == ([second], [first, second])
    assert engine.ends_s == inf
    assert engine.steps == 4


def test_a_prompt_longer_than_a_step_holds_up_those_behind_it_but_not_those_that_decode() -> None:
    engine = EngineState(replace(SPEC, sequences_max=8))
    decoding, long, short = sequence(40, 9), sequence(250, 2), sequence(20, 2)
    engine.submit(decoding, 0.0)
    engine.finish()
    engine.submit(long, 0.01)
    engine.submit(short, 0.01)
    joined: list[Sequence] = []
    for step in range(4):
        joined += engine.finish()[0]
        assert engine.generated(decoding) == 2 + step
    assert joined == [long, short]


def test_no_more_sequences_run_than_the_engine_takes() -> None:
    engine = EngineState(SPEC)
    for _ in range(3):
        engine.submit(sequence(10, 4), 0.0)
    engine.finish()
    assert (len(engine.running), len(engine.waiting)) == (2, 1)


@pytest.mark.parametrize(
    ("form", "small_s", "large_s"),
    [
        (StepForm.LINEAR, 0.12, 0.17),
        (StepForm.SATURATING, 0.1, 0.19),
        (StepForm.STEPPED, 0.125, 0.175),
    ],
)
def test_a_step_grows_with_its_load_by_the_form_of_the_engine(
    form: StepForm, small_s: float, large_s: float
) -> None:
    spec = replace(SPEC, form=form)
    assert spec.step_s(1, 100) == pytest.approx(small_s)
    assert spec.step_s(2, 500) == pytest.approx(large_s)


def test_the_beginning_of_a_prompt_is_found_cached_and_so_is_an_answer() -> None:
    engine = EngineState(SPEC)
    first = Sequence(((1, 4), (2, 6)), 100, 4, one_segment(3))
    engine.submit(first, 0.0)
    drain(engine)
    assert first.cached_tokens == 0

    following = Sequence(((1, 4), (2, 6), (3, 8), (4, 10)), 160, 2, one_segment(5))
    other = Sequence(((1, 4), (6, 6)), 96, 2, one_segment(7))
    engine.submit(following, 9.0)
    engine.submit(other, 9.0)
    drain(engine)
    assert following.cached_tokens == 8 * BLOCK_TOKENS  # 100 tokens and 32 of the answer.
    assert other.cached_tokens == 4 * BLOCK_TOKENS

    again = Sequence(((1, 4), (6, 6)), 96, 2, one_segment(8))
    assert engine.matched_tokens(again) == 5 * BLOCK_TOKENS  # The last token is always computed.


def test_what_was_used_last_is_forgotten_last_and_the_ends_of_prompts_before_beginnings() -> None:
    engine = EngineState(replace(SPEC, kv_tokens=16 * BLOCK_TOKENS))
    for name in (1, 2):
        engine.submit(Sequence(((name, 6),), 96, 1, one_segment(100 + name)), float(name))
        drain(engine)
    engine.submit(Sequence(((3, 7),), 112, 1, one_segment(103)), 3.0)
    drain(engine)
    old, young = (
        Sequence(((1, 6),), 97, 1, one_segment(0)),
        Sequence(((2, 6),), 97, 1, one_segment(0)),
    )
    assert engine.matched_tokens(old) == 3 * BLOCK_TOKENS
    assert engine.matched_tokens(young) == 6 * BLOCK_TOKENS


def test_without_a_free_block_the_latest_gives_way_and_is_computed_again() -> None:
    engine = EngineState(replace(SPEC, kv_tokens=10 * BLOCK_TOKENS))
    first, second = sequence(64, 9), sequence(60, 9)
    engine.submit(first, 0.0)
    engine.submit(second, 0.0)
    seen: list[int] = []
    while engine.ends_s < inf:
        engine.finish()
        seen.append(engine.generated(second))
    assert engine.preempted > 0
    assert seen == sorted(seen)  # What it has answered already stays.
    assert seen[-1] == second.generated == first.generated == 9
    assert engine.cache.used == 0


def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="never fit"):
        EngineState(SPEC).submit(sequence(1590, 2), 0.0)


def test_an_abandoned_request_frees_its_blocks_at_once_and_keeps_what_is_computed() -> None:
    engine = EngineState(SPEC)
    running, waiting = Sequence(((1, 20),), 320, 4, one_segment(2)), sequence(100, 4)
    engine.submit(running, 0.0)
    engine.submit(waiting, 0.0)
    engine.finish()
    engine.abort(waiting)
    engine.abort(running)
    assert (engine.cache.used, engine.context_tokens, engine.aborted) == (0, 0, 2)
    assert engine.matched_tokens(running) == 6 * BLOCK_TOKENS
    assert drain(engine) == []


def test_a_crash_loses_everything_and_the_cache() -> None:
    engine = EngineState(SPEC)
    engine.submit(Sequence(((1, 4),), 64, 1, one_segment(2)), 0.0)
    drain(engine)
    lost = [sequence(64, 4), sequence(64, 4), sequence(64, 4)]
    for item in lost:
        engine.submit(item, 1.0)
    assert engine.drop(forget=True) == lost
    assert (engine.ends_s, engine.cache.free) == (inf, engine.cache.capacity)
    assert engine.submit(sequence(64, 1), 2.0)


ASKED = st.tuples(
    st.integers(0, 2),  # shared beginning
    st.integers(1, 120),  # tokens after it
    st.integers(1, 12),  # answer events
)
DOING = st.lists(st.one_of(ASKED, st.integers(1, 4), st.floats(0, 0.99)), max_size=40)


@given(
    doing=DOING,
    kv_blocks=st.integers(16, 40),
    step_tokens=st.integers(4, 90),
    event_tokens=st.sampled_from([1, 3, 8, 16, 20]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_are_conserved_and_everybody_is_answered(
    doing: list[tuple[int, int, int] | int | float],
    kv_blocks: int,
    step_tokens: int,
    event_tokens: int,
) -> None:
    engine = EngineState(
        replace(
            SPEC,
            kv_tokens=kv_blocks * BLOCK_TOKENS,
            step_tokens=step_tokens,
            sequences_max=4,
            event_tokens=event_tokens,
        )
    )
    asked: list[Sequence] = []
    ended: list[Sequence] = []
    for item in doing:
        if isinstance(item, tuple):
            shared, tokens, events = item
            prompt = (0, 48, 90)[shared] + tokens
            if prompt + events * event_tokens > kv_blocks * BLOCK_TOKENS:
                continue
            begun = ((shared, (0, 3, 5)[shared]),) if shared else ()
            asked.append(sequence(prompt, events, *begun))
            engine.submit(asked[-1], 0.0)
        elif isinstance(item, int):
            for _ in range(item):
                if engine.ends_s < inf:
                    ended += engine.finish()[1]
                    check(engine)
        elif asked:
            engine.abort(asked[int(item * len(asked))])
        check(engine)
    ended += drain(engine)
    check(engine)
    assert (engine.cache.used, engine.context_tokens, len(engine.running)) == (0, 0, 0)
    assert len(ended) == len(set(ended)) == len(asked) - engine.aborted
    assert all(part.generated == part.answer_events for part in ended)


def check(engine: EngineState) -> None:
    cache, tokens = engine.cache, engine.spec.event_tokens
    assert min(cache.free, cache.shared, cache.private, cache.cached) >= 0
    private = context = 0
    for item in engine.running:
        known = item.prompt_tokens + engine.generated(item) * tokens
        context += known
        private += item.private
        if item in engine.decoding:
            private += known // BLOCK_TOKENS - item.grown_from
    assert (cache.private, engine.context_tokens) == (private, context)
    in_use = {segment for item in engine.running for segment in item.held}
    assert sum(segment.have for segment in in_use) == cache.shared


def test_an_answer_in_parts_is_found_as_far_as_a_later_prompt_goes_on_from_it() -> None:
    engine = EngineState(replace(SPEC, event_tokens=1))
    engine.submit(Sequence(((1, 2),), 40, 40, ((11, 1), (12, 2), (13, 3))), 0.0)
    drain(engine)
    turn = Sequence(((1, 2), (11, 3), (12, 4), (99, 6)), 100, 1, one_segment(5))
    assert engine.matched_tokens(turn) == 4 * BLOCK_TOKENS
