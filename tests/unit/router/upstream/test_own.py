"""Organisations' own endpoints, as real servers that check a key."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from router.contracts.sealing import ENDPOINT_KEYS, Vault
from router.domain.addresses import AddressPolicy
from router.domain.catalog import Deployment, Endpoint, Pool, Worker
from router.domain.pricing import Price
from router.domain.protocols import OWN_OPENAI
from router.domain.request import InferenceRequest, Kind
from router.ports.upstream import UpstreamFailed, UpstreamRefused
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.openai_http import OpenAIUpstream
from router.upstream.own import HIDDEN, EndpointKeys, OwnUpstream
from tests.unit.router.ingress.reading import parse_call
from tests.unit.router.upstream.workers import serving

KEY, NEXT_KEY = "sk-of-acme-0123456789", "sk-of-acme-next-012345"
SEALED_BY = b"k" * 32
LIMITS = Limits(connect_timeout_s=30)
HERE = ("127.0.0.0/8",)
ANSWER = b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'


def sealed(key: str) -> str:
    return Vault([SEALED_BY], ENDPOINT_KEYS).seal(key)


def endpoint(url: str, sealed_key: str) -> Endpoint:
    worker = Worker("~1", "~1", url, OWN_OPENAI, 4, sealed_key=sealed_key)
    deployment = Deployment(-1, "~acme/m", "own", 0, "~1", "m", Price(0))
    return Endpoint("-1@~1", deployment, worker, Pool("~1", ""))


def chat(**fields: object) -> InferenceRequest:
    body = {"model": "~acme/m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return parse_call(
        Kind.CHAT,
        msgspec.json.encode(body),
        request_id="r",
        explain=False,
        arrived_s=0.0,
        created_at_ms=0,
    )


@contextlib.asynccontextmanager
async def upstream(networks: tuple[str, ...] = HERE) -> AsyncIterator[OwnUpstream]:
    plain = AddressPolicy(networks, public=False)
    async with HTTPClient(LIMITS, AddressPolicy(networks), plain=plain) as client:
        keys = EndpointKeys(Vault([SEALED_BY], ENDPOINT_KEYS))
        inner = OpenAIUpstream(client, LIMITS, keys.bearer)
        yield OwnUpstream(inner, client, keys, keys.bearer)


class Door:
    """An endpoint that takes the keys that are valid there, and notes what was asked."""

    def __init__(self, *valid: str) -> None:
        self.valid = set(valid)
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if given not in self.valid:
            return web.json_response({"error": {"message": f"wrong key {given}"}}, status=401)
        body = await request.read()
        if b"refuse" in body:
            told = {"error": {"message": f"no: {given}", "code": given}}
            return web.json_response(told, status=400)
        return web.Response(body=ANSWER, content_type="application/json")


async def test_the_endpoint_gets_the_key_that_was_sealed() -> None:
    door = Door(KEY)
    async with serving(door.handle) as url, upstream() as own:
        made = await own.answer(chat(), endpoint(url, sealed(KEY)))
        assert b"Hello" in made.body
        assert b'"~acme/m"' in made.body


async def test_a_key_is_rotated_without_a_failed_call() -> None:
    door = Door(KEY, NEXT_KEY)
    async with serving(door.handle) as url, upstream() as own:
        old, new = endpoint(url, sealed(KEY)), endpoint(url, sealed(NEXT_KEY))
        running = [asyncio.create_task(own.answer(chat(), place)) for place in (old, new) * 8]
        await asyncio.gather(*running)
        door.valid = {NEXT_KEY}
        await own.answer(chat(), new)
        with pytest.raises(UpstreamFailed, match="http_401"):
            await own.answer(chat(), old)


async def test_what_the_endpoint_says_never_tells_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door(KEY)
    caplog.set_level(logging.DEBUG)
    async with serving(door.handle) as url, upstream() as own:
        place = endpoint(url, sealed(KEY))
        for asking in (
            own.answer(chat(user="refuse"), place),
            anext(own.stream(chat(stream=True, user="refuse"), place)),
        ):
            with pytest.raises(UpstreamRefused) as refused:
                await asking
            assert refused.value.message == f"no: {HIDDEN}"
            assert KEY not in f"{refused.value.code}{refused.value.param}"
            assert refused.value.__cause__ is None
        wrong = endpoint(url, sealed(NEXT_KEY))
        with pytest.raises(UpstreamFailed) as failed:
            await own.answer(chat(), wrong)
        assert str(failed.value) == "http_401"
        assert KEY not in repr(place)
    assert KEY not in caplog.text
    assert NEXT_KEY not in caplog.text


async def test_a_probe_asks_for_models_and_costs_nothing() -> None:
    door = Door(KEY)
    async with serving(door.handle) as url, upstream() as own:
        await own.probe(endpoint(url, sealed(KEY)))
        with pytest.raises(UpstreamFailed, match="http_401"):
            await own.probe(endpoint(url, sealed(NEXT_KEY)))
    assert set(door.asked) == {"GET /v1/models"}


async def test_a_key_of_another_installation_is_no_key() -> None:
    async with upstream() as own:
        foreign = Vault([b"x" * 32], ENDPOINT_KEYS).seal(KEY)
        with pytest.raises(UpstreamFailed, match="key_unreadable"):
            await own.answer(chat(), endpoint("http://127.0.0.1:9", foreign))


async def test_an_inside_address_is_refused_though_the_markets_workers_may_be_there() -> None:
    async with upstream(networks=()) as own:
        for url in ("http://127.0.0.1:9", "https://localhost:9", "https://169.254.169.254"):
            with pytest.raises(UpstreamFailed, match="address_refused"):
                await own.answer(chat(), endpoint(url, sealed(KEY)))


async def test_a_key_goes_nowhere_by_plain_http() -> None:
    async with upstream() as own:
        with pytest.raises(UpstreamFailed, match="address_refused"):
            await own.answer(chat(), endpoint("http://192.0.78.1", sealed(KEY)))


async def test_a_name_that_rebinds_is_judged_at_each_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([["10.0.0.1"], ["::ffff:127.0.0.1"], ["100.64.0.1"]])

    async def rebinding(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", (address, port)) for address in next(answers)]

    async with upstream(networks=()) as own:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
        for _ in range(3):
            with pytest.raises(UpstreamFailed, match="address_refused"):
                await own.answer(chat(), endpoint("https://rebind.example", sealed(KEY)))
