"""What is counted of calls that ended: each once, under its model, and its times in the buckets."""

from collections.abc import Sequence

import msgspec

from router.contracts.record import AttemptRecord, UsageRecord
from router.pipeline.recorders.meters import BUCKETS_MS, Histogram, Meters, ModelMeters
from tests.unit.router.records import record


class Kept:
    """The recorder behind."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    def admit(self) -> None:
        """Always."""

    def append(self, record: UsageRecord) -> None:
        self.records.append(record)


def attempt(outcome: str, pool: str = "one") -> AttemptRecord:
    return AttemptRecord(1, "w", pool, outcome, 0.0, 0.0)


def counted(*records: UsageRecord) -> tuple[Meters, ModelMeters]:
    meters = Meters(Kept())
    for usage in records:
        meters.append(usage)
    return meters, meters.models["m"]


def observed(histogram: Histogram) -> tuple[Sequence[int], float]:
    """Observations at most as long as each bucket, and the sum."""
    return [sum(histogram.counts[: i + 1]) for i in range(len(BUCKETS_MS) + 1)], histogram.sum_ms


ANSWERED = record(
    "a",
    attempts=(attempt("worker_failed:reset"), attempt("completed", "two")),
    queue_ms=1.0,
    streamed=True,
    upstream_ms=6.0,
    ttft_ms=2.5,
    total_ms=70_000.0,
    rows=3,
    created_at_ms=10,
    prompt_tokens=5,
    cached_tokens=7,
    completion_tokens=11,
    reasoning_tokens=13,
)
UNPLACED = record("b", outcome="rejected", http_status=429, total_ms=4.0, created_at_ms=20)
FAILED = record(
    "c",
    outcome="worker_failed",
    http_status=502,
    attempts=(attempt("worker_failed:silent"),),
    queue_ms=0.5,
    upstream_ms=6.5,
    total_ms=7.0,
    created_at_ms=30,
)


def test_a_model_without_calls_has_counted_nothing() -> None:
    _, model = counted(record("a", attempts=(), rows=0))
    assert (model.queue.counts, model.queue.sum_ms) == ([0] * (len(BUCKETS_MS) + 1), 0.0)
    assert (model.unanswered_ms, model.inferences) == (0.0, 1)
    assert set(model.tokens.values()) == {0}


def test_calls_are_counted_by_kind_outcome_and_status() -> None:
    meters, model = counted(ANSWERED, ANSWERED, UNPLACED, FAILED)
    assert model.calls == {
        ("chat", "completed", 200): 2,
        ("chat", "rejected", 429): 1,
        ("chat", "worker_failed", 502): 1,
    }
    assert meters.attempts == {("one", "worker_failed"): 3, ("two", "completed"): 2}
    assert (model.inferences, model.last_ms, model.unanswered_ms) == (6, 30, 11.0)
    assert model.tokens == {"prompt": 10, "cached": 14, "completion": 22, "reasoning": 26}


def test_times_are_of_the_calls_that_had_them() -> None:
    _, model = counted(ANSWERED, UNPLACED, FAILED)
    # At most 1, 2, 5, 10 ms and so on; the last has no end.
    assert observed(model.queue) == ([2] * 16, 1.5)
    assert observed(model.upstream) == ([0, 0, 0, *[2] * 13], 12.5)
    assert observed(model.ttft) == ([0, 0, *[1] * 14], 2.5)
    assert observed(model.total) == ([0, 0, 1, *[2] * 12, 3], 70_011.0)


def test_first_bytes_are_of_streams_that_somebody_watches_begin() -> None:
    whole = msgspec.structs.replace(ANSWERED, streamed=False, ttft_ms=60_000.0)
    batch = msgspec.structs.replace(ANSWERED, priority="batch", ttft_ms=60_000.0)
    _, model = counted(ANSWERED, whole, batch)
    assert observed(model.ttft) == ([0, 0, *[1] * 14], 2.5)
    assert model.tokens["completion"] == 3 * ANSWERED.completion_tokens


def test_what_is_counted_goes_on_to_the_recorder_behind() -> None:
    kept = Kept()
    Meters(kept).append(ANSWERED)
    assert kept.records == [ANSWERED]
