"""What a call costs at most, as the router says, is what it refuses by and charges within."""

import asyncio
import random
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.money import format_usd
from router.domain.pricing import Price, Usage
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import Answer
from tests.examples import examples
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import ACCOUNT, KEY, FakeUpstream, Line, snapshot

AUTH = {"authorization": f"Bearer {KEY}"}
QUOTE = AUTH | {"x-route-quote": "1"}
CHAT = "/v1/chat/completions"
PRICES = st.builds(
    Price,
    st.just(9),
    *[st.integers(0, 10**10)] * 4,
    st.integers(0, 10**6),
    st.just(0),
    st.integers(0, 10**6),
)


def shop(price: Price, dearer: Price | None = None) -> Snapshot:
    made = snapshot()
    first, second, *others = made.deployments
    both = (structs.replace(first, price=price), structs.replace(second, price=dearer or price))
    return structs.replace(made, deployments=(*both, *others))


def asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "a/m", "messages": [{"role": "user", "content": text}], **fields}


async def quoted(client: httpx.AsyncClient, body: dict[str, Any], path: str = CHAT) -> Any:
    answer = await client.post(path, json=body, headers=QUOTE)
    assert answer.status_code == 200, answer.text
    return answer.json()


ANSWER = Answer(b'{"choices":[]}', "application/json", Usage(5, 0, 7), "stop", own_tokens=7)


@hypothesis_settings(max_examples=examples(15))
@given(
    PRICES,
    PRICES,
    st.text(max_size=200),
    st.integers(1, 200),
    st.integers(1, 3),
    st.lists(st.integers(1, 3_000), max_size=30),
)
def test_at_most_is_what_a_call_is_refused_by_and_never_exceeded(
    price: Price,
    dearer: Price,
    text: str,
    max_tokens: int,
    n: int,
    learned: list[int],
) -> None:
    body = asked(text, max_tokens=max_tokens, n=n)

    async def history() -> None:
        used = Usage(random.Random(max_tokens).randint(0, 10**5), 0, 10**5)
        answer = structs.replace(ANSWER, usage=used, own_tokens=10**5)
        catalog = shop(price, structs.replace(dearer, id=10))
        line = Line(FakeUpstream(lambda _: answer), catalog=catalog, funds_nano=0)
        async with calling(line) as client:
            for prompt in learned:
                line.gateway.counts.observe(request_of(body), Usage(prompt, 0, 9), None)
            quote = await quoted(client, body)
            most = quote["most_nano_usd"]
            assert quote["needs_nano_usd"] == most
            assert quote["providers"][-1]["most_nano_usd"] == most
            if most:
                line.ledger.posted[ACCOUNT] = most - 1
                refused = await client.post(CHAT, json=body, headers=AUTH)
                assert refused.status_code == 402
                assert f"${format_usd(most)} has to be set aside for this call," in refused.text
            line.ledger.posted[ACCOUNT] = most
            assert (await client.post(CHAT, json=body, headers=AUTH)).status_code == 200
        (record,) = line.records
        assert record.charge_nano <= record.hold_nano == most

    asyncio.run(history())


def request_of(body: dict[str, Any]) -> InferenceRequest:
    return parse_call(
        Kind.CHAT,
        msgspec.json.encode(body),
        request_id="0193-test",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )


async def test_a_quote_runs_nothing_and_holds_nothing() -> None:
    upstream = FakeUpstream(lambda _: ANSWER)
    line = Line(upstream)
    async with calling(line) as client:
        quote = await quoted(client, asked("hello", max_tokens=8))
    assert (upstream.called, line.records, line.ledger.held) == ([], [], {})
    assert quote["most_completion_tokens"] == 8
    assert 0 < quote["prompt_tokens"] <= quote["most_prompt_tokens"]
    assert {provider["provider"] for provider in quote["providers"]} == {"north", "south"}


async def test_what_nobody_bounds_begins_with_less_than_it_may_cost() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=shop(Price(9, 0, 0, 10**9)))
    async with calling(line) as client:
        stream = await quoted(client, asked("hello", stream=True))
        bounded = await quoted(client, asked("hello", stream=True, max_tokens=100))
    assert stream["most_nano_usd"] == bounded["most_nano_usd"] == 100 * 1_000
    assert stream["needs_nano_usd"] <= stream["most_nano_usd"]


async def test_of_tensors_their_rows_are_enough() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    body = {"inputs": [{"name": "x", "shape": [3, 4], "datatype": "FP32"}]}
    async with calling(line) as client:
        quote = await quoted(client, body, "/v2/models/a/t/infer")
    assert (quote["rows"], quote["most_nano_usd"]) == (3, 300)


async def test_a_message_is_quoted_too_and_one_that_cannot_run_is_refused_alike() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        message = await quoted(client, asked("hello", max_tokens=9), "/v1/messages")
        assert message["most_completion_tokens"] == 9
        for body, status in ((asked("hi", model="a/none"), 404), ({"model": "a/m"}, 422)):
            assert (await client.post(CHAT, json=body, headers=QUOTE)).status_code == status
        assert (await client.post(CHAT, json=asked("hi"))).status_code == 401


@pytest.mark.parametrize("only", ["north", "south"])
async def test_a_wish_for_one_provider_is_quoted_by_its_price(only: str) -> None:
    catalog = shop(Price(9, request_nano=5), Price(10, request_nano=70))
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    async with calling(line) as client:
        quote = await quoted(client, asked("hi", provider={"only": [only]}))
    assert quote["most_nano_usd"] == {"north": 5, "south": 70}[only]
    assert [provider["provider"] for provider in quote["providers"]] == [only]
