"""Promises 3 and 5: nobody spends more than they have, and nobody with credit gets 402."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.domain.pricing import Price
from tests.chaos.clients import Seen, call
from tests.chaos.harness import SCALE
from tests.chaos.market import OWNED, SHARED, Market, market
from tests.chaos.processes import Database, Router
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

ROUTERS = 4
ROUNDS = int(SCALE)
CALLS = 500
FEW_CALLS = 50
FUNDED = 10
CALL_NANO = 1_000_000
TOKENS = 400
"""What each call of the second storm may generate at most. It generates a hundredth."""


@pytest.fixture
def poor_shop(mortal_database: Database, tmp_path: Path) -> Iterator[Market]:
    """A market whose customer has funds for ten calls."""
    with market(tmp_path, mortal_database.back(), FUNDED * CALL_NANO) as made:
        yield made


async def storm(routers: list[Router], calls: int = CALLS, **fields: object) -> list[Seen]:
    """Send all calls at once, over every router and both models."""
    return await asyncio.gather(
        *(
            call(
                routers[number % len(routers)].port,
                f"s{number}",
                model=(OWNED, SHARED)[number // len(routers) % 2],
                connect_s=PATIENCE_S,  # All of them want the one thread of this test.
                **fields,  # type: ignore[arg-type]
            )
            for number in range(calls)
        )
    )


async def test_3_500_calls_at_once_with_funds_for_10_are_exactly_10(poor_shop: Market) -> None:
    poor_shop.hire(2)
    poor_shop.publish(Price(1, request_nano=CALL_NANO))
    poor_shop.open(ROUTERS)
    for number in range(ROUNDS):
        if number:
            poor_shop.grant(FUNDED * CALL_NANO)
        log = await storm(poor_shop.routers)
        statuses = Counter(seen.status for seen in log)
        print(f"round {number}: {dict(statuses)}")
        assert statuses == {200: FUNDED, 402: CALLS - FUNDED}
    poor_shop.close()
    assert poor_shop.balance() == (0, 0)
    charges = [row["charge_nano"] for row in poor_shop.ledger().values()]
    assert Counter(charges) == {CALL_NANO: FUNDED * ROUNDS}


async def test_3_what_calls_held_and_did_not_cost_can_be_spent(poor_shop: Market) -> None:
    """Funds for ten holds, of each of which a hundredth is charged: a thousand calls' worth."""
    poor_shop.hire(2)
    poor_shop.publish(Price(1, completion_nano_per_million=CALL_NANO // TOKENS * 1_000_000))
    poor_shop.open(ROUTERS)
    spent = TOKENS // 100
    token_nano = CALL_NANO // TOKENS
    first = await storm(poor_shop.routers, tokens=spent, max_tokens=TOKENS)
    served = sum(seen.status == 200 for seen in first)
    assert {seen.status for seen in first} <= {200, 402}
    assert served >= FUNDED
    # In sequence, nobody is refused while the rest covers a hold.
    left = FUNDED * CALL_NANO - served * spent * token_nano
    later: list[Seen] = []
    for number in range(40):
        port = poor_shop.routers[number % ROUTERS].port
        assert left >= CALL_NANO
        later.append(await call(port, f"l{number}", spent, max_tokens=TOKENS))
        assert later[-1].status == 200, (number, later[-1].status, later[-1].body, left)
        left -= spent * token_nano
    # Until it no longer does.
    large = await call(poor_shop.routers[0].port, "large", spent, max_tokens=left // token_nano)
    assert large.status == 200, large.body
    left -= spent * token_nano
    more = await call(poor_shop.routers[-1].port, "more", 1, max_tokens=left // token_nano + 1)
    assert more.status == 402
    poor_shop.close()
    print(f"{served} of {CALLS} at once and {len(later)} more served, {left} nano left")
    assert poor_shop.balance() == (left, 0)


async def test_3_streams_that_nobody_bounds_run_as_far_as_credit_goes(poor_shop: Market) -> None:
    """Twice as much is asked for as can be paid, over every router at once."""
    poor_shop.hire(2)
    poor_shop.publish(Price(1, completion_nano_per_million=CALL_NANO // TOKENS * 1_000_000))
    poor_shop.open(ROUTERS)
    token_nano = CALL_NANO // TOKENS
    log = await storm(poor_shop.routers, 2 * FUNDED, tokens=TOKENS, stream=True, max_tokens=None)
    for seen in log:
        if seen.status == 200 and not seen.whole:
            assert b'"code":"credit_used_up"' in seen.body
        else:
            assert seen.status in (200, 402), seen.body
            assert seen.tokens == (TOKENS if seen.status == 200 else 0)
    poor_shop.close()
    rows = poor_shop.ledger().values()
    delivered = sum(seen.tokens for seen in log)
    charged = sum(row["charge_nano"] for row in rows)
    print(f"{delivered} tokens in {len(rows)} calls, {FUNDED * CALL_NANO - charged} nano left")
    assert charged == delivered * token_nano
    assert charged > 0.99 * FUNDED * CALL_NANO
    assert poor_shop.balance() == (FUNDED * CALL_NANO - charged, 0)


async def test_3_5_credit_that_a_dead_router_holds_is_503_until_it_is_settled(
    poor_shop: Market,
) -> None:
    """Half of the funds are with a router that is killed with a call in its journal."""
    poor_shop.hire(2)
    poor_shop.publish(Price(1, request_nano=CALL_NANO))
    poor_shop.open(2)
    dead, living = poor_shop.routers
    for number in range(ROUNDS):
        if number:
            poor_shop.grant(FUNDED * CALL_NANO)
        assert (await call(dead.port, "before", model=SHARED)).status == 200
        await asyncio.to_thread(dead.kill)
        log = await storm([living], FEW_CALLS)
        statuses = Counter(seen.status for seen in log)
        served = 1 + statuses[200]
        assert statuses.keys() == {200, 503}, statuses
        assert served < FUNDED
        for seen in log:
            if seen.status == 503:
                assert b"ledger_unavailable" in seen.body
                assert int(seen.headers["retry-after"]) >= 1
        dead.start()
        await asyncio.to_thread(dead.wait)
        while served < FUNDED:
            again = await call(poor_shop.routers[served % 2].port, "again", model=SHARED)
            assert again.status in (200, 503), (served, again.status, again.body)
            served += again.status == 200
        # No held credit is left that could return.
        assert {(await call(router.port, "poor")).status for router in (dead, living)} == {402}
        print(f"round {number}: {dict(statuses)} with a dead router, {served} in all")
    poor_shop.close()
    assert poor_shop.balance() == (0, 0)
    charges = [row["charge_nano"] for row in poor_shop.ledger().values()]
    assert Counter(charges) == {CALL_NANO: FUNDED * ROUNDS}
