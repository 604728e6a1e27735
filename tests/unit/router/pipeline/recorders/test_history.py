"""What is remembered of a deployment, and for how long."""

import pytest
from msgspec import structs

from router.contracts.record import AttemptRecord, UsageRecord
from router.pipeline.recorders.history import (
    ANSWERS_AGE_MAX_S,
    ANSWERS_MAX,
    COUNT_S,
    COUNTS_MAX,
    Histories,
)


class Clock:
    """Also the recorder that stands behind."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.passed_on: list[UsageRecord] = []

    def admit(self) -> None:
        """Always."""

    def append(self, record: UsageRecord) -> None:
        self.passed_on.append(record)


def record(clock: Clock, *outcomes: str, tokens: int = 20, ttft_ms: float = 100.0) -> UsageRecord:
    """A call that ends now and took two seconds, by one attempt an outcome, on deployment 7."""
    return UsageRecord(
        request_id="r",
        router_id="r",
        lease_id="",
        account_id=1,
        organisation_id=1,
        key_id=1,
        model="a/m",
        kind="chat",
        outcome=outcomes[-1].partition(":")[0],
        http_status=200,
        streamed=True,
        created_at_ms=int((clock.now_s - 2) * 1e3),
        deployment_id=7,
        completion_tokens=tokens,
        ttft_ms=ttft_ms,
        upstream_ms=2_000.0,
        total_ms=2_000.0,
        attempts=tuple(AttemptRecord(7, "w", "p", outcome, 0.0, 2_000.0) for outcome in outcomes),
    )


def test_percentiles_are_of_the_last_answers() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    for number in range(1, 101):
        histories.append(record(clock, "completed", tokens=2 * number, ttft_ms=10.0 * number))
    history = histories.of(7)
    assert history.latency_s(0.5) == pytest.approx(0.5)
    assert history.latency_s(0.99) == pytest.approx(0.99)
    # A rate is one that this share of answers had at least.
    assert history.tokens_per_s(0.5) == pytest.approx(51)
    assert history.tokens_per_s(0.99) == pytest.approx(2)
    for _ in range(ANSWERS_MAX):
        histories.append(record(clock, "completed", ttft_ms=70.0))
    assert history.latency_s(0.99) == pytest.approx(0.07)
    assert len(clock.passed_on) == 100 + ANSWERS_MAX


def test_what_is_old_is_forgotten() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    histories.append(record(clock, "completed"))
    history = histories.of(7)
    clock.now_s += ANSWERS_AGE_MAX_S + 1
    assert history.latency_s(0.5) is None
    assert history.tokens_per_s(0.5) is None
    assert history.uptime(1) is None
    assert history.uptime(COUNTS_MAX) == 1
    clock.now_s += COUNT_S * COUNTS_MAX
    assert history.uptime(COUNTS_MAX) is None


def test_uptime_counts_what_the_worker_did() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    histories.append(record(clock, "worker_failed:reset", "completed"))
    histories.append(record(clock, "truncated:reset"))
    histories.append(record(clock, "completed"))
    # A client that leaves and an attempt that lost a race say nothing of the worker.
    histories.append(record(clock, "client_gone"))
    histories.append(record(clock, "outrun", "completed"))
    assert histories.of(7).uptime(1) == pytest.approx(3 / 5)
    assert histories.of(8).uptime(1) is None


def test_an_answer_without_tokens_has_no_rate() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    histories.append(record(clock, "completed", tokens=0))
    assert histories.of(7).tokens_per_s(0.5) is None
    assert histories.of(7).latency_s(0.5) == pytest.approx(0.1)


def test_a_worker_that_has_recovered_is_judged_by_what_it_did_since() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    histories.append(record(clock, "worker_failed:reset"))
    clock.now_s += 5 * 60
    histories.append(record(clock, "completed"))
    histories.append(record(clock, "completed"))
    assert histories.of(7).uptime(1) == 1
    assert histories.of(7).uptime(2) == pytest.approx(2 / 3)


def test_attempts_are_counted_for_a_day_and_no_longer() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    for hour in range(48):
        histories.append(record(clock, "worker_failed" if hour < 24 else "completed"))
        for _ in range(11):
            clock.now_s += 5 * 60
            histories.append(record(clock, "completed"))
        clock.now_s += 5 * 60
    clock.now_s -= 5 * 60
    assert histories.of(7).uptime(10_000) == 1


def test_of_what_one_tenants_requests_are_answered_with_one_failure_counts() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    for _ in range(9):
        histories.append(record(clock, "completed"))
        histories.append(record(clock, "worker_failed:http_500"))
    assert histories.of(7).uptime(1) == pytest.approx(0.9)
    for _ in range(10):
        histories.append(record(clock, "worker_failed:connect"))
    assert histories.of(7).uptime(1) == pytest.approx(9 / 20)
    clock.now_s += COUNT_S
    histories.append(record(clock, "worker_failed:http_500"))
    assert histories.of(7).uptime(1) == 0


def test_the_time_to_begin_is_of_streams_that_are_no_batch() -> None:
    clock = Clock()
    histories = Histories(clock, clock=lambda: clock.now_s)
    slow = record(clock, "completed", ttft_ms=60_000.0)
    histories.append(structs.replace(slow, streamed=False))
    histories.append(structs.replace(slow, priority="batch"))
    assert histories.of(7).latency_s(0.99) is None
    assert histories.of(7).tokens_per_s(0.99) == pytest.approx(10)
    histories.append(record(clock, "completed"))
    assert histories.of(7).latency_s(0.99) == pytest.approx(0.1)
    # What a model does not generate comes whole always.
    histories.append(structs.replace(slow, kind="embedding", streamed=False))
    assert histories.of(7).latency_s(0.99) == pytest.approx(60.0)
