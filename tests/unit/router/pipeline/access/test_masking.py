"""Personal data in a call: masked before a worker has it, where that is asked for, and counted."""

from typing import Any

import msgspec
import pytest
from msgspec import structs

from router.adapters.patterns import PatternDetector
from router.contracts.snapshot import Snapshot, decode_snapshot, encode_snapshot
from router.domain.catalog import Endpoint, LimitRule, Organisation, RateLimits
from router.domain.errors import RequestInvalid
from router.domain.request import InferenceRequest, Kind
from router.ingress.faces.responses.request import read_request
from router.pipeline.access.masking import TEXT_MAX, Masking
from router.ports.upstream import Answer
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, snapshot

MAIL, OTHER, CARD = "ana@example.com", "bob@example.com", "4111 1111 1111 1111"
BOTH = frozenset({"email", "card"})
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
encode = msgspec.json.Encoder().encode
HEADERS = {"authorization": f"Bearer {KEY}"}


def body(content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "a/m", "messages": [{"role": "user", "content": content}], **fields}


def masked(
    given: dict[str, Any], kinds: frozenset[str] = BOTH
) -> tuple[dict[str, Any], dict[str, int]]:
    call = Masking(PatternDetector()).marked(parse_call(Kind.CHAT, encode(given)), kinds)
    fields = {name: msgspec.json.decode(raw) for name, raw in call.fields.items()}
    return fields, dict(call.masked)


def test_the_same_value_has_the_same_mark_and_each_is_counted() -> None:
    said = f"{MAIL} wrote to {OTHER} about {CARD}; ask {MAIL}."
    fields, counts = masked(body(said))
    (message,) = fields["messages"]
    assert message["content"] == "[email-1] wrote to [email-2] about [card-1]; ask [email-1]."
    assert counts == {"email": 3, "card": 1}


def test_parts_and_arguments_of_tools_are_looked_through_but_no_media_and_no_names() -> None:
    image = {"type": "image_url", "image_url": {"url": f"https://x.example/?{MAIL}"}}
    call = {"id": MAIL, "type": "function", "function": {"name": "f", "arguments": f'"{MAIL}"'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": MAIL}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": MAIL, "content": f"for {MAIL}"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "description": MAIL}}]
    fields, counts = masked({"model": "a/m", "messages": messages, "tools": tools, "user": MAIL})
    user, assistant, tool = fields["messages"]
    assert user["content"] == [{"type": "text", "text": "[email-1]"}, image]
    assert assistant["tool_calls"][0]["function"]["arguments"] == '"[email-1]"'
    assert (tool["content"], tool["tool_call_id"]) == ("for [email-1]", MAIL)
    assert fields["tools"] == tools
    assert fields["user"] == "[email-1]", "a worker's operator may know no end user by name"
    assert counts == {"email": 4}


def test_only_what_is_asked_for_is_masked_and_the_rest_stays_byte_for_byte() -> None:
    given = encode(body(f"{MAIL} 1.50", seed=1.50))
    call = parse_call(Kind.CHAT, given)
    masking = Masking(PatternDetector())
    assert masking.marked(call, frozenset({"card"})) is call
    changed = masking.marked(call, BOTH)
    assert changed.fields["seed"] == call.fields["seed"]


def test_what_cannot_be_looked_through_is_refused_and_not_sent() -> None:
    deep: Any = MAIL
    for _ in range(200):
        deep = [deep]
    with pytest.raises(RequestInvalid, match="nested deeper"):
        masked(body("hi", documents=deep))


async def test_a_long_call_is_masked_too_and_one_too_long_is_refused() -> None:
    long = parse_call(Kind.CHAT, encode(body(f"{'x ' * 50_000}{MAIL}")))
    masking = Masking(PatternDetector())
    assert (await masking.masked(long, BOTH)).masked == (("email", 1),)
    longer = parse_call(Kind.CHAT, encode(body("x " * (TEXT_MAX // 2) + MAIL)))
    with pytest.raises(RequestInvalid, match="not looked through"):
        await masking.masked(longer, BOTH)


def masking(*organisation: str, key: tuple[str, ...] = ()) -> Snapshot:
    given = snapshot()
    keys = tuple(
        msgspec.structs.replace(row, masks=key, rules=(LimitRule("", True, RateLimits(1)),))
        for row in given.keys
    )
    organisations = (Organisation(1, masks=organisation),) if organisation else ()
    changed = msgspec.structs.replace(given, keys=keys, organisations=organisations)
    # As routers have it: through JSON.
    return decode_snapshot(encode_snapshot(changed))


class Listening(FakeUpstream):
    """Keeps what a worker is told."""

    def __init__(self) -> None:
        super().__init__(lambda _: Answer(b'{"choices":[]}', "application/json", USED, "stop"))
        self.heard: list[str] = []

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self.heard.append(encode(dict(request.fields)).decode())
        return await super().answer(request, endpoint)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (CHAT, body(f"I am {MAIL}")),
        (MESSAGES, body(f"I am {MAIL}", max_tokens=9)),
        (RESPONSES, {"model": "a/m", "input": f"I am {MAIL}", "store": False}),
    ],
)
@pytest.mark.parametrize("catalog", [masking("email"), masking(key=("email",))])
async def test_no_worker_hears_it_in_any_dialect_and_the_record_says_how_often(
    catalog: Snapshot, path: str, said: dict[str, Any]
) -> None:
    upstream = Listening()
    line = Line(upstream, catalog=catalog)
    async with calling(line) as client:
        served = await client.post(path, json=said, headers=HEADERS)
    assert served.status_code == 200, served.text
    assert served.headers["x-route-masked"] == "email=1"
    (heard,) = upstream.heard
    assert "I am [email-1]" in heard
    assert MAIL not in heard
    (record,) = line.records
    assert record.masked == "email=1"
    assert MAIL not in str(record)


async def test_who_did_not_ask_is_not_looked_at() -> None:
    class Never:
        def found(self, text: str, kinds: frozenset[str]) -> list[Any]:
            raise AssertionError("it was looked at")

    upstream = Listening()
    line = Line(upstream, catalog=snapshot())
    line.gateway._masking = Masking(Never())
    async with calling(line) as client:
        served = await client.post(CHAT, json=body(MAIL), headers=HEADERS)
    assert served.status_code == 200
    assert "x-route-masked" not in served.headers
    assert MAIL in upstream.heard[0]
    assert line.records[0].masked == ""


async def test_end_users_are_told_apart_though_no_worker_can() -> None:
    line = Line(Listening(), catalog=masking("email"))
    async with calling(line) as client:
        statuses = [
            (await client.post(CHAT, json=body("hi", user=user), headers=HEADERS)).status_code
            for user in (MAIL, OTHER, MAIL)
        ]
    assert statuses == [200, 200, 429]


def test_a_response_is_masked_in_both_of_its_words() -> None:
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "encrypted_content": MAIL,
        "content": [{"type": "reasoning_text", "text": f"{CARD} of {MAIL}"}],
    }
    items = [{"role": "user", "content": f"{OTHER}, {MAIL}"}, thought]
    wanted = {"format": {"type": "json_schema", "name": "x", "schema": {"enum": [MAIL]}}}
    read = read_request(encode({"model": "a/m", "input": items, "text": wanted}))
    made = structs.replace(parse_call(Kind.CHAT, read.chat), as_response=read.as_response)
    call = Masking(PatternDetector()).marked(made, BOTH)
    assert call.as_response is not None
    said = msgspec.json.decode(call.as_response.fields["input"])
    assert said[0]["content"] == "[email-1], [email-2]"
    assert said[1]["content"][0]["text"] == "[card-1] of [email-2]"
    assert said[1]["encrypted_content"] == MAIL
    assert msgspec.json.decode(call.as_response.fields["text"]) == wanted
    assert msgspec.json.decode(call.fields["messages"])[0]["content"] == "[email-1], [email-2]"
    assert dict(call.masked) == {"card": 1, "email": 3}
