"""Two attempts of one call: one answer, one bill, nothing left running."""

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest
from msgspec.structs import replace

from router.contracts.record import UsageRecord, hedge_ms
from router.domain.catalog import Endpoint
from router.domain.errors import WorkerFailed, WorkerRefused
from router.ports.upstream import Answer, StreamPart, UpstreamFailed, UpstreamRefused
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.pipeline.line import (
    COST_NANO,
    USED,
    FakeUpstream,
    Line,
    Step,
    in_time,
    snapshot,
    until,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
FIRST = StreamPart(b"data: one\n\n", 1)
LAST = StreamPart(b"data: end\n\n", 0, USED, "stop", done=True)
PROVIDERS = {"one": 21, "two": 22}
"""Their accounts, by pool."""

Outcome = Answer | Exception | asyncio.Event | list[Step]


def in_order(*outcomes: Outcome) -> Callable[[Endpoint], Outcome]:
    """A script by the order of calls, whatever worker they go to."""
    left = list(outcomes)
    return lambda _: left.pop(0)


async def finished(line: Line, **fields: object) -> None:
    """Call, and see that nothing is left behind."""
    async with asyncio.timeout(PATIENCE_S):
        await line.call(**fields)
    await settled(line)


async def settled(line: Line) -> None:
    await until(lambda: line.upstream.closed == len(line.upstream.called))
    assert (line.slots_taken, line.unresolved_nano) == (0, 0)


def outcomes(line: Line) -> list[str]:
    (record,) = line.records
    return sorted(attempt.outcome for attempt in record.attempts)


async def test_a_call_on_a_hung_worker_is_answered_by_another() -> None:
    line = Line(FakeUpstream(in_order(asyncio.Event(), ANSWER)))
    await finished(line)
    (record,) = line.records
    assert (record.outcome, record.charge_nano) == ("completed", COST_NANO)
    assert outcomes(line) == ["completed", "outrun"]
    assert record.worker_id == line.upstream.called[1] != line.upstream.called[0]
    verdicts = {c.worker_id: c.verdict for c in record.candidates}
    assert verdicts[record.worker_id] == "chosen"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_wait_for_a_hung_try_is_not_called_queueing(stream: bool) -> None:
    hung = asyncio.Event()
    script = in_order([hung], [FIRST, LAST]) if stream else in_order(hung, ANSWER)
    line = Line(FakeUpstream(script))
    client = await line.call(stream=stream)
    (record,) = line.records
    hedged_ms = hedge_ms(record.attempts, record.worker_id, record.queue_ms)
    assert float(client.headers["x-route-hedge-ms"]) == pytest.approx(hedged_ms, abs=0.1)
    # A hedge waits for a time that is known; a free place is found at once.
    waited_ms = float(client.headers["x-route-queue-ms"])
    assert waited_ms == pytest.approx(record.queue_ms - hedged_ms, abs=0.1)
    assert waited_ms < hedged_ms
    assert f"hedge;dur={client.headers['x-route-hedge-ms']}" in client.headers["server-timing"]


async def test_a_call_without_a_hedge_lost_nothing_to_one() -> None:
    failed_before_it = in_order(UpstreamFailed("reset"), ANSWER)
    for script in (in_order(ANSWER), failed_before_it):
        line = Line(FakeUpstream(script))
        client = await line.call()
        assert client.headers["x-route-hedge-ms"] == "0.00"


async def test_a_stream_on_a_hung_worker_is_begun_by_another() -> None:
    never: list[Step] = [asyncio.Event()]
    line = Line(FakeUpstream(in_order(never, [FIRST, LAST])))
    await finished(line, stream=True)
    assert outcomes(line) == ["completed", "outrun"]
    assert line.records[0].charge_nano == COST_NANO


async def test_the_first_may_still_win_and_stops_the_second() -> None:
    slow: list[Step] = [gate := asyncio.Event(), FIRST, LAST]
    line = Line(FakeUpstream(in_order(slow, [asyncio.Event()])))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    gate.set()
    await call
    await settled(line)
    assert outcomes(line) == ["completed", "outrun"]
    assert line.records[0].worker_id == line.upstream.called[0]


async def test_when_the_late_one_fails_its_second_goes_on() -> None:
    gate = asyncio.Event()
    failing: list[Step] = [gate, UpstreamFailed("reset")]
    other: list[Step] = [answers := asyncio.Event(), FIRST, LAST]
    line = Line(FakeUpstream(in_order(failing, other)))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    gate.set()
    await until(lambda: line.upstream.closed == 1)
    answers.set()
    await call
    await settled(line)
    assert outcomes(line) == ["completed", "worker_failed:reset"]


async def test_when_both_fail_a_third_is_tried() -> None:
    gate = asyncio.Event()
    both: list[list[Step]] = [[gate, UpstreamFailed("reset")], [gate, UpstreamFailed("timeout")]]
    line = Line(FakeUpstream(in_order(*both, [FIRST, LAST])))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    gate.set()
    await call
    await settled(line)
    assert outcomes(line) == ["completed", "worker_failed:reset", "worker_failed:timeout"]


async def test_when_the_second_fails_the_late_one_gets_another() -> None:
    known = snapshot(workers=3)
    quick = tuple(replace(offered, service_prior_ms=20) for offered in known.deployments)
    script = in_order(asyncio.Event(), UpstreamFailed("reset"), ANSWER)
    line = Line(FakeUpstream(script), catalog=replace(known, deployments=quick))
    await finished(line)
    assert outcomes(line) == ["completed", "outrun", "worker_failed:reset"]
    assert len(set(line.upstream.called)) == 3


async def test_when_the_second_failed_a_third_try_is_made_elsewhere() -> None:
    known = snapshot(workers=4)
    quick = tuple(replace(offered, service_prior_ms=20) for offered in known.deployments)
    hung: list[Step] = [gate := asyncio.Event(), UpstreamFailed("reset")]
    script = in_order(hung, [UpstreamFailed("reset")], hung, [FIRST, LAST])
    line = Line(
        FakeUpstream(script),
        catalog=replace(known, deployments=quick),
        limits=Limits(attempts_max=4),
    )
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 3)
    gate.set()
    await call
    await settled(line)
    assert len(set(line.upstream.called)) == 4


async def test_a_refusal_by_the_second_is_not_the_calls_end() -> None:
    slow: list[Step] = [gate := asyncio.Event(), FIRST, LAST]
    line = Line(FakeUpstream(in_order(slow, [UpstreamRefused(422, "no")])))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    await until(lambda: line.upstream.closed == 1)
    gate.set()
    await call
    await settled(line)
    assert line.records[0].outcome == "completed"


async def test_a_refusal_by_the_first_ends_the_second() -> None:
    gate = asyncio.Event()
    refusing: list[Step] = [gate, UpstreamRefused(422, "no")]
    line = Line(FakeUpstream(in_order(refusing, [asyncio.Event()])))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    gate.set()
    with pytest.raises(WorkerRefused):
        await call
    await settled(line)


async def test_a_client_that_leaves_ends_both() -> None:
    hung: list[Step] = [asyncio.Event()]
    line = Line(FakeUpstream(in_order(hung, hung)))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settled(line)
    assert line.records[0].outcome == "client_gone"
    assert line.records[0].charge_nano == 3 * 1_000  # The prompt, once.
    assert outcomes(line) == ["client_gone"] * 2


async def test_a_client_that_leaves_after_the_late_one_failed_ends_its_second() -> None:
    gate = asyncio.Event()
    failing: list[Step] = [gate, UpstreamFailed("reset")]
    line = Line(FakeUpstream(in_order(failing, [asyncio.Event()])))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    gate.set()
    await until(lambda: line.upstream.closed == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settled(line)
    assert outcomes(line) == ["client_gone", "worker_failed:reset"]
    (record,) = line.records
    assert {attempt.worker_id for attempt in record.attempts} == set(line.upstream.called)
    assert owed_to(record) == line.upstream.called[1]


def owed_to(record: UsageRecord) -> str:
    """The worker whose provider gets what a call costs."""
    assert record.provider_account_id == PROVIDERS[record.pool]
    assert record.worker_id.startswith(record.pool)
    return record.worker_id


@pytest.mark.parametrize("first_fails", [False, True])
async def test_a_client_that_leaves_as_the_second_wins_leaves_nothing_behind(
    first_fails: bool,
) -> None:
    class Gate(asyncio.Event):
        async def wait(self) -> Literal[True]:
            await super().wait()
            # The client leaves once the second has won, before the call's task runs again.
            asyncio.get_running_loop().call_soon(call.cancel)
            return True

    first: list[Step] = [fails := asyncio.Event(), UpstreamFailed("reset")]
    second: list[Step] = [gate := Gate(), FIRST, asyncio.Event()]
    line = Line(FakeUpstream(in_order(first, second)))
    call = asyncio.create_task(line.call(stream=True))
    await in_time(lambda: len(line.upstream.called) == 2)
    if first_fails:
        fails.set()
        await until(lambda: line.upstream.closed == 1)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settled(line)
    (record,) = line.records
    assert record.outcome == "client_gone"
    assert owed_to(record) == line.upstream.called[1]


async def test_a_worker_that_comes_back_is_found_out_by_a_probe() -> None:
    broken = {"one-0", "one-1", "two-0"}

    def script(endpoint: Endpoint) -> Answer | Exception:
        return UpstreamFailed("reset") if endpoint.worker.id in broken else ANSWER

    line = Line(FakeUpstream(script))
    for _ in range(2):
        with pytest.raises(WorkerFailed):
            await line.call()
    broken.clear()
    await in_time(lambda: bool(line.upstream.probed))
    await until(lambda: line.slots_taken == 0)
    back = line.upstream.probed[0]
    assert not line.scheduler.fleet.workers[back].ejection.is_ejected
    await line.call()
    assert len(line.records) == 3, "a probe is nobody's call"
