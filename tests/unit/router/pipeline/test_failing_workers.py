"""Calls whose workers fail: tried elsewhere, blamed on who is at fault, and not billed."""

import itertools

import pytest

from router.domain.errors import (
    RequestFailed,
    WorkerFailed,
    WorkerRefused,
)
from router.ports.upstream import Answer, UpstreamFailed, UpstreamRefused
from tests.unit.router.pipeline.line import (
    ANSWER,
    BROKEN,
    COST_NANO,
    LAST,
    TOKENS,
    FakeUpstream,
    Line,
    in_time,
)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_byte_goes_to_another_worker(stream: bool) -> None:
    fine: list[object] | Answer = [*TOKENS, LAST] if stream else ANSWER
    upstream = FakeUpstream(lambda e: BROKEN if e.worker.id == "one-0" else fine)
    line = Line(upstream)
    client = await line.call(stream=stream)
    assert upstream.called == ["one-0", "one-1"]
    assert client.headers["x-route-attempts"] == "2"
    (record,) = line.records
    assert [a.outcome for a in record.attempts] == ["worker_failed:reset", "completed"]
    assert record.charge_nano == COST_NANO
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_when_every_worker_fails_nothing_is_billed(stream: bool) -> None:
    line = Line(FakeUpstream(lambda _: BROKEN))
    with pytest.raises(WorkerFailed, match="after 3 attempts"):
        await line.call(stream=stream)
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("worker_failed", 0)
    assert line.records[0].error == "worker_failed"
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_failure_after_the_first_byte_is_told_and_what_was_delivered_is_billed() -> None:
    line = Line(FakeUpstream(lambda _: [*TOKENS, BROKEN]))
    client = await line.call(stream=True)
    assert client.body == b"data: one\n\ndata: two\n\n"
    assert (client.ended, client.ended_by) == (True, "worker_failed")
    (record,) = line.records
    assert (record.outcome, record.completion_tokens) == ("truncated", 2)
    assert (record.http_status, record.error) == (200, "worker_failed")
    assert record.charge_nano > 0
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


@pytest.mark.parametrize(
    ("said", "kept", "counted"),
    [
        ("context_length_exceeded", "context_length_exceeded", "context_length_exceeded"),
        ("bad_tool", "bad_tool", "invalid_request"),
        ("", "invalid_request", "invalid_request"),
        ("x\0y", "invalid_request", "invalid_request"),
        ("x" * 65, "invalid_request", "invalid_request"),
    ],
)
async def test_a_record_keeps_of_a_workers_own_code_what_is_a_name_and_metrics_none(
    said: str, kept: str, counted: str
) -> None:
    line = Line(FakeUpstream(lambda _: UpstreamRefused(400, "no", code=said)))
    with pytest.raises(WorkerRefused) as refused:
        await line.call()
    assert line.records[0].error == kept
    assert refused.value.counted_code == counted


async def test_a_refused_request_is_not_tried_again_and_not_billed() -> None:
    upstream = FakeUpstream(lambda _: UpstreamRefused(400, "context too long"))
    line = Line(upstream)
    with pytest.raises(WorkerRefused, match="context too long"):
        await line.call()
    assert len(upstream.called) == 1
    assert (line.records[0].outcome, line.records[0].charge_nano) == ("refused", 0)
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_what_all_workers_fail_on_alike_is_the_requests_doing() -> None:
    upstream = FakeUpstream(lambda _: UpstreamFailed("http_500"))
    line = Line(upstream)
    with pytest.raises(RequestFailed, match="3 workers failed on this request in the same way"):
        await line.call()
    (record,) = line.records
    assert (record.outcome, record.http_status, record.charge_nano) == ("refused", 502, 0)
    assert [attempt.outcome for attempt in record.attempts] == ["refused:http_500"] * 3
    assert all(line.histories.of(item).uptime(1) is None for item in (1, 2))


async def test_one_tenants_requests_eject_nobody_however_many_they_are() -> None:
    upstream = FakeUpstream(lambda _: UpstreamFailed("http_500"))
    line = Line(upstream)
    for _ in range(50):
        with pytest.raises(WorkerFailed):
            await line.call()
    workers = line.scheduler.fleet.workers.values()
    assert not any(worker.ejection.is_ejected for worker in workers)
    upstream.script = lambda _: ANSWER
    for _ in range(50):
        await line.call()
    assert all((line.histories.of(item).uptime(1) or 1) > 0.9 for item in (1, 2))


async def test_a_doubt_is_decided_by_a_probe() -> None:
    line = Line(FakeUpstream(lambda _: UpstreamFailed("http_500")))
    with pytest.raises(WorkerFailed):
        await line.call()
    await in_time(lambda: len(set(line.upstream.probed)) == 3)


async def test_a_worker_that_cannot_answer_what_another_can_is_ejected() -> None:
    line = Line(
        FakeUpstream(lambda e: ANSWER if e.worker.id == "two-0" else UpstreamFailed("http_500"))
    )
    for _ in range(10):
        await line.call()
    states = line.scheduler.fleet.workers
    assert all(states[item].ejection.is_ejected for item in set(line.upstream.called) - {"two-0"})
    assert len(line.upstream.called) < 16


async def test_what_two_workers_fail_on_in_other_ways_is_theirs() -> None:
    reasons = itertools.cycle(["http_500", "bad_json"])
    line = Line(FakeUpstream(lambda _: UpstreamFailed(next(reasons))))
    with pytest.raises(WorkerFailed) as failed:
        await line.call()
    assert type(failed.value) is WorkerFailed
    assert line.records[0].outcome == "worker_failed"


async def test_unreachable_workers_are_at_fault_for_every_caller() -> None:
    line = Line(FakeUpstream(lambda _: UpstreamFailed("connect")))
    for _ in range(2):
        with pytest.raises(WorkerFailed) as failed:
            await line.call()
        assert type(failed.value) is WorkerFailed
    assert all(
        worker.ejection.is_ejected
        for worker in line.scheduler.fleet.workers.values()
        if worker.id in line.upstream.called
    )


async def test_a_fault_of_ours_is_not_billed() -> None:
    line = Line(FakeUpstream(lambda _: ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await line.call()
    assert (line.records[0].http_status, line.records[0].charge_nano) == (500, 0)
    assert line.records[0].error == "internal_error"
    assert (line.unresolved_nano, line.slots_taken) == (0, 0)


async def test_a_worker_that_is_only_full_is_not_held_to_be_broken() -> None:
    full = UpstreamFailed("http_429", is_fault=False)
    line = Line(FakeUpstream(lambda e: full if e.worker.id == "one-0" else ANSWER))
    for _ in range(3):
        await line.call()
    assert line.scheduler.fleet.workers["one-0"].ejection.consecutive_failures == 0
