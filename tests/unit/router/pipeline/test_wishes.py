"""What a caller may wish for, and what a policy weighs."""

import asyncio
from typing import Any

import pytest
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Policy
from router.domain.errors import DeadlineExceeded, NothingEligible, QueueFull, RequestInvalid
from router.domain.pricing import Price
from router.domain.request import Sort
from router.pipeline.plan import make_plan, make_ticket
from router.pipeline.routing_table import Grant, build_table
from router.pipeline.sizing import prefix_blocks, size_features
from router.ports import Answer
from router.scheduling.size import SizePredictor
from router.scheduling.ticket import Ticket
from tests.unit.router.pipeline.line import USED, FakeUpstream, Line, chat, snapshot, until

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
CHEAP = Price(9, prompt_nano_per_million=10**6, completion_nano_per_million=10**6)


def shop(**policy: Any) -> Snapshot:
    """North is fast and dear, south slow and cheap."""
    made = snapshot()
    deployments = tuple(
        structs.replace(one, price=CHEAP) if one.provider == "south" else one
        for one in made.deployments
    )
    return structs.replace(made, deployments=deployments, policies=(Policy(1, 1, "a/m", **policy),))


def ticket_of(catalog: Snapshot, **fields: Any) -> Ticket:
    plan = make_plan(build_table(catalog), Grant(1, 7), chat(**fields))
    return make_ticket(plan, sizes=SizePredictor(), expires_s=1e9, excluded=frozenset())


async def served_by(line: Line, **fields: Any) -> str:
    return (await line.call(**fields)).headers["x-route-worker-pool"]


async def test_the_cheapest_serves_who_asks_for_it() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop())
    assert await served_by(line) == "one"
    assert await served_by(line, provider={"sort": "price"}) == "two"
    assert await served_by(line, model="a/m:floor") == "two"
    assert await served_by(line, model="a/m:nitro") == "one"


async def test_the_cheapest_must_meet_the_deadline() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop())
    # The cheap one's benchmark says nine seconds.
    assert await served_by(line, provider={"sort": "price", "deadline_ms": 5_000}) == "one"
    assert await served_by(line, provider={"sort": "price", "deadline_ms": 20_000}) == "two"


async def test_what_is_too_dear_is_left_out() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop())
    assert await served_by(line, provider={"max_price": {"prompt": 0.5}}) == "two"
    assert {c.verdict for c in line.records[0].candidates} == {"chosen", "too_dear"}
    with pytest.raises(NothingEligible, match="max_price"):
        await line.call(provider={"max_price": {"completion": 0.0001}})


async def test_an_order_is_kept_while_it_makes_sense() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=snapshot())
    assert await served_by(line, provider={"order": ["north", "south"]}) == "one"
    wished = ticket_of(snapshot(), provider={"order": ["south"]})
    assert wished.penalty_s == {"1@one-0": 5.0, "1@one-1": 5.0, "2@two-0": 0.0}


async def test_a_policy_can_make_money_count() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop(usd_weight_s=1e9))
    assert await served_by(line) == "two"


async def test_a_request_that_cannot_be_in_time_is_refused_unbilled() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop())
    with pytest.raises(QueueFull, match="deadline") as refused:
        await _full(line, provider={"deadline_ms": 1, "only": ["south"]})
    assert refused.value.retry_after_s is not None
    assert line.records[-1].charge_nano == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_worker_is_stopped_when_the_deadline_passes_before_it_answers(
    stream: bool,
) -> None:
    never = asyncio.Event()
    line = Line(FakeUpstream(lambda _: [never] if stream else never))
    with pytest.raises(DeadlineExceeded, match="100 ms"):
        await line.call(stream=stream, provider={"deadline_ms": 100, "only": ["north"]})
    (record,) = line.records
    assert (record.outcome, record.http_status, record.charge_nano) == ("rejected", 408, 0)
    assert line.slots_taken == 0
    assert line.unresolved_nano == 0


async def _full(line: Line, **fields: Any) -> None:
    """Fill the slow provider, then call."""
    never = asyncio.Event()
    line.upstream.script = lambda _: [never]
    running = [
        asyncio.create_task(line.call(stream=True, provider={"only": ["south"]})) for _ in range(5)
    ]
    await until(lambda: line.slots_taken == 5)
    try:
        await line.call(**fields)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize(
    "wish",
    [{"sort": "beauty"}, {"priority": "royal"}, {"deadline_ms": -1}, {"preferred_max_latency": 0}],
)
async def test_a_wish_that_makes_no_sense_is_refused_by_name(wish: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid, match=next(iter(wish))):
        chat(provider=wish)


async def test_wishes_reach_the_scheduler() -> None:
    wishes = {"sort": "latency", "priority": "batch", "deadline_ms": 500}
    made = ticket_of(snapshot(), provider={**wishes, "preferred_max_latency": 2.5})
    assert (made.sort, made.priority, made.preferred_s) == (Sort.LATENCY, "batch", 2.5)
    assert made.deadline_s == pytest.approx(made.arrived_s + 0.5)
    assert made.tenant == 1


async def test_sizes_are_told_by_what_is_known_before_a_call_runs() -> None:
    request = chat(messages=["x" * 4_000], max_tokens=8)
    assert size_features(request) == (pytest.approx(1_001), 8.0)


async def test_prompts_that_begin_alike_share_their_first_blocks() -> None:
    one, other = (prefix_blocks(chat(messages=["x" * 2_000 + end])) for end in ("a", "b"))
    assert one[:3] == other[:3]
    assert one[-1] != other[-1]
    assert prefix_blocks(chat()) == ()
