"""What is held for a call: by its tokens, as its caller bounds it, and more while it runs."""

import asyncio
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.contracts.learned import LearnedCounts
from router.contracts.snapshot import Snapshot
from router.domain.catalog import Endpoint
from router.domain.errors import CreditExhausted, LedgerUnavailable
from router.domain.money import Purse
from router.domain.pricing import Price, Usage
from router.domain.request import InferenceRequest, Kind
from router.pipeline.holds.holding import ANSWER_TOKENS_MIN
from router.pipeline.plans.plan import make_plan
from router.pipeline.plans.routing_table import Grant, build_table
from router.pipeline.settlement.cover import HOLD_SLACK_TOKENS
from router.ports.bank import Shortage
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from tests.simulation.virtual_time import run as in_virtual_time
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    FUNDS_NANO,
    NOTHING_LEARNED,
    FakeClient,
    FakeUpstream,
    Line,
    chat,
    snapshot,
    until,
)

USUAL = Price(3, prompt_nano_per_million=10**8, completion_nano_per_million=4 * 10**8)
"""Ten cents for a million tokens in, forty for a million out."""

SHORT = [{"role": "user", "content": "Where is the nearest post office?"}]
TOKEN = StreamPart(b"data: x\n\n", 1)


def shop(longest: int = 4_096, price: Price = USUAL, dearer: Price | None = None) -> Snapshot:
    made = snapshot()
    return structs.replace(
        made,
        models=(structs.replace(made.models[0], completion_tokens_max=longest), made.models[1]),
        deployments=(
            structs.replace(made.deployments[0], price=price),
            structs.replace(made.deployments[1], price=dearer or price),
            made.deployments[2],
        ),
    )


def ended(tokens: int, prompt: int = 20) -> StreamPart:
    return StreamPart(b"data: end\n\n", 0, Usage(prompt, 0, tokens), "stop", done=True)


@pytest.mark.parametrize(
    ("longest", "fields", "least"),
    [
        # Before, with a byte held for as a token and the longest answer: 596, 22,727 and 301.
        (4_096, {"stream": True, "max_tokens": None}, 10_000),
        (4_096, {"stream": True, "max_tokens": 16}, 50_000),
        (0, {"stream": True, "max_tokens": None}, 10_000),
    ],
)
async def test_a_dollar_is_enough_for_many_short_calls_at_once(
    longest: int, fields: dict, least: int
) -> None:
    catalog = shop(longest)
    upstream = FakeUpstream(lambda _: [])
    line = Line(upstream, catalog=catalog, funds_nano=10**9, lease_nano=10**9)
    plan = make_plan(
        build_table(catalog),
        Grant(1, Purse(ACCOUNT)),
        chat(messages=SHORT, **fields),
        holding=NOTHING_LEARNED,
        hardware_max_s=600.0,
    )
    for _ in range(least):
        await line.vault.hold(Purse(ACCOUNT), plan.hold_nano)


async def test_a_hold_grows_with_its_stream_and_covers_all_of_it() -> None:
    line = Line(FakeUpstream(lambda _: [*[TOKEN] * 3_000, ended(3_000)]), catalog=shop())
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    assert client.body.count(b"data: x") == 3_000
    assert record.outcome == "completed"
    assert record.charge_nano == 20 * 100 + 3_000 * 400
    assert record.charge_nano <= record.hold_nano
    holds = [checkpoint.hold_nano for checkpoint in line.checkpoints]
    assert holds[0] < 500 * 400
    assert all(before <= after for before, after in pairwise(holds))
    assert all(checkpoint.charge_nano <= checkpoint.hold_nano for checkpoint in line.checkpoints)
    assert line.unresolved_nano == 0


async def test_a_stream_ends_when_nothing_more_can_be_paid_and_no_more_is_charged() -> None:
    funds = 500_000
    upstream = FakeUpstream(lambda _: [*[TOKEN] * 4_000, ended(4_000)])
    line = Line(upstream, catalog=shop(), funds_nano=funds)
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    assert client.ended_by == "credit_used_up"
    assert (record.outcome, upstream.closed) == ("truncated", 1)
    assert record.charge_nano <= record.hold_nano <= funds
    assert line.unresolved_nano == 0


async def test_what_is_held_of_one_lease_is_all_of_it_in_the_end() -> None:
    """Where the credit is one lease, a stream may use it up to some sixteen tokens."""
    funds = 500_000
    line = Line(
        FakeUpstream(lambda _: [TOKEN] * 4_000), catalog=shop(), funds_nano=funds, lease_nano=funds
    )
    line.gateway.counts.remember([LearnedCounts("a/m", stream=1.0)], [])
    await line.call(stream=True, max_tokens=None, messages=SHORT)
    assert line.records[0].hold_nano > funds - 20 * 400
    assert line.records[0].charge_nano > 0.9 * funds


async def test_no_stream_is_longer_than_its_model_allows_however_much_credit_there_is() -> None:
    line = Line(FakeUpstream(lambda _: [TOKEN] * 2_000), catalog=shop(500))
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    assert client.body == TOKEN.chunk * (500 + HOLD_SLACK_TOKENS + 1)
    assert client.ended_by == "hold_used_up"
    assert line.records[0].charge_nano <= line.records[0].hold_nano


async def test_a_hold_reaches_the_dearest_worker_that_failover_may() -> None:
    dear = structs.replace(USUAL, id=4, completion_nano_per_million=4 * 10**9)
    upstream = FakeUpstream(
        lambda e: (
            UpstreamFailed("reset")
            if e.worker.id.startswith("one")
            else [*[TOKEN] * 900, ended(900)]
        )
    )
    line = Line(upstream, catalog=shop(dearer=dear))
    await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    assert record.charge_nano == 20 * 100 + 900 * 4_000


class Listening(FakeUpstream):
    """Records the answer length that its workers were given."""

    told: int = 0

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self.told = request.bound.completion_tokens
        return await super().answer(request, endpoint)


async def test_a_whole_answer_that_nobody_bounds_is_as_long_as_there_is_credit_for() -> None:
    answer = Answer(b"{}", "application/json", Usage(20, 0, 30), "stop", own_tokens=30)
    rich = Listening(lambda _: answer)
    line = Line(rich, catalog=shop())
    await line.call(max_tokens=None, messages=SHORT)
    assert rich.told == 4_096
    poor = Listening(lambda _: answer)
    line = Line(poor, catalog=shop(), funds_nano=150_000)
    await line.call(max_tokens=None, messages=SHORT)
    assert ANSWER_TOKENS_MIN <= poor.told < 4_096
    (record,) = line.records
    assert record.charge_nano <= record.hold_nano <= 150_000
    broke = Line(Listening(lambda _: answer), catalog=shop(), funds_nano=50_000)
    with pytest.raises(CreditExhausted):
        await broke.call(max_tokens=None, messages=SHORT)


async def test_what_a_model_answers_is_what_the_next_call_holds() -> None:
    line = Line(FakeUpstream(lambda _: [*[TOKEN] * 20, ended(20)]), catalog=shop())
    for _ in range(60):
        await line.call(stream=True, max_tokens=None, messages=SHORT)
    first, *_, last = line.records
    assert last.hold_nano < first.hold_nano / 2
    assert last.charge_nano <= last.hold_nano


async def test_a_worker_that_counts_more_than_pieces_came_is_paid_while_credit_lasts() -> None:
    line = Line(FakeUpstream(lambda _: [*[TOKEN] * 100, ended(380)]), catalog=shop())
    await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    assert record.charge_nano == 20 * 100 + 380 * 400 <= record.hold_nano
    assert not line.gateway.unpaid["a/m"]


async def test_what_a_bounded_call_costs_beyond_its_hold_is_billed_to_nobody() -> None:
    answer = Answer(b"{}", "application/json", Usage(20, 0, 999), "stop", own_tokens=999)
    line = Line(FakeUpstream(lambda _: answer), catalog=shop())
    await line.call(max_tokens=16, messages=SHORT)
    (record,) = line.records
    assert record.charge_nano == record.hold_nano
    assert line.gateway.unpaid["a/m"] == 20 * 100 + 999 * 400 - record.charge_nano


async def test_a_client_that_leaves_while_a_hold_grows_leaves_nothing_held() -> None:
    line = Line(FakeUpstream(lambda _: [TOKEN] * 4_000), catalog=shop())
    asking = asyncio.Event()

    async def slow(*_: object) -> int:
        asking.set()
        await asyncio.Event().wait()
        return 0

    line.vault._bank.grow = slow  # type: ignore[method-assign]
    call = asyncio.create_task(line.call(stream=True, max_tokens=None, messages=SHORT))
    await asking.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert line.records[0].outcome == "client_gone"
    assert line.unresolved_nano == 0


@pytest.mark.parametrize("pieces", [[1] * 400, [400]])
async def test_a_stream_that_cannot_hold_more_as_the_ledger_is_away_is_not_told_to_pay(
    pieces: list[int],
) -> None:
    parts = [StreamPart(b"data: x\n\n" * size, size) for size in pieces]
    upstream = FakeUpstream(lambda _: [*parts, ended(400)])
    line = Line(upstream, catalog=shop())

    async def away(*_: object) -> int:
        raise LedgerUnavailable("the ledger cannot be reached, try again")

    line.vault._bank.grow = away  # type: ignore[method-assign]
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    assert client.ended_by == record.error == "ledger_unavailable"
    assert (record.outcome, upstream.closed, line.slots_taken) == ("truncated", 1, 0)
    assert 0 < record.completion_tokens == client.body.count(b"data: x") < 400
    assert record.charge_nano <= record.hold_nano
    assert line.unresolved_nano == 0
    assert not line.gateway.unpaid["a/m"]


async def test_a_stream_is_told_to_pay_by_the_last_that_was_said_of_its_credit() -> None:
    line = Line(FakeUpstream(lambda _: [*[TOKEN] * 400, ended(400)]), catalog=shop())
    away = [LedgerUnavailable("away"), LedgerUnavailable("away")]

    async def grow(*_: object) -> Shortage:
        if away:
            raise away.pop()
        return Shortage(0, 0, 0)

    line.vault._bank.grow = grow  # type: ignore[method-assign]
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    assert client.ended_by == "credit_used_up"


@pytest.mark.parametrize(
    ("kind_fields", "tokens"),
    [({"prompt": [1] * 900}, 900), ({"prompt": [[7, 8], [9]]}, 3), ({"prompt": "x" * 400}, 100)],
)
def test_listed_tokens_are_counted_not_their_digits(kind_fields: dict, tokens: int) -> None:
    call = parse_call(
        Kind.COMPLETION,
        msgspec.json.encode({"model": "a/m", **kind_fields}),
        request_id="0193-test",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )
    assert call.prompt_tokens == tokens


calls = st.lists(
    st.tuples(
        st.integers(0, 1_500),  # pieces
        st.integers(1, 3),  # tokens in each by the worker's count
        st.sampled_from([None, None, 8, 300]),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@given(calls, st.integers(0, 2_000_000), st.sampled_from([1, 50_000, 1_000_000]))
def test_streams_together_never_cost_more_than_there_is(
    asked: list[tuple[int, int, int | None, bool]], funds: int, lease_nano: int
) -> None:
    async def history() -> None:
        scripts = iter(asked)

        def answering(_: Endpoint) -> list[StreamPart]:
            pieces, each, _most, breaks = next(scripts)
            last = [] if breaks else [ended(pieces * each)]
            return [*[TOKEN] * pieces, *last]

        line = Line(
            FakeUpstream(answering), catalog=shop(), funds_nano=funds, lease_nano=lease_nano
        )
        running = [
            asyncio.create_task(
                line.call(stream=True, max_tokens=most, messages=SHORT, client=FakeClient())
            )
            for _, _, most, _ in asked
        ]
        await asyncio.gather(*running, return_exceptions=True)
        assert sum(record.charge_nano for record in line.records) <= funds
        for item in (*line.records, *line.checkpoints):
            assert 0 <= item.charge_nano <= item.hold_nano <= funds
        assert line.unresolved_nano == 0
        assert line.ledger.posted[ACCOUNT] >= line.ledger.held.get(ACCOUNT, 0)

    in_virtual_time(history())


async def test_the_slot_of_a_stream_out_of_credit_is_free() -> None:
    line = Line(FakeUpstream(lambda _: [TOKEN] * 4_000), catalog=shop(), funds_nano=300_000)
    await line.call(stream=True, max_tokens=None, messages=SHORT)
    await until(lambda: line.slots_taken == 0)
    assert FUNDS_NANO > line.records[0].charge_nano > 0


@pytest.mark.parametrize("pieces", [[400], [400, 400], [10, 390, 1], [399, 1]])
@pytest.mark.parametrize("ends", [False, True])
async def test_no_more_is_delivered_than_can_be_paid_however_large_its_pieces_are(
    pieces: list[int], ends: bool
) -> None:
    funds = 100 * 400 + 60_000
    last = [ended(sum(pieces))] if ends else []
    parts = [StreamPart(b"data: x\n\n" * size, size) for size in pieces]
    line = Line(FakeUpstream(lambda _: [*parts, *last]), catalog=shop(), funds_nano=funds)
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    (record,) = line.records
    delivered = client.body.count(b"data: x")
    assert client.ended_by == "credit_used_up"
    assert delivered * 400 <= funds
    assert record.completion_tokens == delivered
    assert funds - 400 < record.hold_nano <= funds
    assert record.hold_nano - record.charge_nano < 60_000
    assert not line.gateway.unpaid["a/m"]


async def test_the_whole_of_a_large_piece_is_held_before_it_is_delivered() -> None:
    parts = [StreamPart(b"data: x\n\n" * 3_000, 3_000), ended(3_000)]
    line = Line(FakeUpstream(lambda _: list(parts)), catalog=shop())
    client = await line.call(stream=True, max_tokens=None, messages=SHORT)
    assert client.body.count(b"data: x") == 3_000
    assert line.records[0].charge_nano == 20 * 100 + 3_000 * 400
    assert line.checkpoints[0].charge_nano <= line.checkpoints[0].hold_nano
    assert line.checkpoints[0].completion_tokens == 3_000
