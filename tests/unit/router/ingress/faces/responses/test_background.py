"""Responses in the background: told from predictions of the web process, until they are kept."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from aiohttp import web

from router.ingress.proxy.pass_through import PassThrough
from router.settings import Limits
from tests.unit.router.ingress.faces.responses.test_turns import OTHERS_KEY, Heard, shared
from tests.unit.router.ingress.faces.responses.wire import client_of
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import KEY, Line

AUTH = {"authorization": f"Bearer {KEY}"}
ASK: dict[str, Any] = {"model": "a/m", "input": "hi", "background": True}


@dataclass
class Predictions:
    """The web process: keeps what was asked for, and refuses other keys."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    refusal: int = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/predictions", self.create)
        app.router.add_get("/v1/predictions/{id}", self.get)
        app.router.add_delete("/v1/predictions/{id}", self.delete)
        app.router.add_post("/v1/predictions/{id}/cancel", self.cancel)
        return app

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        if self.refusal:
            error = {"message": "so many wait already", "code": "queue_full", "param": None}
            return web.json_response({"error": error}, status=self.refusal)
        uid = str(uuid.uuid4())
        self.made[uid] = {
            "id": uid,
            "model": asked["model"],
            "input": asked["input"],
            "output": None,
            "error": None,
            "status": "starting",
            "created_at": "2026-12-01T05:00:00.250Z",
        }
        return web.json_response(self.made[uid], status=201)

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request))

    async def delete(self, request: web.Request) -> web.Response:
        del self.made[self._found(request)["id"]]
        return web.json_response({})

    async def cancel(self, request: web.Request) -> web.Response:
        self._found(request)["status"] = "canceled"
        return web.json_response({})

    def _found(self, request: web.Request) -> dict[str, Any]:
        found = self.made.get(request.match_info["id"])
        if found is None or request.headers["authorization"] != AUTH["authorization"]:
            raise web.HTTPNotFound
        return found


@dataclass
class Desk:
    client: openai.AsyncOpenAI
    other: openai.AsyncOpenAI
    http: Any
    web: Predictions
    line: Line
    heard: Heard

    async def run(self, id_: str) -> None:
        """As the job process does: the call of the prediction, which makes the response."""
        made = self.web.made[str(uuid.UUID(id_.removeprefix("resp_")))]
        body = made["input"] | {"model": made["model"], "stream": False}
        headers = AUTH | {"x-route-response": made["id"]}
        answer = await self.http.post("/v1/responses", json=body, headers=headers)
        made |= {"status": "succeeded", "output": answer.json()}


@contextlib.asynccontextmanager
async def desk(*, keeps: bool = True, has_web: bool = True) -> AsyncIterator[Desk]:
    predictions, heard = Predictions(), Heard()
    runner = web.AppRunner(predictions.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    line = Line(heard, catalog=shared(keeps=keeps))
    try:
        async with (
            PassThrough(f"http://127.0.0.1:{port}", Limits()) as jobs,
            calling(line, jobs=jobs if has_web else None) as http,
        ):
            client, other = client_of(http.base_url), client_of(http.base_url, OTHERS_KEY)
            yield Desk(client, other, http, predictions, line, heard)
    finally:
        await runner.cleanup()


async def test_a_response_in_the_background_is_queued_made_and_kept_under_its_id() -> None:
    async with desk() as at:
        begun = await at.client.responses.create(**ASK, metadata={"a": "b"}, max_output_tokens=9)
        assert (begun.status, begun.background, begun.output) == ("queued", True, [])
        assert (begun.metadata, begun.max_output_tokens, begun.store) == ({"a": "b"}, 9, True)
        assert not at.line.records, "nothing is called yet"
        assert await at.client.responses.retrieve(begun.id) == begun
        (asked,) = at.web.asked
        assert (asked["model"], asked["priority"]) == ("a/m", "standard")
        (made,) = at.web.made.values()
        made["status"] = "processing"
        assert (await at.client.responses.retrieve(begun.id)).status == "in_progress"
        listed = await at.client.responses.input_items.list(begun.id)
        assert [item.content[0].text for item in listed.data] == ["hi"]  # type: ignore[union-attr]

        await at.run(begun.id)
        at.web.made.clear()  # From now on it is the store's.
        ended = await at.client.responses.retrieve(begun.id)
        assert (ended.id, ended.status, ended.background) == (begun.id, "completed", True)
        assert ended.output_text == "ok"
        later = await at.client.responses.create(
            model="a/m", input="and?", previous_response_id=begun.id
        )
        assert later.output_text == "ok"
        assert [said["content"] for said in at.heard.chats[1]] == ["hi", "ok", "and?"]
    assert len(at.line.records) == 2, "the one in the background is one call"


async def test_its_model_may_be_named_among_models_and_its_input_left_out() -> None:
    asked = {"models": ["a/m"], "instructions": "Say hi.", "background": True}
    async with desk() as at:
        answer = await at.http.post("/v1/responses", json=asked, headers=AUTH)
        assert answer.status_code == 200, answer.text
        assert at.web.asked[0]["model"] == "a/m"
        id_ = answer.json()["id"]
        assert not (await at.client.responses.input_items.list(id_)).data
        await at.run(id_)
        assert (await at.client.responses.retrieve(id_)).output_text == "ok"


async def test_it_is_cancelled_once_and_not_when_it_is_over() -> None:
    async with desk() as at:
        first = await at.client.responses.create(**ASK)
        for _ in range(2):
            assert (await at.client.responses.cancel(first.id)).status == "cancelled"
        second = await at.client.responses.create(**ASK)
        await at.run(second.id)
        with pytest.raises(openai.UnprocessableEntityError, match="is over"):
            await at.client.responses.cancel(second.id)


async def test_one_that_failed_says_why() -> None:
    async with desk() as at:
        begun = await at.client.responses.create(**ASK)
        (made,) = at.web.made.values()
        made |= {"status": "failed", "error": "the queue is full"}
        ended = await at.client.responses.retrieve(begun.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.message) == ("server_error", "the queue is full")


async def test_deleting_it_leaves_nothing_of_it() -> None:
    async with desk() as at:
        begun = await at.client.responses.create(**ASK)
        with pytest.raises(openai.UnprocessableEntityError, match="cancel it first"):
            await at.client.responses.delete(begun.id)
        await at.run(begun.id)
        (made,) = at.web.made.values()
        made["status"] = "processing"  # Its job has yet to hear that it is made.
        with pytest.raises(openai.UnprocessableEntityError, match="cancel it first"):
            await at.client.responses.delete(begun.id)
        assert (await at.client.responses.retrieve(begun.id)).output_text == "ok"
        made["status"] = "succeeded"
        await at.client.responses.delete(begun.id)
        assert not at.web.made
        with pytest.raises(openai.NotFoundError):
            await at.client.responses.retrieve(begun.id)


async def test_another_organisation_finds_none_and_other_predictions_are_no_responses() -> None:
    async with desk() as at:
        begun = await at.client.responses.create(**ASK)
        for asking in (at.other.responses.retrieve, at.other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await asking(begun.id)
        (made,) = at.web.made.values()
        made["input"] = {"messages": []}
        with pytest.raises(openai.NotFoundError):
            await at.client.responses.retrieve(begun.id)


@pytest.mark.parametrize(
    ("fields", "desk_of", "param", "says"),
    [
        ({"store": False}, {}, "background", "is kept"),
        ({}, {"keeps": False}, "background", "is kept"),
        ({}, {"has_web": False}, "background", "ROUTER_JOBS_URL"),
        ({"stream": True}, {}, "stream", "not streamed"),
        ({"tools": [{"type": "web_search"}]}, {}, "tools", "not there"),
    ],
)
async def test_what_cannot_be_made_in_the_background_is_refused_at_once(
    fields: dict[str, Any], desk_of: dict[str, bool], param: str, says: str
) -> None:
    async with desk(**desk_of) as at:
        answer = await at.http.post("/v1/responses", json=ASK | fields, headers=AUTH)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (422, param)
        assert says in error["message"]
        unknown = await at.http.post("/v1/responses", json=ASK | {"model": "a/x"}, headers=AUTH)
        assert unknown.status_code == 404 or "keeps" in desk_of or "has_web" in desk_of
        assert not at.web.asked


async def test_what_the_web_process_refuses_is_told_in_its_words() -> None:
    async with desk() as at:
        at.web.refusal = 429
        answer = await at.http.post("/v1/responses", json=ASK, headers=AUTH)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")


async def test_a_call_that_is_made_now_must_say_of_which_response() -> None:
    async with desk() as at:
        headers = AUTH | {"x-route-response": "resp_1"}
        answer = await at.http.post("/v1/responses", json=ASK, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "x-route-response")
