"""A call to a model without workers is held while a pool starts one for it."""

import asyncio

import pytest
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Pool, Worker
from router.domain.errors import (
    CreditExhausted,
    DeadlineExceeded,
    ModelUnknown,
    NothingEligible,
    QueueFull,
    RequestInvalid,
)
from router.pipeline.plans.routing_table import build_table
from router.ports.upstream import Answer, StreamPart
from router.settings import Limits
from tests.unit.router.pipeline.line import (
    COST_NANO,
    KEY,
    QUEUE_MAX,
    USED,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    snapshot,
    until,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
LAST = StreamPart(b"data: end\n\n", 0, USED, "stop", done=True)
WORKER = Worker("new-0", "one", "http://x", "openai", 4)


def empty(*, start_s: float = 20.0, workers: tuple[Worker, ...] = ()) -> Snapshot:
    """Pool ``one`` has these workers and is started by who waits, ``two`` has none."""
    pools = (Pool("one", "gpu", start_s=start_s), Pool("two", "gpu"), Pool("tensors", "cpu"))
    return structs.replace(snapshot(), pools=pools, workers=workers)


async def waiting(line: Line, **fields: object) -> asyncio.Task[FakeClient]:
    before = line.gateway.waiting
    task = asyncio.create_task(line.call(**fields))
    await until(lambda: task.done() or line.gateway.waiting > before)
    return task


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_waits_for_a_worker_and_is_told_how_long(stream: bool) -> None:
    line = Line(FakeUpstream(lambda _: [LAST] if stream else ANSWER), catalog=empty())
    call = await waiting(line, stream=stream)
    standing = line.gateway.standing("0193-test")
    assert standing is not None
    assert (standing.place, standing.eta_s, standing.tenant) == (1, pytest.approx(20, abs=1), 1)
    assert line.gateway.waiting_by_model == {"a/m": 1}
    line.gateway.use(build_table(empty(workers=(WORKER,))))
    client = await call
    assert client.headers["x-route-worker"] == "new-0"
    assert client.headers["x-route-place"] == "1"
    assert int(client.headers["x-route-eta-ms"]) == pytest.approx(20_000, abs=1_000)
    (record,) = line.records
    assert (record.outcome, record.charge_nano) == ("completed", COST_NANO)
    assert (line.unresolved_nano, line.slots_taken, line.gateway.waiting) == (0, 0, 0)


async def test_without_a_pool_that_is_started_it_is_refused() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty(start_s=0))
    with pytest.raises(NothingEligible) as refused:
        await line.call()
    assert refused.value.retry_after_s


async def test_a_draining_worker_does_not_count() -> None:
    drained = structs.replace(WORKER, draining=True)
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty(workers=(drained,)))
    call = await waiting(line)
    line.gateway.use(build_table(empty(workers=(drained,))))
    await asyncio.sleep(0)
    assert not call.done()
    line.gateway.use(build_table(empty(workers=(WORKER,))))
    assert (await call).status == 200


async def test_a_worker_that_never_comes_costs_nothing_and_says_when_to_try_again() -> None:
    limits = structs.replace(Limits(), start_wait_s=0.01)
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty(), limits=limits)
    with pytest.raises(NothingEligible, match="none has started") as refused:
        await line.call()
    assert refused.value.retry_after_s == pytest.approx(20, abs=1)
    (record,) = line.records
    assert (record.outcome, record.http_status, record.charge_nano) == ("rejected", 503, 0)
    assert (line.unresolved_nano, line.gateway.waiting) == (0, 0)


async def test_a_calls_own_deadline_ends_its_wait() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    with pytest.raises(DeadlineExceeded, match="10 ms") as refused:
        await line.call(provider={"deadline_ms": 10})
    assert refused.value.retry_after_s == pytest.approx(20, abs=1)
    assert (line.unresolved_nano, line.gateway.waiting) == (0, 0)


async def test_nobody_without_credit_has_a_worker_started() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty(), funds_nano=1)
    with pytest.raises(CreditExhausted):
        await line.call()
    assert line.gateway.waiting == 0


async def test_too_many_are_refused_at_once_and_leave_nothing() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    grant = line.gateway.authenticate(f"Bearer {KEY}")
    asked = [
        asyncio.create_task(
            line.gateway.serve(grant, structs.replace(chat(), id=f"c{n}"), FakeClient())
        )
        for n in range(QUEUE_MAX + 2)
    ]
    await until(lambda: sum(task.done() for task in asked) == 4)
    refused = [task for task in asked if task.done()]
    assert all(isinstance(task.exception(), QueueFull) for task in refused)
    line.gateway.use(build_table(empty(workers=(WORKER,))))
    await asyncio.wait(asked)
    assert sum(task.exception() is None for task in asked) == QUEUE_MAX - 2
    assert line.unresolved_nano == 0


async def test_a_client_that_leaves_gives_its_place_and_its_credit_back() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    call = await waiting(line)
    call.cancel()
    await asyncio.wait({call})
    assert (line.gateway.waiting, line.unresolved_nano) == (0, 0)
    assert [(record.outcome, record.charge_nano) for record in line.records] == [("client_gone", 0)]


async def test_wishes_that_leave_no_pool_to_start_are_refused_at_once() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    with pytest.raises(NothingEligible):
        await line.call(provider={"only": ["south"]})


async def test_a_model_that_goes_away_meanwhile_is_said_to_be_gone() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    call = await waiting(line)
    line.gateway.use(build_table(structs.replace(empty(), models=(), deployments=())))
    with pytest.raises(ModelUnknown):
        await call
    assert line.unresolved_nano == 0


async def test_a_call_with_another_model_to_fall_back_to_does_not_wait() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    with pytest.raises(NothingEligible):
        await line.call(models=["a/m", "a/other"])


async def test_a_wrong_request_is_refused_before_it_waits() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=empty())
    with pytest.raises(RequestInvalid):
        await line.call(model="a/t")
