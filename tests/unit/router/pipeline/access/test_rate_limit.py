"""Limits of keys and organisations: alone, in a call's life, and among several routers."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Limit, Organisation, RateLimits
from router.domain.errors import CreditExhausted, RateLimited
from router.pipeline.access import rate_limit
from router.pipeline.access.rate_limit import Permit, RateLimiter
from router.ports.upstream import Answer, UpstreamFailed
from tests.unit.router.pipeline.line import USED, FakeUpstream, Line, snapshot, until
from tests.unit.router.pipeline.routers import Clock, Router, meeting

ANSWER = Answer(b"{}", "application/json", USED)


def limited(
    requests: int = 0, tokens: int = 0, calls: int = 0, nano: int = 0, scope: str = "key:1"
) -> tuple[Limit, ...]:
    return (Limit(scope, RateLimits(requests, tokens, calls, nano), "this key is", "pooled"),)


async def test_a_minutes_worth_at_once_and_then_as_it_is_refilled() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    mine = limited(requests=6)
    for _ in range(6):
        await limiter.admit(mine, 0)
    with pytest.raises(RateLimited, match=r"limited to 6 requests a minute; try again in 10.0 s"):
        await limiter.admit(mine, 0)
    clock.now_s = 9.9
    with pytest.raises(RateLimited) as refused:
        await limiter.admit(mine, 0)
    assert refused.value.retry_after_s == 1
    clock.now_s = 10.1
    await limiter.admit(mine, 0)


async def test_a_refused_call_is_charged_to_nobody() -> None:
    limiter = RateLimiter(Clock())
    organisation = limited(requests=100, tokens=100, scope="org:1")
    used_up = limited(requests=1)
    await limiter.admit(used_up, 0)
    for _ in range(3):
        with pytest.raises(RateLimited):
            await limiter.admit((*organisation, *used_up), 5)
    left = dict((await limiter.admit(organisation, 0)).headers())
    assert left["x-ratelimit-remaining-requests"] == "99"
    assert left["x-ratelimit-remaining-tokens"] == "100"


async def test_tokens_are_charged_by_what_was_used_in_the_end() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    mine = limited(tokens=600)
    permit = await limiter.admit(mine, 100)
    assert dict(permit.headers())["x-ratelimit-remaining-tokens"] == "500"
    permit.end(800)
    permit.end(800)
    with pytest.raises(RateLimited, match=r"600 tokens a minute; try again in 30.0 s"):
        await limiter.admit(mine, 100)
    clock.now_s = 30.1
    (await limiter.admit(mine, 100)).end(0)
    assert dict((await limiter.admit(mine, 0)).headers())["x-ratelimit-remaining-tokens"] == "101"


async def test_dollars_are_those_held_and_then_those_charged() -> None:
    clock = Clock()
    limiter = RateLimiter(clock)
    mine = limited(nano=86_400)
    first = await limiter.admit(mine, 0, 50_000)
    await limiter.admit(mine, 0, 50_000)
    with pytest.raises(RateLimited, match=r"limited to \$0.0000864 a day; try again in 13601.0 s"):
        await limiter.admit(mine, 0, 1)
    first.end(0, 10_000)
    await limiter.admit(mine, 0, 26_400)
    with pytest.raises(RateLimited):
        await limiter.admit(mine, 0, 1)
    clock.now_s = 1.1
    await limiter.admit(mine, 0, 1)


async def test_beyond_the_bound_new_scopes_count_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limit, "METERS_MAX", 2)
    limiter = RateLimiter(Clock())
    for scope in ("a", "b", "c"):
        await limiter.admit(limited(requests=1, scope=scope), 0)
    with pytest.raises(RateLimited):
        await limiter.admit(limited(requests=1, scope="d"), 0)


async def test_a_call_larger_than_the_limit_waits_for_a_full_bucket() -> None:
    limiter = RateLimiter(Clock())
    (await limiter.admit(limited(tokens=10), 5_000)).end(5_000)
    with pytest.raises(RateLimited):
        await limiter.admit(limited(tokens=10), 1)


async def test_a_changed_limit_is_in_force_at_once() -> None:
    limiter = RateLimiter(Clock())
    await limiter.admit(limited(calls=1), 0)
    with pytest.raises(RateLimited, match="1 calls at once"):
        await limiter.admit(limited(calls=1), 0)
    await limiter.admit(limited(calls=2), 0)
    await limiter.admit(limited(calls=3, requests=1), 0)


async def test_a_limit_that_was_taken_away_limits_nobody() -> None:
    limiter = RateLimiter(Clock())
    await limiter.admit(limited(requests=1, tokens=1, calls=9), 1)
    for _ in range(5):
        await limiter.admit(limited(calls=9), 1)


@given(st.lists(st.floats(0, 20), max_size=60), st.integers(1, 20))
def test_no_stretch_of_time_sees_more_than_a_minutes_worth_and_its_own(
    gaps: list[float], limit: int
) -> None:
    async def run() -> list[float]:
        clock = Clock()
        limiter = RateLimiter(clock)
        admitted: list[float] = []
        for gap in gaps:
            clock.now_s += gap
            try:
                await limiter.admit(limited(requests=limit), 0)
            except RateLimited:
                continue
            admitted.append(clock.now_s)
        return admitted

    admitted = asyncio.run(run())
    for i, start_s in enumerate(admitted):
        for n, end_s in enumerate(admitted[i:], start=1):
            assert n <= limit * (1 + (end_s - start_s) / 60) + 1e-6


# In the life of a call


def shop(limits: RateLimits, organisation: RateLimits | None = None) -> Snapshot:
    """The usual catalog, with limits on its only key and on the key's organisation."""
    base = snapshot()
    return structs.replace(
        base,
        keys=(structs.replace(base.keys[0], limits=limits),),
        organisations=(Organisation(1, organisation),) if organisation else (),
    )


async def test_an_answer_tells_what_is_left() -> None:
    catalog = shop(RateLimits(requests_per_minute=10), RateLimits(4, tokens_per_minute=1_000))
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    client = await line.call()
    assert client.headers["x-ratelimit-limit-requests"] == "4"
    assert client.headers["x-ratelimit-remaining-requests"] == "3"
    assert client.headers["x-ratelimit-reset-requests"].endswith("s")
    assert client.headers["x-ratelimit-remaining-tokens"] == str(1_000 - USED.tokens)


async def test_a_call_without_limits_says_nothing_of_them() -> None:
    client = await Line(FakeUpstream(lambda _: ANSWER)).call()
    assert not [name for name in client.headers if name.startswith("x-ratelimit")]


async def test_the_organisation_is_limited_too() -> None:
    catalog = shop(RateLimits(), RateLimits(requests_per_minute=1))
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    await line.call()
    with pytest.raises(RateLimited, match="this organisation is limited to 1 requests a minute"):
        await line.call()
    assert len(line.records) == 1


@pytest.mark.parametrize("ending", [ANSWER, UpstreamFailed("reset"), asyncio.CancelledError])
async def test_however_a_call_ends_its_place_is_free_again(ending: Any) -> None:
    script = asyncio.Event() if ending is asyncio.CancelledError else ending
    line = Line(FakeUpstream(lambda _: script), catalog=shop(RateLimits(calls_at_once=1)))
    for _ in range(3):
        call = asyncio.create_task(line.call())
        if ending is asyncio.CancelledError:
            await until(lambda: line.slots_taken > 0)
            call.cancel()
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert not isinstance(outcome, RateLimited)


async def test_a_call_without_credit_gives_its_place_back() -> None:
    catalog = shop(RateLimits(calls_at_once=1))
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog, funds_nano=0)
    for _ in range(2):
        with pytest.raises(CreditExhausted):
            await line.call()


# Among several routers


async def settled(*routers: Router, beats: int = 3) -> None:
    for _ in range(beats):
        for router in routers:
            await router.view.beat()


async def admitted(router: Router, limits: tuple[Limit, ...], times: int) -> list[Permit]:
    """What of so many calls is let in."""
    permits: list[Permit] = []
    for _ in range(times):
        try:
            permits.append(await router.limiter.admit(limits, 0))
        except RateLimited:
            break
    return permits


async def test_one_of_two_routers_may_use_a_limit_whole() -> None:
    left, right, _ = await meeting()
    mine = limited(requests=60, calls=7)
    assert len(await admitted(left, mine, 100)) == 7
    assert not await admitted(right, mine, 100)


async def test_two_routers_share_a_limit_by_what_is_asked_of_them() -> None:
    left, right, clock = await meeting()
    mine = limited(requests=600)
    total = len(await admitted(left, mine, 1_000))
    assert total == 600
    for second in range(60):
        clock.now_s = float(second)
        await settled(left, right, beats=1)
        total += len(await admitted(left, mine, 100)) + len(await admitted(right, mine, 100))
    assert 1_150 <= total <= 1_202


async def test_the_others_are_asked_once_and_not_by_every_call() -> None:
    left, _, _ = await meeting()
    asked = 0

    async def join() -> None:
        nonlocal asked
        asked += 1
        await left.view.beat()

    left.limiter.join = join
    await admitted(left, limited(requests=600), 50)
    assert asked == 1


async def test_a_limit_that_is_not_used_is_forgotten_and_one_in_use_is_not() -> None:
    """Beats tell the others of every limit that is known: keys that nobody uses must not add up."""
    clock = Clock()
    limiter = RateLimiter(clock)
    (await limiter.admit(limited(requests=60, scope="key:1"), 0)).end(0)
    running = await limiter.admit(limited(calls=2, scope="key:2"), 0)
    for _ in range(20):
        limiter.demands()
    # What was used of the first has not come back yet, and a call of the second still runs.
    assert {*limiter.demands()} >= {"rate:key:1", "calls:key:2"}
    clock.now_s = 3_600.0
    running.end(0)
    assert limiter.demands() == {}


async def test_without_the_database_each_takes_an_even_part() -> None:
    left, right, _ = await meeting()
    left.go_away()
    assert len(await admitted(left, limited(calls=4), 10)) == 2
    right.go_away()
    assert len(await admitted(right, limited(calls=4), 10)) == 2


@dataclass
class Running:
    """Calls that run on each of two routers."""

    left: list[Permit] = field(default_factory=list)
    right: list[Permit] = field(default_factory=list)


Step = tuple[str, str]
STEPS = st.tuples(st.sampled_from(["left", "right"]), st.sampled_from(["call", "end", "beat"]))


@given(st.lists(STEPS, max_size=80), st.integers(1, 6))
def test_no_order_of_calls_and_beats_lets_more_calls_run_than_allowed(
    steps: list[Step], limit: int
) -> None:
    async def run() -> None:
        left, right, _ = await meeting()
        running = Running()
        for name, step in steps:
            router = left if name == "left" else right
            permits: list[Permit] = getattr(running, name)
            if step == "call":
                permits += await admitted(router, limited(calls=limit), 1)
            elif step == "beat":
                await router.view.beat()
            elif permits:
                permits.pop().end(0)
            assert len(running.left) + len(running.right) <= limit

    asyncio.run(run())
