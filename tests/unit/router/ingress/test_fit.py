"""What cannot fit a model is refused before anything is held or placed, in the dialect asked in."""

from typing import Any

import msgspec
import pytest
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.catalog import Deployment, Model
from router.domain.pricing import Usage
from router.ports.upstream import Answer
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, PRICE, FakeUpstream, Line, snapshot

AUTH = {"authorization": f"Bearer {KEY}"}
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PYTHON = ("NoneType", "KeyError", "TypeError", "object is not", "Traceback", "list indices", "str`")


def shop(**fields: Any) -> Snapshot:
    """A chat model of text, and one of embeddings on workers that also speak chat."""
    made = snapshot()
    chat, *others = made.models
    chat = structs.replace(chat, takes=(), **fields)
    return structs.replace(
        made,
        models=(chat, *others, Model("a/e", "embeddings", "1", 0)),
        deployments=(*made.deployments, Deployment(4, "a/e", "north", 21, "one", "e", PRICE)),
    )


def line_of(catalog: Snapshot) -> Line:
    body = {"model": "a/m", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    answer = Answer(msgspec.json.encode(body), "application/json", Usage(1, 1), "stop")
    return Line(FakeUpstream(lambda _: answer), catalog=catalog)


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "f"}}


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": user(IMAGE)}, "messages"),
        (CHAT, {"messages": user({"image_url": "https://x"})}, "messages"),
        (CHAT, {"messages": user(AUDIO)}, "messages"),
        (CHAT, {"messages": user(FILE)}, "messages"),
        (CHAT, {"messages": user({"type": "video_url", "video_url": {"url": "x"}})}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": None}, "messages"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": {"role": "user", "content": "hi"}}, "messages"),
        (CHAT, {"messages": ["hi"]}, "messages"),
        (CHAT, {"messages": [None]}, "messages"),
        (CHAT, {"messages": [{"content": "hi"}]}, "messages"),
        (CHAT, {"messages": [{"role": 5, "content": "hi"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages"),
        (CHAT, {"messages": user(5)}, "messages"),
        (CHAT, {"messages": user({"type": "text"})}, "messages"),
        (CHAT, {"messages": user({"type": "text", "text": 5})}, "messages"),
        (CHAT, {"messages": user({"type": "image_url"})}, "messages"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages"),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages",
        ),
        (CHAT, {"messages": HI, "tools": {}}, "tools"),
        (CHAT, {"messages": HI, "tools": ["f"]}, "tools"),
        (CHAT, {"messages": HI, "tools": [{"type": "function"}]}, "tools"),
        (CHAT, {"messages": HI, "tools": [{"type": "function", "function": {}}]}, "tools"),
        (CHAT, {"messages": HI, "tools": [{"function": {"name": ""}}]}, "tools"),
        (CHAT, {"messages": HI, "tools": [{"function": {"name": "f", "parameters": 5}}]}, "tools"),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": 5}, "tool_choice"),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        (CHAT, {"messages": HI, "tools": [TOOL], "tool_choice": {}}, "tool_choice"),
        (
            CHAT,
            {"messages": HI, "tools": [TOOL], "tool_choice": {"function": {"name": "g"}}},
            "tool_choice",
        ),
        (CHAT, {"messages": HI, "response_format": "json"}, "response_format"),
        (CHAT, {"messages": HI, "response_format": {}}, "response_format"),
        (CHAT, {"messages": HI, "response_format": {"type": 5}}, "response_format"),
        (CHAT, {"messages": HI, "response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"messages": HI, "stop": 5}, "stop"),
        (CHAT, {"messages": HI, "n": 0}, "n"),
        (CHAT, {"messages": HI, "n": True}, "n"),
        (CHAT, {"messages": HI, "max_tokens": 0}, "max_tokens"),
        (CHAT, {"messages": HI, "max_tokens": -1}, "max_tokens"),
        (CHAT, {"messages": HI, "max_tokens": True}, "max_tokens"),
        (CHAT, {"messages": HI, "max_completion_tokens": 0, "max_tokens": 5}, "max_completion"),
        (CHAT, {"messages": HI, "stream": 1}, "stream"),
        (CHAT, {"messages": HI, "provider": {"deadline_ms": True}}, "provider"),
        (CHAT, {"messages": HI, "provider": []}, "provider"),
        (CHAT, {"messages": HI, "models": [None]}, "models"),
        ("/v1/completions", {"prompt": None}, "prompt"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/completions", {"prompt": [[]]}, "prompt"),
        ("/v1/completions", {"prompt": ["a", 1]}, "prompt"),
        ("/v1/completions", {"prompt": [True]}, "prompt"),
        ("/v1/completions", {"prompt": [-1]}, "prompt"),
        ("/v1/completions", {"prompt": {}}, "prompt"),
        ("/v1/embeddings", {"input": "x"}, "model"),
        ("/v1/embeddings", {"model": "a/e", "input": []}, "input"),
        ("/v1/embeddings", {"model": "a/e", "input": ""}, "input"),
        ("/v1/embeddings", {"model": "a/e", "input": [None]}, "input"),
        ("/v1/embeddings", {"model": "a/e", "input": {"text": "x"}}, "input"),
        (CHAT, {"model": "a/e", "messages": HI}, "model"),
        ("/v1/completions", {"model": "a/e", "prompt": "x"}, "model"),
        (CHAT, {"model": "a/t", "messages": HI}, "model"),
    ],
)
async def test_what_cannot_fit_is_refused_before_it_is_held_or_placed(
    path: str, fields: dict[str, Any], param: str
) -> None:
    line = line_of(shop())
    async with calling(line) as client:
        answer = await client.post(path, json={"model": "a/m", **fields}, headers=AUTH)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["param"].startswith(param)
    assert not any(word in error["message"] for word in PYTHON), error["message"]
    assert not line.upstream.called
    assert not line.records
    assert not sum(line.ledger.held.values())


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": HI, "n": None, "max_tokens": None, "stop": None, "stream": None},
        {"messages": HI, "tools": None, "tool_choice": None, "response_format": None},
        {"messages": HI, "stream_options": {"include_usage": None}, "models": None},
        {"messages": HI, "provider": {"order": None, "priority": None, "max_price": None}},
        {"messages": HI, "provider": None, "seed": None, "user": None, "logit_bias": None},
        {"messages": HI, "tools": [TOOL], "tool_choice": {"function": {"name": "f"}}},
        {"messages": HI, "tools": [TOOL], "tool_choice": "required"},
        {"messages": HI, "tools": [{"type": "custom", "custom": {"name": "c"}}]},
        {"messages": HI, "response_format": {"type": "grammar", "value": "x"}},
        {"messages": user({"type": "new_kind", "whatever": 5})},
        {"messages": [*HI, {"role": "assistant", "content": None, "tool_calls": None}]},
        {"messages": [{"role": "user", "content": "hi", "name": None, "new": {"x": 1}}]},
        {"model": None, "models": ["a/m"], "messages": HI},
    ],
)
async def test_what_is_null_or_unknown_passes(fields: dict[str, Any]) -> None:
    line = line_of(shop())
    async with calling(line) as client:
        answer = await client.post(CHAT, json={"model": "a/m", **fields}, headers=AUTH)
    assert answer.status_code == 200, answer.text
    assert line.upstream.called


@pytest.mark.parametrize("takes", [None, ("audio", "image")])
async def test_parts_that_a_model_takes_pass(takes: tuple[str, ...] | None) -> None:
    catalog = shop()
    models = tuple(structs.replace(model, takes=takes) for model in catalog.models)
    line = line_of(structs.replace(catalog, models=models))
    async with calling(line) as client:
        body = {"model": "a/m", "messages": user(IMAGE, AUDIO)}
        assert (await client.post(CHAT, json=body, headers=AUTH)).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": [{"role": "user", "content": " " * 3_000_000}]}, "messages"),
        (CHAT, {"messages": user(*[{"type": "text", "text": "x" * 9_999}] * 40)}, "messages"),
        ("/v1/completions", {"prompt": "x" * 3_000_000}, "prompt"),
        ("/v1/completions", {"prompt": [[1], [5] * 2_049]}, "prompt"),
    ],
)
async def test_a_prompt_that_no_vocabulary_makes_short_enough_is_refused_before_it_is_placed(
    path: str, fields: dict[str, Any], param: str
) -> None:
    line = line_of(shop(context_tokens_max=2_048))
    async with calling(line) as client:
        answer = await client.post(path, json={"model": "a/m", **fields}, headers=AUTH)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["code"] == "context_length_exceeded"
    assert not line.upstream.called


async def test_a_prompt_that_may_fit_passes() -> None:
    line = line_of(shop(context_tokens_max=2_048))
    spaces = [{"role": "user", "content": " " * 2_048 * 128}]
    async with calling(line) as client:
        body: dict[str, Any] = {"model": "a/m", "messages": spaces}
        assert (await client.post(CHAT, json=body, headers=AUTH)).status_code == 200
        body = {"model": "a/m", "prompt": "x" * 900_000, "truncate_prompt_tokens": 9}
        assert (await client.post("/v1/completions", json=body, headers=AUTH)).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_tokens": True},
        {"max_tokens": None},
        {"max_tokens": 1.5},
        {"max_tokens": "5"},
        {"messages": []},
        {"messages": None},
        {"messages": "hi"},
        {"messages": [5]},
        {"messages": [{"content": "hi"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": user({"text": "x"})},
        {"messages": user({"type": "text"})},
        {"messages": user({"type": "text", "text": None})},
        {"messages": user("x")},
        {"messages": user({"type": "image"})},
        {"messages": user({"type": "image", "source": {}})},
        {"messages": user({"type": "image", "source": {"type": "base64"}})},
        {"messages": user({"type": "image", "source": {"type": "url", "url": "https://x"}})},
        {"messages": user({"type": "tool_result"})},
        {"messages": user({"type": "tool_result", "tool_use_id": 5, "content": "x"})},
        {"messages": user({"type": "tool_result", "tool_use_id": "x", "content": [5]})},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "x"}]}]},
        {"system": 5},
        {"system": [5]},
        {"system": [{"type": "text"}]},
        {"tools": 5},
        {"tools": [{"name": "f"}]},
        {"tools": [{"input_schema": {}}]},
        {"tools": [5]},
        {"tool_choice": "auto"},
        {"tool_choice": {}},
        {"tool_choice": {"type": "tool"}},
        {"tool_choice": {"type": "sometimes"}},
        {"tool_choice": {"type": "tool", "name": "g"}},
        {"stop_sequences": 5},
        {"metadata": {"user_id": 5}},
    ],
)
async def test_a_message_that_does_not_fit_is_refused_in_words_of_its_dialect(
    fields: dict[str, Any],
) -> None:
    line = line_of(shop())
    body = {"model": "a/m", "max_tokens": 5, "messages": HI, **fields}
    async with calling(line) as client:
        answer = await client.post(MESSAGES, json=body, headers=AUTH)
    assert answer.status_code == 422, answer.text
    received = answer.json()
    assert (received["type"], received["error"]["type"]) == ("error", "invalid_request_error")
    assert next(iter(fields)) in received["error"]["message"]
    assert not any(word in received["error"]["message"] for word in PYTHON), received
    assert not line.upstream.called


@pytest.mark.parametrize(
    "fields",
    [
        {"system": None, "tools": None, "tool_choice": None, "metadata": None, "stream": None},
        {"stop_sequences": None, "temperature": None, "metadata": {"user_id": None}},
        {"tools": [{"name": "f", "input_schema": {}, "description": None, "type": None}]},
        {"messages": user({"type": "tool_result", "tool_use_id": "x", "content": None})},
        {"messages": [*HI, {"role": "assistant", "content": [{"type": "thinking"}]}]},
    ],
)
async def test_nulls_in_a_message_count_as_absent(fields: dict[str, Any]) -> None:
    line = line_of(shop())
    body = {"model": "a/m", "max_tokens": 5, "messages": HI, **fields}
    async with calling(line) as client:
        answer = await client.post(MESSAGES, json=body, headers=AUTH)
    assert answer.status_code == 200, answer.text
