"""What is about jobs goes to the web process as it comes, its head checked; nothing else does."""

import asyncio

import pytest

from router.settings import Limits, SettingsInvalid, settings_from_env
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.proxy.pass_through.web import (
    AUTH,
    EVENTS,
    ORIGIN,
    head,
    in_pieces,
    passing,
    say_nothing,
    saying,
    without_web,
)
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import FakeUpstream, Line, in_time


async def test_a_request_goes_up_and_its_answer_comes_down() -> None:
    lines = ["HTTP/1.1 418 Odd", "content-type: text/x", "x-kept: 1", "content-length: 3"]
    lines += ["connection: close, x-hop", "x-hop: 1", "keep-alive: timeout=5", "set-cookie: a=b"]
    async with passing(saying("\r\n".join([*lines, "", "tea"]).encode())) as ways:
        client, web = ways.client, ways.web
        mine = {"prefer": "wait", "cookie": "a=b", "x-forwarded-for": "1.2.3.4", **AUTH}
        answer = await client.get("/v1/batches/b%20c?after=x&limit=2", headers=mine)
    assert web.heads[0].startswith(b"GET /v1/batches/b%20c?after=x&limit=2 HTTP/1.1\r\n")
    assert web.header("authorization") == AUTH["authorization"].lower()
    assert web.header("prefer") == "wait"
    assert web.header("cookie") is web.header("x-forwarded-for") is None
    assert (answer.status_code, answer.content) == (418, b"tea")
    assert (answer.headers["content-type"], answer.headers["x-kept"]) == ("text/x", "1")
    assert not {"x-hop", "keep-alive", "set-cookie", "connection"} & set(answer.headers)
    assert answer.headers["x-request-id"] == web.header("x-request-id")


@pytest.mark.parametrize(
    "path", ["/v1/files", "/v1/batches/b/cancel", "/v1/predictions", "/v1/pipelines"]
)
async def test_a_body_goes_up_as_it_is_framed(path: str) -> None:
    async with passing() as ways:
        for content in (b"hello", in_pieces(b"hel", b"lo")):
            answer = await ways.client.post(path, content=content, headers=AUTH)
            assert (answer.status_code, answer.text) == (200, "ok")
    assert ways.web.bodies == [b"hello", b"hello"]
    assert [b"content-length: 5" in head.lower() for head in ways.web.heads] == [True, False]


@pytest.mark.parametrize("path", ["/v1/filesystem", "/v1/file", "/v2/files", "/files"])
async def test_nothing_else_is_passed_on(path: str) -> None:
    async with passing() as ways:
        answer = await ways.client.post(path, content=b"x", headers=AUTH)
    assert answer.status_code == 404
    assert not ways.web.heads


async def test_where_no_web_process_is_named_jobs_are_no_path_and_it_is_said_why() -> None:
    async with calling(Line(FakeUpstream(lambda _: OSError()))) as client:
        for answer in (
            await client.get("/v1/files", headers=AUTH),
            await client.post("/v1/batches", json={}, headers=AUTH),
        ):
            assert answer.status_code == 404
            assert "ROUTER_JOBS_URL" in answer.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"x-api-key": "x"}])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_a_credential_nothing_goes_up(method: str, headers: dict[str, str]) -> None:
    async with passing() as ways:
        body = b"x" if method == "POST" else b""
        answer = await ways.client.request(method, "/v1/files", content=body, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not ways.web.heads


async def test_the_head_is_checked_as_that_of_every_request() -> None:
    for lines, status in (
        (("authorization: Bearer y",), b"400"),
        (("content-encoding: gzip",), b"415"),
        (("content-length: x",), b"400"),
        (("x-long: " + "x" * 40_000,), b"431"),
    ):
        async with passing() as ways, ways.raw() as (reader, writer):
            writer.write(head("/v1/files", *lines))
            assert (await reader.readline()).split()[1] == status, lines
            assert not ways.web.heads


@pytest.mark.parametrize(("path", "most"), [("/v1/files", 1_000), ("/v1/batches", 100)])
async def test_a_body_over_its_bound_is_refused_declared_or_not(path: str, most: int) -> None:
    async with passing() as ways:
        fits = await ways.client.post(path, content=b"x" * most, headers=AUTH)
        assert fits.status_code == 200
        for content in (b"x" * (most + 1), in_pieces(b"x" * most, b"x")):
            answer = await ways.client.post(path, content=content, headers=AUTH)
            assert answer.status_code == 413
            assert str(most) in answer.json()["error"]["message"]
        await in_time(lambda: not ways.web.bodies[1:])


async def test_pages_may_call_and_ask_before() -> None:
    async with passing() as ways:
        asked = {"origin": ORIGIN, "access-control-request-method": "DELETE"}
        preflight = await ways.client.options("/v1/files/f", headers=asked)
        assert preflight.status_code == 204
        assert "DELETE" in preflight.headers["access-control-allow-methods"]
        assert not ways.web.heads
        answer = await ways.client.get("/v1/files", headers={"origin": ORIGIN, **AUTH})
        assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_a_client_that_expects_100_is_told_to_send_once_somebody_reads() -> None:
    asking = head("/v1/files", "content-length: 2", "expect: 100-continue")
    async with passing() as ways, ways.raw() as (reader, writer):
        writer.write(asking)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert ways.web.bodies == [b"hi"]
    async with without_web() as ways, ways.raw() as (reader, writer):
        writer.write(asking)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")


async def test_a_client_of_http_1_0_is_served() -> None:
    async with passing(saying(EVENTS + b"data: 1\n\n")) as ways, ways.raw() as (reader, writer):
        writer.write(head("/v1/predictions/p", method="GET").replace(b"HTTP/1.1", b"HTTP/1.0"))
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert received.partition(b"\r\n\r\n")[2] == b"data: 1\n\n"


async def test_so_many_run_at_once_and_no_more() -> None:
    limits = Limits(connect_timeout_s=30, jobs_max=1)
    async with passing(say_nothing, limits) as ways, ways.raw() as (_, writer):
        writer.write(head(method="GET"))
        await in_time(lambda: bool(ways.web.heads))
        answer = await ways.client.get("/v1/files", headers=AUTH)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "router_busy")
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("url", ["web:8000", "ftp://web", "http://", "http://web/below"])
def test_an_invalid_address_stops_the_start(url: str) -> None:
    env = {"WAYPOST_KEY_PEPPER": "p", "DATABASE_URL": "d", "ROUTER_JOBS_URL": url}
    with pytest.raises(SettingsInvalid, match="ROUTER_JOBS_URL"):
        settings_from_env(env)
    assert settings_from_env({**env, "ROUTER_JOBS_URL": "http://web:1/"}).jobs_url == "http://web:1"
