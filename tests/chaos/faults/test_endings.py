"""The published rule for every outcome of a call, checked in the ledger.

Processes from end to end. A router that dies is in ``test_kills``.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.clients import call
from tests.chaos.market import TOKEN_NANO, Market, market
from tests.chaos.processes import Database
from tests.chaos.worker import produced
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

SLOTS = 2
QUEUE_MAX = 1
CREDIT_NANO = 10**10
DEAR_TOKENS = CREDIT_NANO // TOKEN_NANO + 1


@pytest.fixture(scope="module")
def one_shop(
    mortal_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Market]:
    home: Path = tmp_path_factory.mktemp("endings")
    with market(home, mortal_database.back(), CREDIT_NANO) as made:
        made.hire(2)
        made.publish(slots=SLOTS, hedge_share=1.0)
        made.open(1, queue_max=str(QUEUE_MAX), queue_wait_s="1")
        yield made
        made.close()
        posted, _ = made.balance()
        assert CREDIT_NANO - posted == sum(r["charge_nano"] for r in made.ledger().values())


class Counter:
    """Makes calls and looks up new rows in the ledger."""

    def __init__(self, shop: Market) -> None:
        self.shop = shop
        self.port = shop.routers[0].port
        self._known = set(shop.ledger())

    async def booked(self) -> tuple[str, int, dict[str, Any]]:
        """The outcome, the charged tokens and the row of the next new call."""
        async with asyncio.timeout(PATIENCE_S):
            while not (new := self.shop.ledger().keys() - self._known):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        id_ = min(new)
        self._known.add(id_)
        row = self.shop.ledger()[id_]
        assert row["charge_nano"] % TOKEN_NANO == 0
        return row["outcome"], row["charge_nano"] // TOKEN_NANO, row

    async def unbooked(self) -> None:
        """Nothing is on its way to the ledger: a later call is already there."""
        await call(self.port, "later", 1)
        assert (await self.booked())[0] == "completed"
        assert self.shop.ledger().keys() == self._known

    async def heard(self, name: str, what: str, times: int = 1) -> None:
        """The worker recorded this. ``test_promises`` covers how soon."""
        async with asyncio.timeout(PATIENCE_S):
            while produced(self.shop.log, what)[name] < times:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.fixture
async def counter(one_shop: Market) -> Counter:
    return Counter(one_shop)


async def test_completed_is_billed_by_usage(counter: Counter) -> None:
    plain = await call(counter.port, "plain", 7)
    outcome, tokens, row = await counter.booked()
    assert (outcome, tokens, row["request_id"]) == ("completed", 7, plain.id)
    assert plain.charge_nano == 7 * TOKEN_NANO
    stream = await call(counter.port, "stream", 70, stream=True)
    assert (stream.whole, stream.tokens) == (True, 70)
    assert (await counter.booked())[:2] == ("completed", 70)


async def test_without_usage_the_router_counts(counter: Counter) -> None:
    stream = await call(counter.port, "mute-stream", 70, "mute", stream=True)
    assert stream.whole
    assert (await counter.booked())[:2] == ("completed", 70)
    await call(counter.port, "mute-plain", 70, "mute")
    # A quarter of the answer's bytes, of which each token has two.
    assert (await counter.booked())[:2] == ("completed", 35)


async def test_a_client_that_leaves_a_stream_pays_for_what_was_delivered(counter: Counter) -> None:
    seen = await call(counter.port, "leaves", 24, "idle", stream=True, leave_after=24)
    await counter.heard("leaves", "cancelled")
    assert (await counter.booked())[:2] == ("client_gone", seen.tokens)


async def test_a_client_that_leaves_a_plain_call_pays_for_its_time(counter: Counter) -> None:
    await call(counter.port, "gone", 5, "wait", leave_after=0)
    await counter.heard("gone", "cancelled")
    outcome, tokens, _ = await counter.booked()
    assert outcome == "client_gone"
    assert 0 <= tokens <= 5  # How much follows from the clock is asserted where time is given.


async def test_a_worker_that_fails_before_its_first_byte_is_not_paid(counter: Counter) -> None:
    seen = await call(counter.port, "fails", 9, "fail")
    assert seen.status == 200
    outcome, tokens, row = await counter.booked()
    assert (outcome, tokens) == ("completed", 9)
    assert [attempt["outcome"] for attempt in row["attempts"]] == [
        "worker_failed:http_500",
        "completed",
    ]
    assert produced(counter.shop.log)["fails"] == 9


async def test_a_worker_that_fails_after_its_first_byte_is_paid_for_what_was_delivered(
    counter: Counter,
) -> None:
    seen = await call(counter.port, "tears", 24, "tear", stream=True)
    assert (seen.tokens, seen.whole) == (24, False)
    assert b"worker_failed" in seen.body
    assert (await counter.booked())[:2] == ("truncated", 24)


async def test_what_the_worker_finds_wrong_costs_nothing(counter: Counter) -> None:
    assert (await call(counter.port, "wrong", 5, "refuse")).status == 422
    assert (await counter.booked())[:2] == ("refused", 0)


async def test_a_deadline_that_passes_costs_nothing(counter: Counter) -> None:
    seen = await call(counter.port, "late", 5, "wait", provider={"deadline_ms": 1_000})
    assert seen.status == 408
    await counter.heard("late", "cancelled")
    assert (await counter.booked())[:2] == ("rejected", 0)


async def test_no_credit_and_no_worker_cost_nothing(counter: Counter) -> None:
    assert (await call(counter.port, "dear", 5, max_tokens=DEAR_TOKENS)).status == 402
    nobody = await call(counter.port, "nobody", 5, provider={"only": ["another-lab"]})
    assert nobody.status == 503
    await counter.unbooked()


async def test_no_room_costs_nothing(counter: Counter) -> None:
    made = (call(counter.port, f"crowd-{number}", 3, "wait") for number in range(6 * SLOTS))
    received = await asyncio.gather(*made)
    statuses = [seen.status for seen in received]
    assert set(statuses) == {200, 429}
    booked = [(await counter.booked())[:2] for _ in received]
    assert booked.count(("rejected", 0)) == statuses.count(429)
    assert booked.count(("completed", 3)) == statuses.count(200)


async def test_of_a_hedge_only_the_winner_is_paid(counter: Counter) -> None:
    for number in range(40):
        await call(counter.port, f"usual-{number}", 5)
        await counter.booked()
    seen = await call(counter.port, "hedged", 5, "lag")
    assert seen.status == 200
    await counter.heard("hedged", "cancelled")
    outcome, tokens, row = await counter.booked()
    assert (outcome, tokens) == ("completed", 5)
    assert sorted(attempt["outcome"] for attempt in row["attempts"]) == ["completed", "outrun"]
