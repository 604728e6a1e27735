"""What of a worker's usage is believed: what follows from what the router saw pass, and no more."""

import asyncio
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.pipeline.holds.counting import (
    ANSWER_SLACK_TOKENS,
    PROMPT_SLACK_TOKENS,
    RATIO_MAX,
    TOLERANCE,
    WorkerCounts,
)
from router.ports.upstream import Answer, StreamPart
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.pipeline.line import PRICE, USED, FakeUpstream, Line, until

ANSWERS = 400


def asked(text: str = "x" * 4_000, **fields: object) -> InferenceRequest:
    body = {"model": "a/m", "messages": [{"role": "user", "content": text}], **fields}
    return parse_call(
        Kind.CHAT,
        msgspec.json.encode(body),
        request_id="0193-test",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )


def honest(request: InferenceRequest, ratio: float = 1.0, answer: int = 300) -> Usage:
    """Of a worker whose tokens are so many of the router's."""
    return Usage(int(request.prompt_tokens * ratio), 0, int(answer * ratio))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.6])
def test_honest_counts_are_believed_whatever_the_tokenizer(ratio: float) -> None:
    counts, draw, request = WorkerCounts(), random.Random(3), asked()
    for _ in range(ANSWERS):
        said = honest(request, ratio * draw.uniform(0.7, 1.3), 300)
        assert counts.believed(request, said, 300) == said
        counts.observe(request, said, 300)


def test_a_worker_that_says_ten_times_as_much_is_paid_what_its_model_has() -> None:
    counts, request = WorkerCounts(), asked()
    for _ in range(ANSWERS):
        counts.observe(request, honest(request), 300)
    paid = counts.believed(request, honest(request, 10.0), 300)
    assert paid.prompt_tokens <= 2.1 * request.prompt_tokens + PROMPT_SLACK_TOKENS
    assert 300 <= paid.completion_tokens <= 2.1 * 300 + ANSWER_SLACK_TOKENS


def test_a_worker_alone_with_a_model_cannot_teach_any_ratio() -> None:
    counts, request = WorkerCounts(), asked()
    for _ in range(ANSWERS):
        counts.observe(request, honest(request, 50.0), 300)
    paid = counts.believed(request, honest(request, 50.0), 300)
    assert paid.completion_tokens == int(TOLERANCE * RATIO_MAX * 300) + ANSWER_SLACK_TOKENS
    assert paid.prompt_tokens <= request.bound.prompt_tokens


def test_a_minority_of_liars_does_not_move_what_the_others_show() -> None:
    counts, draw, request = WorkerCounts(), random.Random(5), asked()
    for _ in range(4 * ANSWERS):
        counts.observe(request, honest(request, 50.0 if draw.random() < 0.25 else 1.0), 300)
    assert counts.believed(request, honest(request, 50.0), 300).completion_tokens < 3 * 300


def test_short_answers_and_the_templates_of_prompts_have_room() -> None:
    counts, request = WorkerCounts(), asked("hi")
    said = Usage(prompt_tokens=200, completion_tokens=12)
    assert counts.believed(request, said, 1) == said


def test_an_answer_that_nobody_looked_at_is_taken_at_its_word() -> None:
    said = Usage(prompt_tokens=5, completion_tokens=10**6)
    assert WorkerCounts().believed(asked(), said, None) == said


counted = st.integers(0, 10**6)


@given(counted, counted, counted, counted, st.integers(0, 1_000))
def test_no_class_is_ever_more_than_was_said(
    prompt: int, cached: int, completion: int, reasoning: int, own: int
) -> None:
    said = Usage(prompt, cached, completion, reasoning)
    paid = WorkerCounts().believed(asked(), said, own)
    for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"):
        assert 0 <= getattr(paid, name) <= getattr(said, name)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_worker_that_overcounts_is_paid_less_and_shown(stream: bool) -> None:
    greedy = Usage(prompt_tokens=10**6, completion_tokens=10**6)
    events = [
        StreamPart(b"data: x\n\n", 1),
        StreamPart(b"", 0, greedy),
        StreamPart(b"", 0, done=True),
    ]
    whole = Answer(b"{}", "application/json", greedy, "stop", own_tokens=1)
    line = Line(FakeUpstream(lambda _: list(events) if stream else whole))
    await line.call(stream=stream, max_tokens=100)
    (record,) = line.records
    answer = int(TOLERANCE * RATIO_MAX) + ANSWER_SLACK_TOKENS
    assert record.completion_tokens == answer
    assert record.prompt_tokens < 400
    assert record.charge_nano <= record.hold_nano
    assert line.gateway.counts.cut == {("a/m", "one-0"): 1}


async def test_what_a_worker_says_in_the_midst_of_a_stream_is_weighed_too() -> None:
    greedy = Usage(prompt_tokens=10, completion_tokens=10**6)
    line = Line(FakeUpstream(lambda _: [StreamPart(b"data: x\n\n", 1, greedy), asyncio.Event()]))
    call = asyncio.create_task(line.call(stream=True, max_tokens=100))
    await until(lambda: line.slots_taken == 1 and bool(line.upstream.called))
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    answer = int(TOLERANCE * RATIO_MAX) + ANSWER_SLACK_TOKENS
    assert line.records[0].completion_tokens == answer


async def test_an_honest_worker_is_not_shown() -> None:
    line = Line(FakeUpstream(lambda _: Answer(b"{}", "application/json", USED, own_tokens=4)))
    await line.call()
    assert not line.gateway.counts.cut
    assert line.records[0].charge_nano * 1_000_000 == (
        10 * PRICE.prompt_nano_per_million + 4 * PRICE.completion_nano_per_million
    )
