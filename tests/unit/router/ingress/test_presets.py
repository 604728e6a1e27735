"""What a call says by the name of a preset, in each dialect."""

from typing import Any

import msgspec
import pytest

from router.contracts.snapshot import Snapshot, decode_snapshot, encode_snapshot
from router.domain.catalog import Preset
from router.domain.errors import PresetUnknown, RequestInvalid
from router.domain.money import Purse
from router.ingress.presets import applied
from router.pipeline.plans.routing_table import Grant, build_table
from router.ports.upstream import Answer
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, snapshot

GRANT = Grant(1, Purse(7))
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
USER = {"role": "user", "content": "hi"}
PRESETS = (
    Preset(1, "brief", 3, "a/m", "Be brief.", '{"temperature":0.2,"max_tokens":50}'),
    Preset(1, "open", 1, "", "", '{"provider":{"sort":"price"}}'),
    Preset(2, "theirs", 1, "a/m"),
)


def with_presets() -> Snapshot:
    # As routers have it: through JSON.
    return decode_snapshot(encode_snapshot(msgspec.structs.replace(snapshot(), presets=PRESETS)))


def said(body: dict[str, Any], path: str = CHAT) -> tuple[dict[str, Any], str]:
    merged, asked = applied(build_table(with_presets()), GRANT, path, msgspec.json.encode(body))
    return msgspec.json.decode(merged), asked


def test_a_preset_gives_model_instructions_and_fields() -> None:
    body, asked = said({"model": "@preset/brief", "messages": [USER], "stream": True})
    assert body == {
        "model": "a/m",
        "messages": [{"role": "system", "content": "Be brief."}, USER],
        "temperature": 0.2,
        "max_tokens": 50,
        "stream": True,
    }
    assert asked == "@preset/brief@3"


def test_what_a_call_says_itself_is_stronger() -> None:
    own = [{"role": "developer", "content": "Be long."}, USER]
    body, _ = said({"model": "b/m@preset/brief", "messages": own, "max_tokens": 9})
    assert body == {"model": "b/m", "messages": own, "temperature": 0.2, "max_tokens": 9}


@pytest.mark.parametrize(("path", "field"), [(MESSAGES, "system"), (RESPONSES, "instructions")])
def test_each_dialect_has_its_place_for_instructions(path: str, field: str) -> None:
    assert said({"model": "@preset/brief"}, path)[0][field] == "Be brief."
    assert said({"model": "@preset/brief", field: "Mine."}, path)[0][field] == "Mine."


@pytest.mark.parametrize(
    "body",
    [
        {"model": "a/m", "messages": [{"role": "user", "content": "what is @preset/brief?"}]},
        {"model": 3, "messages": "@preset/"},
        {"messages": "@preset/"},
    ],
)
def test_a_body_that_names_none_stays_as_it_is(body: dict[str, Any]) -> None:
    assert said(body) == (body, "")


@pytest.mark.parametrize("messages", ["hi", [], [3], None])
def test_messages_that_do_not_fit_are_left_to_their_face(messages: object) -> None:
    assert said({"model": "@preset/brief", "messages": messages})[0]["messages"] == messages


def test_without_any_model_it_is_said_how_to_name_one() -> None:
    with pytest.raises(RequestInvalid, match="call author/slug@preset/open"):
        said({"model": "@preset/open"})
    assert said({"model": "a/m@preset/open"})[0]["provider"] == {"sort": "price"}


@pytest.mark.parametrize("name", ["theirs", "none", "", "brief@3"])
def test_anothers_preset_is_as_unknown_as_none(name: str) -> None:
    with pytest.raises(PresetUnknown, match="your organisation has no preset"):
        said({"model": f"@preset/{name}"})


async def test_a_call_is_served_and_recorded_by_its_presets_version() -> None:
    answer = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
    line = Line(FakeUpstream(lambda _: answer), catalog=with_presets())
    headers = {"authorization": f"Bearer {KEY}"}
    body = {"model": "@preset/brief", "messages": [USER]}
    escaped = msgspec.json.encode(body).replace(b"/", b"\\/")  # As PHP writes JSON.
    async with calling(line) as client:
        served = await client.post(CHAT, json=body, headers=headers)
        served_too = await client.post(CHAT, content=escaped, headers=headers)
        refused = await client.post(
            MESSAGES, json=body | {"model": "@preset/theirs", "max_tokens": 9}, headers=headers
        )
        counted = await client.post(f"{MESSAGES}/count_tokens", json=body, headers=headers)
    for answered, record in zip((served, served_too), line.records, strict=True):
        assert answered.headers["x-route-asked"] == "@preset/brief@3"
        assert (record.model, record.asked) == ("a/m", "@preset/brief@3")
        assert record.charge_nano > 0
    assert refused.status_code == 404
    assert refused.json()["error"]["type"] == "not_found_error"
    assert counted.status_code == 200
