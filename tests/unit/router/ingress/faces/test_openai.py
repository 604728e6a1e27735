"""What is read of a body: what to hold credit for, and what cannot be read."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from router.contracts.snapshot import Snapshot
from router.domain.errors import RequestInvalid
from router.domain.pricing import Price, Usage
from router.domain.request import InferenceRequest, Kind
from router.ingress.faces.messages import request as messages
from router.ingress.faces.openai import IMAGE_TOKENS_MAX, TEMPLATE_TOKENS_MAX
from router.ports.upstream import Answer
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, FakeUpstream, Line, snapshot

PNG = "data:image/png;base64," + "QUJD" * 500
LINK = "https://pictures.example/" + "x" * 500
IMAGE_NANO = 5_000
AUTH = {"authorization": f"Bearer {KEY}"}


def parsed(body: bytes, kind: Kind = Kind.CHAT) -> InferenceRequest:
    return parse_call(kind, body, request_id="r", explain=False, arrived_s=0.0, created_at_ms=0)


def chat(*urls: str, **fields: Any) -> dict[str, Any]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "what is this?"}, *images]
    return {"model": "a/m", "messages": [{"role": "user", "content": content}], **fields}


def shop() -> Snapshot:
    """Images have a price here."""
    made = snapshot()
    price = Price(9, prompt_nano_per_million=10**9, image_nano=IMAGE_NANO)
    deployments = tuple(structs.replace(deployment, price=price) for deployment in made.deployments)
    return structs.replace(made, deployments=deployments)


def answering(used: Usage | None) -> Line:
    body = {"model": "a/m", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    answer = Answer(msgspec.json.encode(body), "application/json", used, "stop")
    return Line(FakeUpstream(lambda _: answer), catalog=shop())


@pytest.mark.parametrize("url", [PNG, LINK])
def test_an_image_is_held_for_by_itself_and_not_by_the_length_of_its_address(url: str) -> None:
    none, one, two = (parsed(msgspec.json.encode(chat(*[url] * n))) for n in range(3))
    assert (none.bound.images, one.bound.images, two.bound.images) == (0, 1, 2)
    apart = one.bound.prompt_tokens - none.bound.prompt_tokens
    assert IMAGE_TOKENS_MAX < apart < IMAGE_TOKENS_MAX + 100
    assert two.bound.prompt_tokens - one.bound.prompt_tokens == pytest.approx(apart, abs=2)
    assert one.prompt_bytes - none.prompt_bytes < 100


@pytest.mark.parametrize(
    "part",
    [
        b'{"type":"image_url","image_url":"https://x"}',
        b'{"type":"image_url","image\\u005furl":{"url":"https://x"}}',
        b'{"image_url" : {"detail":"low","url":"https://x"}}',
    ],
)
def test_an_image_counts_however_it_is_written(part: bytes) -> None:
    body = b'{"model":"a/m","messages":[{"role":"user","content":[%b]}]}' % part
    assert parsed(body).bound.images == 1


def test_talk_about_images_is_no_image() -> None:
    said = chat()
    said["messages"][0]["content"] = '{"image_url": "https://x"} caf\u00e9 \\u00e9'
    assert parsed(msgspec.json.encode(said)).bound.images == 0


async def test_images_are_charged_by_their_price_and_are_on_record() -> None:
    line = answering(Usage(prompt_tokens=2_000, completion_tokens=1))
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD" * 500}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "what is this?"}]
    message = {"model": "a/m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    async with calling(line) as client:
        for path, body in (("/v1/chat/completions", chat(LINK)), ("/v1/messages", message)):
            answer = await client.post(path, json=body, headers=AUTH)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-cost-nano-usd"] == str(2_000 * 1_000 + IMAGE_NANO)
    for record in line.records:
        assert (record.images, record.prompt_tokens) == (1, 2_000)
        # What an image is worth is learned, down from the most that it may be.
        assert record.hold_nano >= 0.9 * IMAGE_TOKENS_MAX * 1_000 + IMAGE_NANO


async def test_images_of_an_answer_without_usage_are_charged_too() -> None:
    line = answering(None)
    async with calling(line) as client:
        await client.post("/v1/chat/completions", json=chat(LINK, PNG), headers=AUTH)
    assert line.records[0].images == 2
    assert line.records[0].charge_nano == 2 * IMAGE_NANO


def test_tools_and_schemas_are_held_for_since_templates_put_them_into_the_prompt() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 4_000}}
    plain, tooled = (
        parsed(msgspec.json.encode(chat())),
        parsed(msgspec.json.encode(chat(tools=[tool]))),
    )
    assert tooled.bound.prompt_tokens - plain.bound.prompt_tokens > 4_000
    assert tooled.prompt_tokens - plain.prompt_tokens > 1_000
    wanted = {"type": "json_schema", "json_schema": {"x": "y" * 4_000}}
    schema = parsed(msgspec.json.encode(chat(response_format=wanted)))
    assert schema.bound.prompt_tokens > 4_000 + TEMPLATE_TOKENS_MAX


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("one", 2), (["one"], 2), (["one", "two", "three"], 6), ([1, 2, 3], 2), ([[1, 2], [3]], 4)],
)
def test_each_prompt_of_a_completion_is_answered_as_often_as_asked(
    prompt: Any, choices: int
) -> None:
    body = msgspec.json.encode({"model": "a/m", "prompt": prompt, "n": 2})
    assert parsed(body, Kind.COMPLETION).choices_asked == choices


DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a/\xff","messages":[]}',
        b'{"model":"a/m","messages":[],"\xff":1}',
        b'{"model":"a/m","messages":[],"x":%b}' % DEEP,
        b'{"model":"a/m","messages":[{"content":[{"image_url":%b}]}]}' % DEEP,
        b'{"model":"a/m","messages":[{"content":[{"image_url":5}]}]}',
        b'{"model":"a/m","messages":[],"provider":{"deadline_ms":1%b}}' % (b"0" * 400),
        b'{"model":"a/m","messages":[],"n":1%b}' % (b"0" * 400),
        b"",
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        parsed(body)


NAMES = st.sampled_from(["type", "role", "content", "text", "image_url", "source", "input"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(ANYTHING)
def test_whatever_the_messages_are_they_are_read_or_refused(said: Any) -> None:
    body = msgspec.json.encode({"model": "a/m", "max_tokens": 1, "messages": said, "tools": said})
    for make in (lambda: body, lambda: messages.chat_body(body)):
        with contextlib.suppress(RequestInvalid):
            parsed(make())
