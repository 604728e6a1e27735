"""Requests, chunks and answers of the Responses API."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import openai
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.ingress.faces.chat import SHAPE
from router.ingress.faces.face import Arrival
from router.ingress.faces.openai import parse_call
from router.ingress.faces.responses.answer import ResponseStream, response_of
from router.ingress.faces.responses.request import read_request
from router.ingress.faces.responses.resource import Resource
from tests.unit.router.pipeline.line import KEY

ASK: dict[str, Any] = {"model": "a/m", "input": "hi"}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "cost": 0.25,
}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chat(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(read_request(msgspec.json.encode(ASK | fields)).chat)
    return made


def resource(**fields: Any) -> Resource:
    read = read_request(msgspec.json.encode(ASK | fields))
    call = parse_call(SHAPE, read.chat, Arrival("0192-ab", 0.0, 5_000))
    return Resource("0192ab", call.model, 5, read.asked)


def whole(message: dict[str, Any], finish: str = "stop", **fields: Any) -> Response:
    body = {
        "model": "a/m",
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": USAGE,
    }
    made = response_of(msgspec.json.encode(body), resource(**fields))
    return Response.model_validate_json(made, strict=True)


def chunk(finish: str | None = None, **said: Any) -> bytes:
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({"model": "a/m", "choices": [choice]}) + b"\n\n"


def usage_chunk() -> bytes:
    body = {"model": "a/m", "choices": [], "usage": USAGE}
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def piece(index: int, id_: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    return {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}


def told(chunks: Iterable[bytes], **fields: Any) -> list[Any]:
    """The events of a stream, as OpenAI's client reads them."""
    stream = ResponseStream(resource(**fields))
    text = b"".join(stream.feed(data) for data in chunks) + stream.end()
    assert text.endswith(b"data: [DONE]\n\n")
    found = []
    for block in text.split(b"\n\n")[:-2]:
        name, data = block.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == len(found)
        found.append(EVENT.validate_json(data.removeprefix(b"data: "), strict=True))
    return found


def client_of(base: object, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)
