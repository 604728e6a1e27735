"""Sizes of recorded calls: what they are made of, and what is divided out of them."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.benchmarks.recorded_calls.sizes import RecordedCall, call_sizes_of, concurrency_of
from router.domain.pricing import Usage

SPEED_S = {1: 0.05, 2: 0.4}


def alone(_deployment: int, _together: int) -> float:
    return 1.0


def made(
    count: int = 400, noise: float = 0.1, seed: int = 1
) -> tuple[list[RecordedCall], list[float]]:
    """Calls whose work is 0.5 and 0.001 a generated token; the large ones went to the fast pool."""
    rng = Random(seed)
    calls: list[RecordedCall] = []
    works: list[float] = []
    for n in range(count):
        tokens = rng.randrange(1, 2_000)
        work = (0.5 + 0.001 * tokens) * rng.lognormvariate(0.0, noise)
        deployment = 1 if rng.random() < tokens / 2_000 else 2
        works.append(work)
        calls.append(
            RecordedCall(
                at_s=float(n),
                usage=Usage(prompt_tokens=100, completion_tokens=tokens),
                upstream_s=work * SPEED_S[deployment],
                deployment_id=deployment,
                worker_id=f"w{deployment}",
            )
        )
    return calls, works


def close(found: Sequence[float], expected: Sequence[float]) -> float:
    """Mean distance, relative to the mean."""
    mean = sum(expected) / len(expected)
    return sum(abs(f - e / mean) for f, e in zip(found, expected, strict=True)) / len(expected)


def test_fast_hardware_does_not_make_a_call_look_small() -> None:
    calls, works = made()
    found = call_sizes_of(calls, alone)
    assert close(found.sizes, works) < 0.05
    assert sum(found.sizes) / len(found.sizes) == pytest.approx(1.0, rel=0.01)
    ratio = found.speeds[2].service_ms / found.speeds[1].service_ms
    assert ratio == pytest.approx(SPEED_S[2] / SPEED_S[1], rel=0.05)


def test_a_busy_worker_does_not_make_a_call_look_large() -> None:
    """Every second call begins while another runs, and takes twice as long."""
    calls = [
        RecordedCall(
            at_s=n // 2 * 10.0 + n % 2, usage=Usage(), upstream_s=(2.0, 4.0)[n % 2], worker_id="w"
        )
        for n in range(100)
    ]
    assert concurrency_of(calls) == [1, 2] * 50
    sizes = call_sizes_of(calls, lambda _, together: float(together)).sizes
    assert min(sizes) == pytest.approx(max(sizes))


def test_what_was_known_before_predicts_only_what_it_can() -> None:
    calls, _works = made()
    blind = call_sizes_of(calls, alone)  # The answer's length was not known before.
    assert not any(blind.predicted)
    found = call_sizes_of(held_for_their_answers(calls), alone)
    assert all(found.predicted)
    assert close(found.predicted, found.sizes) < 0.25


def test_a_hold_that_grew_with_its_stream_was_not_known_before() -> None:
    calls, _works = made()
    held = held_for_their_answers(calls)
    streamed = [replace(call, streamed=True) for call in held]
    assert not any(call_sizes_of(streamed, alone).predicted)
    # Compared with whole answers, streams are all alike.
    mixed = [*held[:300], *streamed[300:]]
    found = call_sizes_of(mixed, alone)
    assert all(found.predicted)
    assert close(found.predicted[:300], found.sizes[:300]) < 0.25
    assert max(found.predicted[300:]) == pytest.approx(min(found.predicted[300:]))


def held_for_their_answers(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    return [replace(c, hold_nano=c.usage.completion_tokens * 1_000) for c in calls]


def test_a_call_that_nobody_answered_is_a_mean_one() -> None:
    calls, _works = made()
    lost = RecordedCall(at_s=1e6, usage=Usage(), outcome="rejected")
    assert call_sizes_of([*calls, lost], alone).sizes[-1] == pytest.approx(1.0, abs=0.35)
    assert call_sizes_of([lost], alone).sizes == (1.0,)
    assert call_sizes_of([], alone).sizes == ()


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 10**6), st.integers(1, 3)),
        max_size=80,
    )
)
def test_sizes_are_positive_whatever_was_recorded(
    rows: list[tuple[float, float, int, int]],
) -> None:
    calls = [
        RecordedCall(
            at_s=at, usage=Usage(completion_tokens=n), upstream_s=s, deployment_id=d, worker_id="w"
        )
        for at, s, n, d in rows
    ]
    found = call_sizes_of(calls, alone)
    assert len(found.sizes) == len(found.predicted) == len(calls)
    assert all(size > 0 for size in found.sizes)
    assert all(value >= 0 for value in found.predicted)
