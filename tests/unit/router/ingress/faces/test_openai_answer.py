"""Answers in OpenAI's dialect, and the errors that may take their place."""

import json

import pytest

from router.contracts.openai_error import TYPES
from router.domain import errors
from router.domain.errors import CallError
from router.ingress.errors import ANTHROPIC_TYPES
from router.ingress.faces.openai_answer import OpenAIClient
from router.ingress.http.exchange import Headers
from tests.unit.router.pipeline.line import chat

REPORT = {"worker": "w"}


class FakeSink:
    """Keeps the bytes of an answer."""

    def __init__(self) -> None:
        self.body = b""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.body = body

    async def start_stream(self, headers: Headers) -> None:
        assert not self.body

    async def send(self, chunk: bytes) -> None:
        self.body += chunk

    async def end_stream(self, last: bytes = b"") -> None:
        self.body += last

    @property
    def events(self) -> list[bytes]:
        assert self.body.endswith(b"\n\n")
        return [part.removeprefix(b"data: ") for part in self.body[:-2].split(b"\n\n")]


async def streamed(error: CallError | None = None, report: dict | None = None) -> list[bytes]:
    sink = FakeSink()
    client = OpenAIClient(sink, chat())
    await client.start_stream([("x-request-id", "served"), ("x-route-model", "its/model")])
    await client.send(b"data: one\n\ndata: two\n\n")
    await client.end_stream(error, report)
    return sink.events


@pytest.mark.parametrize(("content_type", "is_told"), [("application/json", True), ("x/y", False)])
async def test_a_whole_answer_has_its_route_as_a_field_where_it_is_json(
    content_type: str, is_told: bool
) -> None:
    sink = FakeSink()
    await OpenAIClient(sink, chat()).answer([("content-type", content_type)], b'{"a":1}', REPORT)
    assert json.loads(sink.body) == ({"a": 1, "route": REPORT} if is_told else {"a": 1})


async def test_a_stream_ends_with_done() -> None:
    assert await streamed() == [b"one", b"two", b"[DONE]"]


async def test_an_explained_stream_tells_its_route_in_a_last_chunk_without_choices() -> None:
    one, two, received, done = await streamed(report=REPORT)
    assert (one, two, done) == (b"one", b"two", b"[DONE]")
    chunk = json.loads(received)
    assert (chunk["choices"], chunk["route"]) == ([], REPORT)
    assert (chunk["id"], chunk["model"]) == ("served", "its/model"), "of the model that answered"


async def test_a_stream_that_an_error_ends_has_it_last_and_is_not_done() -> None:
    received = json.loads((await streamed(errors.CreditUsedUp("top up")))[-1])
    assert received["error"]["code"] == "credit_used_up"
    assert received["error"]["message"] == "top up"


def test_each_error_has_a_word_in_each_dialect() -> None:
    kinds = [var for var in vars(errors).values() if isinstance(var, type)]
    found = [kind for kind in kinds if issubclass(kind, CallError) and kind is not CallError]
    assert len(found) > 25
    for result in found:
        assert result.status in TYPES, result
        assert result.status < 500 or result.status in ANTHROPIC_TYPES, result
        assert result.code != CallError.code, result
