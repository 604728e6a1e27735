"""Responses that are kept: going on from them, asking for them, and who does not keep any."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import openai
import pytest

from router.adapters.memory_responses import MemoryResponseStore
from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Endpoint, Organisation
from router.domain.errors import LedgerUnavailable
from router.domain.keys import digest_key
from router.domain.request import InferenceRequest
from router.ports.responses import Turn
from router.ports.upstream import Answer, StreamPart
from router.settings import Limits
from tests.unit.router.ingress.faces.responses.wire import chunk, client_of, usage_chunk
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import ACCOUNT, KEY, PEPPER, USED, Line, snapshot

AUTH = {"authorization": f"Bearer {KEY}"}
OTHERS_KEY = "wp_live_others"
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
}


class Heard:
    """Answers every chat, and keeps the messages that it heard."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = iter(messages)
        self.chats: list[list[dict[str, Any]]] = []

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self._hear(request)
        said = next(self._messages, {"content": "ok"})
        body = {"model": "a/m", "choices": [{"message": said, "finish_reason": "stop"}]}
        return Answer(msgspec.json.encode(body), "application/json", USED, "stop")

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        self._hear(request)
        yield StreamPart(chunk(content="ok"), 1)
        yield StreamPart(chunk("stop") + usage_chunk(), 0, USED, "stop")
        yield StreamPart(b"", 0, done=True)

    async def probe(self, endpoint: Endpoint) -> None:
        raise AssertionError("nothing is probed here")

    def _hear(self, request: InferenceRequest) -> None:
        self.chats.append(msgspec.json.decode(request.fields["messages"]))


def shared(*, keeps: bool = True) -> Snapshot:
    """With a second organisation."""
    made = snapshot()
    other = ApiKey(6, digest_key(OTHERS_KEY, PEPPER), organisation_id=2, account_id=ACCOUNT)
    organisations = () if keeps else (Organisation(1, keeps_responses=False),)
    return msgspec.structs.replace(made, keys=(*made.keys, other), organisations=organisations)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def test_a_turn_goes_on_from_the_one_before_it() -> None:
    heard = Heard({"content": "hi Alice", "reasoning": "hm"})
    async with calling(Line(heard)) as http:
        client = client_of(http.base_url)
        first = await client.responses.create(
            model="a/m", input="I am Alice", instructions="be brief"
        )
        assert first.store is True
        async with client.responses.stream(
            model="a/m", input="who am I?", previous_response_id=first.id
        ) as stream:
            second = await stream.get_final_response()
        assert second.previous_response_id == first.id
        third = await client.responses.create(
            model="a/m", input="sure?", previous_response_id=second.id, store=False
        )
        assert third.store is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(third.id)
    said = [user("I am Alice"), {"role": "assistant", "content": "hi Alice"}, user("who am I?")]
    assert heard.chats[0] == [{"role": "system", "content": "be brief"}, user("I am Alice")]
    assert heard.chats[1] == said  # Instructions are of one turn.
    assert heard.chats[2] == [*said, {"role": "assistant", "content": "ok"}, user("sure?")]


async def test_the_result_of_a_tool_goes_on_from_its_call() -> None:
    heard = Heard({"content": None, "tool_calls": [CALL]})
    async with calling(Line(heard)) as http:
        client = client_of(http.base_url)
        first = await client.responses.create(model="a/m", input="weather?")
        result = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
        await client.responses.create(model="a/m", input=[result], previous_response_id=first.id)
        reference = {"type": "item_reference", "id": first.output[0].id}
        referring = await client.responses.create(
            model="a/m", input=[user("weather?"), reference, result]
        )
        await client.responses.create(
            model="a/m", input="and now?", previous_response_id=referring.id
        )
    expected = [
        user("weather?"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    ]
    assert heard.chats[1] == expected
    assert heard.chats[2] == expected
    assert heard.chats[3][:3] == expected


@pytest.mark.parametrize("fields", [{}, {"input": None}])
async def test_instructions_alone_are_a_turn_too(fields: dict[str, Any]) -> None:
    heard = Heard()
    asked = {"model": "a/m", "instructions": "Say hi."} | fields
    async with calling(Line(heard)) as http:
        made = await http.post("/v1/responses", json=asked, headers=AUTH)
        assert made.status_code == 200, made.text
        client, id_ = client_of(http.base_url), made.json()["id"]
        assert not (await client.responses.input_items.list(id_)).data
        await client.responses.create(model="a/m", input="and?", previous_response_id=id_)
    assert heard.chats[1] == [{"role": "assistant", "content": "ok"}, user("and?")]


async def test_an_item_cannot_be_named_until_it_fills_the_memory() -> None:
    heard = Heard({"content": "x" * 1_000})
    async with calling(Line(heard), Limits(body_bytes_max=4_000)) as http:
        client = client_of(http.base_url)
        made = await client.responses.create(model="a/m", input="hi")
        reference = {"type": "item_reference", "id": made.output[0].id}
        await client.responses.create(model="a/m", input=[reference] * 2)
        with pytest.raises(openai.APIStatusError, match="refers to") as refused:
            await client.responses.create(model="a/m", input=[reference] * 5)
        assert (refused.value.status_code, refused.value.param) == (413, "input")
    assert len(heard.chats) == 2


async def test_a_kept_response_is_read_listed_and_forgotten() -> None:
    async with calling(Line(Heard())) as http:
        client = client_of(http.base_url)
        made = await client.responses.create(model="a/m", input=[user("a"), user("b")])
        assert await client.responses.retrieve(made.id) == made
        items = await client.responses.input_items.list(made.id, limit=1, order="asc")
        assert [item.content[0].text for item in items.data] == ["a"]
        assert items.has_more
        everything = [item async for item in client.responses.input_items.list(made.id, limit=1)]
        assert [item.content[0].text for item in everything] == ["b", "a"]
        with pytest.raises(openai.UnprocessableEntityError, match="limit"):
            await client.responses.input_items.list(made.id, limit=0)
        with pytest.raises(openai.UnprocessableEntityError, match="over"):
            await client.responses.cancel(made.id)
        await client.responses.delete(made.id)
        for gone in (client.responses.retrieve(made.id), client.responses.delete(made.id)):
            with pytest.raises(openai.NotFoundError, match="keeps no response"):
                await gone
        with pytest.raises(openai.AuthenticationError):
            await client_of(http.base_url, "x").responses.retrieve(made.id)


async def test_another_organisation_finds_nothing_and_is_charged_nothing() -> None:
    heard = Heard()
    line = Line(heard, catalog=shared())
    async with calling(line) as http:
        made = await client_of(http.base_url).responses.create(model="a/m", input="secret")
        other = client_of(http.base_url, OTHERS_KEY)
        for asking in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await asking(made.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await other.responses.create(model="a/m", input="x", previous_response_id=made.id)
        assert refused.value.code == "previous_response_not_found"
        assert refused.value.param == "previous_response_id"
        reference = {"type": "item_reference", "id": made.output[0].id}
        with pytest.raises(openai.UnprocessableEntityError, match="not kept"):
            await other.responses.create(model="a/m", input=[reference])
    assert len(line.records) == len(heard.chats) == 1


async def test_an_organisation_may_keep_none() -> None:
    line = Line(Heard(), catalog=shared(keeps=False))
    async with calling(line) as http:
        client = client_of(http.base_url)
        made = await client.responses.create(model="a/m", input="hi", store=True)
        assert made.store is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="a/m", input="x", previous_response_id=made.id)


async def test_an_earlier_turn_that_is_gone_ends_the_conversation() -> None:
    async with calling(Line(Heard())) as http:
        client = client_of(http.base_url)
        first = await client.responses.create(model="a/m", input="one")
        second = await client.responses.create(
            model="a/m", input="two", previous_response_id=first.id
        )
        await client.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError, match="or one before it"):
            await client.responses.create(model="a/m", input="x", previous_response_id=second.id)


async def test_a_store_that_is_away_delays_nothing_but_what_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object, **__: object) -> Turn:
        raise LedgerUnavailable("away", retry_after_s=2)

    monkeypatch.setattr(MemoryResponseStore, "keep", away)
    monkeypatch.setattr(MemoryResponseStore, "turns", away)
    async with calling(Line(Heard())) as http:
        client = client_of(http.base_url)
        made = await client.responses.create(model="a/m", input="hi")
        assert made.output_text == "ok"
        with pytest.raises(openai.InternalServerError) as refused:
            await client.responses.create(model="a/m", input="x", previous_response_id=made.id)
        assert refused.value.code == "ledger_unavailable"
