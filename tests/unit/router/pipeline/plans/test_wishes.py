"""What a caller may wish for, and what a policy weighs."""

import asyncio
import time
from typing import Any

import pytest
from msgspec import structs

from router.contracts.record import UsageRecord
from router.contracts.snapshot import Snapshot
from router.domain.catalog import Canary, Policy
from router.domain.errors import DeadlineExceeded, NothingEligible, QueueFull, RequestInvalid
from router.domain.money import Purse
from router.domain.pricing import Price
from router.domain.request import Sort
from router.pipeline.plans.eligibility import required_parameters
from router.pipeline.plans.plan import make_plan, make_ticket
from router.pipeline.plans.routing_table import Grant, build_table
from router.pipeline.plans.sizing import prefix_blocks, session_of, size_features
from router.pipeline.recorders.history import Histories
from router.ports.upstream import Answer
from router.scheduling.estimates.size import SizePredictor
from router.scheduling.estimates.tokens import TokenEstimates
from router.scheduling.ticket import Ticket
from tests.unit.router.pipeline.line import (
    NOTHING_LEARNED,
    USED,
    FakeUpstream,
    Line,
    chat,
    snapshot,
    until,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")


def said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


CHEAP = Price(9, prompt_nano_per_million=10**6, completion_nano_per_million=10**6)


def shop(**policy: Any) -> Snapshot:
    """North is fast and dear, south slow and cheap."""
    made = snapshot()
    deployments = tuple(
        structs.replace(deployment, price=CHEAP) if deployment.provider == "south" else deployment
        for deployment in made.deployments
    )
    return structs.replace(made, deployments=deployments, policies=(Policy(1, 1, "a/m", **policy),))


class _NoRecorder:
    def admit(self) -> None:
        """Always."""

    def append(self, record: UsageRecord) -> None:
        """Nobody asks."""


NO_RECORDER = _NoRecorder()


def ticket_of(catalog: Snapshot, histories: Histories | None = None, **fields: Any) -> Ticket:
    plan = make_plan(
        build_table(catalog),
        Grant(1, Purse(7)),
        chat(**fields),
        holding=NOTHING_LEARNED,
        hardware_max_s=600.0,
    )
    return make_ticket(
        plan,
        sizes=SizePredictor(),
        tokens=TokenEstimates(),
        histories=histories or Histories(NO_RECORDER, clock=time.time),
        expires_s=1e9,
        excluded=frozenset(),
    )


async def served_by(line: Line, **fields: Any) -> str:
    return (await line.call(**fields)).headers["x-route-worker-pool"]


async def test_the_cheapest_serves_who_asks_for_it() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop())
    assert await served_by(line) == "one"
    assert await served_by(line, provider={"sort": "price"}) == "two"
    for suffix, pool in {
        "floor": "two",
        "cheapest": "two",
        "nitro": "one",
        "fastest": "one",
    }.items():
        assert await served_by(line, model=f"a/m:{suffix}") == pool
        assert await served_by(line, model=f"m:{suffix}") == pool


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


@pytest.mark.parametrize(
    ("hidden", "wish"),
    [
        ("cached_nano_per_million", {"prompt": 0.5}),
        ("reasoning_nano_per_million", {"completion": 0.5}),
    ],
)
async def test_a_limit_holds_for_all_tokens_of_its_side(
    hidden: str, wish: dict[str, float]
) -> None:
    """Answers are mostly thoughts with some models, and prompts mostly cached in long chats."""
    made = shop()
    dear = structs.replace(CHEAP, id=10, **{hidden: 10**12})
    deployments = tuple(
        structs.replace(one, price=dear if one.provider == "south" else CHEAP)
        for one in made.deployments
    )
    line = Line(
        FakeUpstream(lambda _: ANSWER), catalog=structs.replace(made, deployments=deployments)
    )
    assert await served_by(line, provider={"max_price": wish}) == "one"
    with pytest.raises(NothingEligible, match="max_price"):
        await line.call(provider={"max_price": wish, "only": ["south"]})


@pytest.mark.parametrize(
    ("wish", "verdict"),
    [
        ({"quantizations": ["fp8", "bf16"]}, "quantization"),
        ({"data_collection": "deny"}, "data_collection"),
        ({"require_parameters": True}, "parameters"),
    ],
)
async def test_a_provider_without_what_is_asked_for_is_left_out(
    wish: dict[str, Any], verdict: str
) -> None:
    made = snapshot()
    traits: dict[str, dict[str, Any]] = {
        "north": {"quantization": "int4", "parameters": ("max_tokens",), "collects_data": True},
        "south": {"quantization": "fp8", "parameters": ("max_tokens", "tools")},
    }
    deployments = tuple(
        structs.replace(deployment, **traits[deployment.provider])
        for deployment in made.deployments
    )
    line = Line(
        FakeUpstream(lambda _: ANSWER), catalog=structs.replace(made, deployments=deployments)
    )
    assert await served_by(line, tools=[]) == "one"
    assert await served_by(line, tools=[], provider=wish) == "two"
    verdicts = {(c.pool, c.verdict) for c in line.records[-1].candidates}
    assert verdicts == {("one", verdict), ("two", "chosen")}
    with pytest.raises(NothingEligible, match=next(iter(wish))):
        await line.call(tools=[], provider={**wish, "ignore": ["south"]})


async def test_parameters_that_nobody_named_are_not_asked_for() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=snapshot())
    with pytest.raises(NothingEligible, match="require_parameters"):
        await line.call(provider={"require_parameters": True})
    fields = dict(
        chat(
            provider={"require_parameters": True},
            user="u",
            session_id="s",
            prompt_cache_key="k",
            stream=True,
        ).fields
    )
    del fields["max_tokens"]
    request = structs.replace(chat(provider={"require_parameters": True}), fields=fields)
    assert required_parameters(request) == frozenset()


@pytest.mark.parametrize(
    ("wish", "slow"),
    [
        ({"preferred_min_throughput": 50}, "one"),
        ({"preferred_min_throughput": {"p90": 50}}, "one"),
        ({"preferred_min_throughput": {"p50": 5, "p99": 5}}, None),
        ({"preferred_max_latency": {"p90": 1.5}}, "one"),
        ({"preferred_max_latency": {"p75": 60, "p90": 60}}, None),
    ],
)
async def test_a_provider_that_was_lately_too_slow_is_set_back(
    wish: dict[str, Any], slow: str | None
) -> None:
    histories = Histories(NO_RECORDER, clock=lambda: 1_000.0)
    for number in range(10):
        histories.of(1).answered(999.0, first_byte_s=1.0 + number, tokens_per_s=10.0 + number)
        histories.of(2).answered(999.0, first_byte_s=0.1, tokens_per_s=100.0)
    made = ticket_of(snapshot(), histories, provider=wish)
    set_back = {id_ for id_, seconds in made.penalty_s.items() if seconds}
    assert set_back == ({"1@one-0", "1@one-1"} if slow else set())
    nothing_known = ticket_of(snapshot(), provider=wish)
    assert not any(nothing_known.penalty_s.values())


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
        await _full(line, provider={"deadline_ms": 500, "only": ["south"]})
    assert refused.value.retry_after_s is not None
    assert [record.charge_nano for record in line.records if record.outcome == "rejected"] == [0]


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
    [
        {"sort": "beauty"},
        {"priority": "royal"},
        {"deadline_ms": -1},
        {"deadline_ms": 24 * 60 * 60 * 1_000 + 1},
        {"preferred_max_latency": 0},
        {"preferred_min_throughput": {"p50": -1}},
        {"data_collection": "maybe"},
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_by_name(wish: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalid, match=next(iter(wish))):
        chat(provider=wish)


async def test_a_deadline_may_be_a_day_away() -> None:
    assert chat(provider={"deadline_ms": 86_400_000}).wishes.deadline_ms == 86_400_000


async def test_wishes_reach_the_scheduler() -> None:
    wishes = {"sort": "latency", "priority": "batch", "deadline_ms": 500}
    made = ticket_of(snapshot(), provider={**wishes, "preferred_max_latency": 2.5})
    assert (made.sort, made.priority, made.preferred_s) == (Sort.LATENCY, "batch", 2.5)
    assert made.deadline_s == pytest.approx(made.arrived_s + 0.5)
    assert made.tenant == 1


async def test_sizes_are_told_by_what_is_known_before_a_call_runs() -> None:
    request = chat(messages=[said("x" * 4_000)], max_tokens=8)
    assert size_features(request) == (pytest.approx(1_007.5), 8.0)


@pytest.mark.parametrize("field", ["session_id", "prompt_cache_key", "user"])
async def test_a_session_is_its_tenants_and_its_models(field: str) -> None:
    one, same, other = (session_of(chat(**{field: name}), 1) for name in ("s", "s", "t"))
    assert one == same != other
    assert session_of(chat(**{field: "s"}), 2) != one
    assert session_of(chat(**{field: "s"}, model="b/m"), 1) != one
    for nothing in (None, ""):
        assert session_of(chat(**{field: nothing}), 1) == 0


async def test_the_narrowest_word_for_a_session_counts() -> None:
    def session(**fields: str) -> int:
        return session_of(chat(**fields), 1)

    assert session(user="u", prompt_cache_key="k", session_id="s") == session(session_id="s")
    assert session(user="u", prompt_cache_key="k") == session(prompt_cache_key="k")


async def test_only_a_prompt_that_a_cache_may_hold_is_of_a_session() -> None:
    long = [said("x" * 1_000)]
    assert ticket_of(shop(), messages=long, user="u").session
    assert ticket_of(shop(), messages=long).session == 0
    assert ticket_of(shop(), user="u").session == 0


async def test_prompts_that_begin_alike_share_their_first_blocks() -> None:
    one, other = (
        prefix_blocks(chat(messages=[said("x" * 2_000 + 600 * end)])) for end in ("a", "b")
    )
    assert one[:7] == other[:7]
    assert one[-1] != other[-1]
    assert prefix_blocks(chat()) == ()


async def test_the_blocks_of_a_chat_are_those_of_its_next_turn_too() -> None:
    turns = [said("x" * 1_000), said("y" * 700), said("z" * 900)]
    before, after = prefix_blocks(chat(messages=turns[:2])), prefix_blocks(chat(messages=turns))
    assert len(before) == 6
    assert after[:6] == before


async def test_a_policy_under_trial_gets_its_share_of_the_requests() -> None:
    tried = Policy(2, 2, "a/m", hedge_share=0.0)
    table = build_table(structs.replace(shop(), canaries=(Canary(tried, 0.25),)))
    arms = [
        make_plan(
            table,
            Grant(1, Purse(7)),
            structs.replace(chat(), id=f"0199-{number * 2**20:012x}"),
            holding=NOTHING_LEARNED,
            hardware_max_s=600.0,
        ).policy
        for number in range(4096)
    ]
    assert {policy.id for policy in arms} == {1, 2}
    assert sum(policy is tried for policy in arms) == 1024


async def test_what_may_cost_more_than_any_ledger_can_hold_is_refused_with_a_word() -> None:
    dear = Price(9, completion_nano_per_million=10**16)
    catalog = shop()
    catalog = structs.replace(
        catalog,
        models=tuple(structs.replace(model, completion_tokens_max=0) for model in catalog.models),
        deployments=tuple(
            structs.replace(deployment, price=dear) for deployment in catalog.deployments
        ),
    )
    ticket_of(catalog, max_tokens=2**20)
    with pytest.raises(RequestInvalid, match="may cost up to") as refused:
        ticket_of(catalog, max_tokens=2**31, n=16)
    assert refused.value.param == "max_tokens"
