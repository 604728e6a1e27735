"""The client of jobs, in front of a router that answers by a script."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from django.conf import settings

from marketplace.inference import router_client
from marketplace.inference.callers import Caller
from marketplace.inference.router_client import RouterClient, RouterUnreachable
from router.domain.keys import verify_session

CALLER = Caller(organisation_id=1, account_id=2, key_id=5)
PATH = "/v1/chat/completions"
SOON = {"retry-after": "0"}

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Router:
    """Answers each request by the next of its scripts, and the rest by the last one."""

    def __init__(self, *scripts: Script | web.Response) -> None:
        self.scripts = list(scripts)
        self.heard: list[tuple[dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append((headers, await request.read()))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if not isinstance(script, web.Response):
            return await script(request)
        return web.Response(status=script.status, body=script.body, headers=script.headers)


@contextlib.asynccontextmanager
async def client_of(router: Router) -> AsyncIterator[RouterClient]:
    app = web.Application()
    app.router.add_post("/{path:.*}", router.answer)
    async with TestServer(app) as server, RouterClient(str(server.make_url(""))) as client:
        yield client


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def break_off(request: web.Request) -> web.StreamResponse:
    """Half of the body that was promised."""
    answer = web.StreamResponse(headers={"content-length": "10"})
    await answer.prepare(request)
    await answer.write(b"five.")
    assert request.transport is not None
    request.transport.close()
    return answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.inference.retries.PAUSE_S_MIN", 0.0)
    monkeypatch.setattr("marketplace.inference.retries.RENEW_S", 0.0)


async def test_a_call_speaks_for_its_caller_at_batch_priority() -> None:
    router = Router(web.Response(body=b"done", headers={"x-cost-nano-usd": "7"}))
    async with client_of(router) as client:
        for _ in range(2):
            answer = await client.call(
                CALLER, PATH, b"{}", deadline_s=60, idempotency_key="batch_1:1"
            )
    assert (answer.status, answer.body, answer.headers["X-Cost-Nano-Usd"]) == (200, b"done", "7")
    (headers, body), (again, _) = router.heard
    assert body == b"{}"
    assert headers["x-route-priority"] == "batch"
    assert headers["idempotency-key"] == "batch_1:1"
    assert headers["content-type"] == "application/json"
    token = headers["authorization"].removeprefix("Bearer ")
    claims = verify_session(token, settings.WAYPOST_KEY_PEPPER)
    assert claims is not None
    assert (claims.organisation_id, claims.account_id, claims.key_id) == (1, 2, 5)
    assert again["authorization"] == headers["authorization"]


@pytest.mark.parametrize(
    "first",
    [
        web.Response(status=409, headers=SOON),
        web.Response(status=429, headers=SOON),
        web.Response(status=503, headers=SOON),
        web.Response(status=401),
        hang_up,
        break_off,
    ],
)
async def test_what_another_try_may_change_is_sent_again_as_it_was(
    first: Script | web.Response,
) -> None:
    router = Router(first, web.Response(body=b"done"))
    async with client_of(router) as client:
        answer = await client.call(CALLER, PATH, b"{}", deadline_s=60, idempotency_key="k")
    assert (answer.status, answer.body) == (200, b"done")
    assert [(h["idempotency-key"], body) for h, body in router.heard] == [("k", b"{}")] * 2


@pytest.mark.parametrize("status", [400, 402, 404, 422])
async def test_what_the_router_refuses_is_the_answer(status: int) -> None:
    router = Router(web.Response(status=status, body=b"no", headers=SOON))
    async with client_of(router) as client:
        answer = await client.call(CALLER, PATH, b"{}", deadline_s=60, idempotency_key="k")
    assert (answer.status, answer.body, len(router.heard)) == (status, b"no", 1)


async def test_what_sdks_should_not_repeat_is_not_repeated() -> None:
    final = {**SOON, "x-should-retry": "false"}
    router = Router(web.Response(status=503, headers=final))
    async with client_of(router) as client:
        answer = await client.call(CALLER, PATH, b"{}", deadline_s=60)
    assert (answer.status, len(router.heard)) == (503, 1)


async def test_a_call_that_may_have_run_is_not_sent_again_without_a_key_of_its_own() -> None:
    router = Router(hang_up, web.Response())
    async with client_of(router) as client:
        with pytest.raises(RouterUnreachable):
            await client.call(CALLER, PATH, b"{}", deadline_s=60)
    assert len(router.heard) == 1


async def test_the_last_answer_before_the_deadline_is_the_answer() -> None:
    router = Router(web.Response(status=429, headers={"retry-after": "61"}))
    async with client_of(router) as client:
        answer = await client.call(CALLER, PATH, b"{}", deadline_s=60)
    assert answer.status == 429


async def test_a_router_that_is_away_until_the_deadline_is_unreachable() -> None:
    async with RouterClient("http://127.0.0.1:1") as client:
        with pytest.raises(RouterUnreachable):
            await client.call(CALLER, PATH, b"{}", deadline_s=0.05)


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_client, "ANSWER_BYTES_MAX", 9)
    async with client_of(Router(web.Response(body=b"x" * 10))) as client:
        with pytest.raises(RouterUnreachable, match="longer than 9"):
            await client.call(CALLER, PATH, b"{}", deadline_s=60)


async def test_a_stream_is_read_as_it_comes_and_not_repeated_once_begun() -> None:
    router = Router(web.Response(status=503, headers=SOON), break_off)
    async with (
        client_of(router) as client,
        client.stream(CALLER, PATH, b"{}", deadline_s=60, idempotency_key="k") as answer,
    ):
        assert answer.status == 200
        assert await anext(answer.chunks) == b"five."
        with pytest.raises(RouterUnreachable):
            await anext(answer.chunks)
    assert len(router.heard) == 2
