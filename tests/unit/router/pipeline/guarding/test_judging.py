"""A guard's judgement: a call of its own before a call or after it, for who asked and no others."""

import asyncio
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from msgspec import structs

from router.domain.catalog import Endpoint, Guard, RateLimits
from router.domain.errors import DeadlineExceeded
from router.domain.request import InferenceRequest, Kind
from router.ingress.proxy.forward import Forwarder
from router.pipeline.guarding import judging
from router.pipeline.guarding.judging import GUARDRAIL
from router.pipeline.settlement.trace import Trace
from router.ports.upstream import Answer, StreamPart
from tests.unit.router.ingress.serving import calling
from tests.unit.router.ingress.two_routers import owned_elsewhere
from tests.unit.router.pipeline.guarding.shop import (
    GUARD,
    HEADERS,
    INPUT_NANO,
    Judge,
    catalog,
    encode,
)
from tests.unit.router.pipeline.line import COST_NANO, KEY, USED, Line, chat, until

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
BOTH = Guard(GUARD, answers=True)


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "a/m", "messages": [{"role": "user", "content": text}], **fields}


async def post(line: Line, body: dict[str, Any], path: str = CHAT) -> httpx.Response:
    async with calling(line) as client:
        return await client.post(path, json=body, headers=HEADERS)


async def test_who_does_not_ask_is_not_judged() -> None:
    judge = Judge()
    line = Line(judge, catalog=catalog(None))
    answer = await post(line, said("something bad"))
    assert answer.status_code == 200
    assert "x-route-guarded" not in answer.headers
    assert not judge.judged
    (record,) = line.records
    assert record.guarded == ""


async def test_a_call_and_its_answer_are_judged_each_by_a_call_of_its_own() -> None:
    judge = Judge()
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, said("something good"))
    assert answer.status_code == 200
    assert answer.headers["x-route-guarded"] == "input=passed, output=passed"
    assert judge.judged == [["something good"], ["a good answer"]]
    before, after, served = line.records
    assert [(row.kind, row.charge_nano) for row in line.records] == [
        ("moderation", INPUT_NANO),
        ("moderation", INPUT_NANO),
        ("chat", COST_NANO),
    ]
    assert served.guarded == "input=passed, output=passed"
    assert served.request_id == answer.headers["x-request-id"]
    assert before.asked == after.asked == GUARDRAIL
    assert before.why == f"input of {served.request_id}"
    assert after.why == f"output of {served.request_id}"
    assert (before.key_id, before.account_id) == (served.key_id, served.account_id)
    assert not line.slots_taken
    assert not line.unresolved_nano


@pytest.mark.parametrize(
    ("path", "body", "of"),
    [
        (CHAT, said("bad"), lambda body: body["error"]["code"]),
        (CHAT, said("bad", stream=True), lambda body: body["error"]["code"]),
        (MESSAGES, said("bad", max_tokens=8), lambda body: body["error"]["type"]),
        (RESPONSES, {"model": "a/m", "input": "bad"}, lambda body: body["error"]["code"]),
        ("/v1/completions", {"model": "a/m", "prompt": "bad"}, lambda body: body["error"]["code"]),
    ],
)
async def test_what_is_flagged_is_refused_in_each_dialect(path: str, body: Any, of: Any) -> None:
    judge = Judge()
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, body, path)
    assert answer.status_code == 403
    assert of(answer.json()) in ("content_flagged", "permission_error")
    assert answer.json()["error"]["message"] == (
        "the guardrail 'a/guard' of your key or organisation flags the input of this call: hate"
    )
    assert not judge.chats
    judged, refused = line.records
    assert judged.charge_nano == INPUT_NANO
    assert (refused.charge_nano, refused.http_status) == (0, 403)
    assert (refused.outcome, refused.guarded) == ("rejected", "input=flagged:hate")
    assert not line.unresolved_nano


async def test_a_flagged_answer_is_billed_and_goes_to_nobody() -> None:
    judge = Judge("an answer that is bad")
    line = Line(judge, catalog=catalog(Guard(GUARD, inputs=False, answers=True)))
    answer = await post(line, said("hello"))
    assert answer.status_code == 403
    assert "output" in answer.json()["error"]["message"]
    assert b"an answer" not in answer.content
    assert judge.judged == [["an answer that is bad"]]
    _, served = line.records
    assert (served.outcome, served.charge_nano) == ("completed", COST_NANO)
    assert (served.http_status, served.guarded) == (403, "output=flagged:hate")


async def test_a_stream_is_held_until_it_is_judged() -> None:
    judge = Judge("all is well")
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, said("hello", stream=True))
    assert answer.status_code == 200
    assert answer.headers["x-route-guarded"] == "input=passed, output=passed"
    assert judge.judged[1] == ["all is well"]
    assert answer.text.count("data: ") == 3
    assert answer.text.endswith("data: [DONE]\n\n")
    assert line.records[-1].charge_nano == COST_NANO
    assert not line.slots_taken


async def test_a_flagged_stream_is_an_error_of_which_nothing_was_sent() -> None:
    # Neither piece has the whole word.
    judge = Judge("so a b" + "ad answer")
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, said("hello", stream=True))
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "content_flagged"
    served = line.records[-1]
    assert (served.outcome, served.charge_nano) == ("completed", COST_NANO)
    assert not line.unresolved_nano


@pytest.mark.parametrize(("says", "status"), [("all is well", 200), ("so a bad one", 403)])
async def test_what_came_of_a_broken_stream_is_judged_too(says: str, status: int) -> None:
    judge = Judge(says)
    judge.breaks_off = True
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, said("hello", stream=True))
    assert answer.status_code == status
    assert ("worker_failed" in answer.text) is (status == 200)
    assert line.records[-1].outcome == "truncated"


@pytest.mark.parametrize("passes", [False, True])
async def test_what_cannot_be_judged_is_refused_or_passes_as_was_asked(passes: bool) -> None:
    judge = Judge()
    judge.fails = True
    line = Line(judge, catalog=catalog(Guard(GUARD, answers=True, passes=passes)))
    answer = await post(line, said("hello"))
    served = line.records[-1]
    if passes:
        assert answer.status_code == 200
        assert served.guarded == "input=unjudged, output=unjudged"
        return
    assert (answer.status_code, served.http_status) == (503, 503)
    assert answer.json()["error"]["code"] == "guardrail_failed"
    assert "lets nothing pass unjudged" in answer.json()["error"]["message"]
    assert (served.guarded, served.charge_nano, judge.chats) == ("input=unjudged", 0, 0)


async def test_a_guard_whose_model_is_gone_refuses() -> None:
    line = Line(Judge(), catalog=catalog(Guard("a/gone")))
    answer = await post(line, said("hello"))
    assert answer.json()["error"]["code"] == "guardrail_failed"
    assert "'a/gone' does not exist" in answer.json()["error"]["message"]


@pytest.mark.parametrize("passes", [False, True])
async def test_a_judgement_keeps_the_calls_deadline(passes: bool) -> None:
    judge = Judge()
    judge.waits = asyncio.Event()
    line = Line(judge, catalog=catalog(Guard(GUARD, passes=passes)))
    answer = await post(line, said("hello", provider={"deadline_ms": 50}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "deadline_exceeded")
    assert judge.calls[0].wishes.deadline_ms <= 50
    assert not judge.chats


async def test_a_judgement_is_not_over_before_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, now_s = Judge(), time.monotonic()
    line = Line(judge, catalog=catalog(BOTH))
    grant = line.gateway.authenticate(f"Bearer {KEY}")
    monkeypatch.setattr(
        judging, "time", SimpleNamespace(monotonic=lambda: now_s, time_ns=time.time_ns)
    )
    # 950.9 ms are left: in whole milliseconds, the judgement may have one more, but not one less.
    call = structs.replace(chat(provider={"deadline_ms": 1_000}), arrived_s=now_s - 0.0491)
    await line.gateway.guarding.judge_answer(grant, call, lambda: ["well"], Trace(call))
    (judgement,) = judge.calls
    assert judgement.wishes.deadline_ms == 951


async def test_a_stream_that_began_in_time_is_judged_after_its_deadline() -> None:
    judge = Judge()
    line = Line(judge, catalog=catalog(BOTH))
    grant = line.gateway.authenticate(f"Bearer {KEY}")
    late = structs.replace(chat(stream=True, provider={"deadline_ms": 50}), arrived_s=0.0)
    trace = Trace(late)
    await line.gateway.guarding.judge_answer(grant, late, lambda: ["well"], trace)
    assert trace.guarded == ["output=passed"]
    whole = structs.replace(late, stream=False)
    with pytest.raises(DeadlineExceeded):
        await line.gateway.guarding.judge_answer(grant, whole, lambda: ["well"], trace)


async def test_a_judgement_has_a_longest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "JUDGE_S", 0.05)
    judge = Judge()
    judge.waits = asyncio.Event()
    line = Line(judge, catalog=catalog(Guard(GUARD, passes=True)))
    answer = await post(line, said("hello"))
    assert answer.status_code == 200
    assert answer.headers["x-route-guarded"] == "input=unjudged"
    assert not line.slots_taken


async def test_a_key_adds_to_its_organisation_and_takes_nothing_away() -> None:
    judge = Judge("a bad answer")
    guards = (Guard(GUARD, passes=True), Guard(GUARD, inputs=False, answers=True))
    line = Line(judge, catalog=catalog(guards[0], key_guard=guards[1]))
    (merged,) = line.gateway.authenticate(f"Bearer {KEY}").guards
    assert merged == Guard(GUARD, inputs=True, answers=True, passes=False)
    assert (await post(line, said("hello"))).status_code == 403
    other = guards[0].and_also(Guard("a/other"))
    assert [guard.model for guard in other] == [GUARD, "a/other"]


async def test_the_limits_and_models_of_a_key_are_not_the_guards() -> None:
    judge = Judge()
    limited = catalog(
        BOTH, limits=RateLimits(requests_per_minute=1, calls_at_once=1), models=("a/m",)
    )
    line = Line(judge, catalog=limited)
    assert (await post(line, said("hello"))).status_code == 200
    assert (await post(line, said("hello"))).status_code == 429
    direct = await post(line, {"model": GUARD, "input": "x"}, "/v1/moderations")
    assert direct.status_code == 403


async def test_a_moderation_is_not_judged() -> None:
    judge = Judge()
    line = Line(judge, catalog=catalog(BOTH))
    answer = await post(line, {"model": GUARD, "input": ["bad"]}, "/v1/moderations")
    assert answer.json()["results"][0]["flagged"] is True
    assert judge.judged == [["bad"]]


async def test_what_is_masked_is_judged_masked() -> None:
    judge = Judge()
    made = catalog(BOTH)
    (organisation,) = made.organisations
    masks = structs.replace(organisation, masks=("email",))
    line = Line(judge, catalog=structs.replace(made, organisations=(masks,)))
    await post(line, said("I am ana@example.com"))
    assert judge.judged[0] == ["I am [email-1]"]


async def test_without_credit_for_a_judgement_the_call_is_refused() -> None:
    line = Line(Judge(), catalog=catalog(Guard(GUARD)), funds_nano=INPUT_NANO - 1)
    answer = await post(line, said("hello", max_tokens=1))
    assert answer.status_code in (402, 503)
    assert not line.unresolved_nano


async def test_a_client_that_leaves_ends_the_judgement() -> None:
    judge = Judge()
    judge.waits = asyncio.Event()
    line = Line(judge, catalog=catalog(Guard(GUARD)))
    call = asyncio.create_task(line.call(messages=said("hello")["messages"]))
    await until(lambda: bool(judge.calls))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [record.outcome for record in line.records] == ["client_gone", "client_gone"]
    assert not line.slots_taken
    assert not line.unresolved_nano


async def test_the_owner_of_the_moderation_model_judges() -> None:
    mine, theirs = Judge(), Judge()
    made = catalog(BOTH, limits=RateLimits(requests_per_minute=1), models=("a/m",))
    here, there = Line(mine, catalog=made), Line(theirs, catalog=made)
    async with owned_elsewhere(GUARD, made, here, there) as client:
        answer = await client.post(CHAT, json=said("hello"), headers=HEADERS)
        flagged = await client.post(CHAT, json=said("bad"), headers=HEADERS)
    assert answer.headers["x-route-guarded"] == "input=passed, output=passed"
    assert (mine.judged, theirs.judged) == ([], [["hello"], ["a good answer"]])
    assert flagged.status_code == 429
    (served, *_), judged = here.records, there.records
    assert [(row.asked, row.why) for row in judged] == [
        (GUARDRAIL, f"input of {served.request_id}"),
        (GUARDRAIL, f"output of {served.request_id}"),
    ]
    assert {row.charge_nano for row in judged} == {INPUT_NANO}
    assert {row.key_id for row in judged} == {served.key_id}


async def test_an_owner_that_cannot_judge_says_why() -> None:
    made = catalog(Guard(GUARD))
    theirs = Judge()
    theirs.fails = True
    here, there = Line(Judge(), catalog=made), Line(theirs, catalog=made)
    async with owned_elsewhere(GUARD, made, here, there) as client:
        answer = await client.post(CHAT, json=said("hello"), headers=HEADERS)
    assert answer.json()["error"]["code"] == "guardrail_failed"
    assert Forwarder.__name__ not in answer.text


class Speaks(Judge):
    """Answers by a response of its own, whose last event says more than those before."""

    def response(self) -> bytes:
        part = {"type": "output_text", "text": self.says}
        message = {"type": "message", "id": "m", "content": [part]}
        return encode({"object": "response", "output": [message], "usage": {}})

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        if request.kind is Kind.MODERATION:
            return await super().answer(request, endpoint)
        return Answer(self.response(), "application/json", USED, "stop")

    async def stream(
        self, request: InferenceRequest, endpoint: Endpoint
    ) -> AsyncGenerator[StreamPart, None]:
        event = encode({"type": "response.output_text.delta", "delta": "well"})
        chunk = b"event: response.output_text.delta\ndata: %b\n\n" % event
        yield StreamPart(chunk, 1, USED, "stop", done=True, usage_chunk=self.response())


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_worker_says_in_a_response_of_its_own_is_judged(stream: bool) -> None:
    for says, status in (("all good", 200), ("all bad", 403)):
        judge = Speaks(says)
        line = Line(judge, catalog=catalog(Guard(GUARD, inputs=False, answers=True)))
        asked = {"model": "a/m", "input": "hello", "stream": stream}
        answer = await post(line, asked, RESPONSES)
        assert answer.status_code == status
        assert judge.judged == [["well", says] if stream else [says]]
        assert (says.encode() in answer.content) is (status == 200)
