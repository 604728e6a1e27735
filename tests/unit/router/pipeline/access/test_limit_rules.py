"""A key's limits of a model's calls and of each end user's, up to the error that a client gets."""

import msgspec
import pytest

from router.domain.catalog import LimitRule, RateLimits
from router.domain.money import Purse
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.pipeline.access.limit_rules import end_user_of, limits_by
from router.pipeline.plans.routing_table import Grant
from router.ports.upstream import Answer
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, snapshot

ONE = RateLimits(requests_per_minute=1)
ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")


def call(model: str = "a/m", end_user: str = "", **fields: object) -> InferenceRequest:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return InferenceRequest("id", Kind.CHAT, model, Usage(), 0.0, 0, fields=raw, end_user=end_user)


@pytest.mark.parametrize(
    ("request_", "user"),
    [
        (call(user="eve"), "eve"),
        (call(user="eve", end_user="header"), "header"),
        (call(user="", safety_identifier="hash"), "hash"),
        (call(user=None), ""),
        (call(user={"id": 7}), ""),
        (call(user=msgspec.Raw(b'"\xe9"')), ""),
        (call(), ""),
    ],
)
def test_an_end_user_is_named_by_the_header_or_the_body(
    request_: InferenceRequest, user: str
) -> None:
    assert end_user_of(request_) == user


def test_a_call_counts_under_the_rules_that_are_about_it() -> None:
    rules = (
        LimitRule("a/m", limits=ONE),
        LimitRule("b/m", limits=ONE),
        LimitRule("", each_user=True, limits=ONE),
        LimitRule("a/m", each_user=True, limits=ONE),
    )
    grant = Grant(1, Purse(7), key_id=5, rules=rules)
    eve, again, adam = (
        [limit.scope for limit in limits_by(grant, call(user=user))]
        for user in ("eve", "eve", "adam" * 9_000)
    )
    assert eve == again
    assert [scope.rpartition(":")[0] for scope in eve] == ["key:5", "key:5::user", "key:5:a/m:user"]
    assert eve[0] == adam[0]
    assert not set(eve[1:]) & set(adam[1:])
    assert max(map(len, adam)) < 40


async def test_who_is_over_a_limit_is_told_in_the_dialect_of_the_call() -> None:
    catalog = snapshot()
    rules = (LimitRule("a/m", each_user=True, limits=ONE),)
    key = msgspec.structs.replace(catalog.keys[0], rules=rules)
    line = Line(
        FakeUpstream(lambda _: ANSWER), catalog=msgspec.structs.replace(catalog, keys=(key,))
    )
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    async with calling(line) as client:
        for user in ("eve", "adam"):
            sent = body | {"user": user}
            served = await client.post("/v1/chat/completions", json=sent, headers=headers)
            assert served.status_code == 200
        refused = await client.post(
            "/v1/messages", json=body | {"metadata": {"user_id": "eve"}}, headers=headers
        )
        by_header = await client.post(
            "/v1/chat/completions", json=body, headers=headers | {"x-end-user": "adam"}
        )
    assert (refused.status_code, by_header.status_code) == (429, 429)
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert by_header.json()["error"]["message"].startswith(
        "each end user's calls of 'a/m' are limited to 1 requests a minute; try again in"
    )
    assert int(by_header.headers["retry-after"]) in range(55, 61)
    assert len(line.records) == 2
    assert line.unresolved_nano == 0
