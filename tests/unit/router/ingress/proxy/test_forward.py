"""Routers that know of one another: what is asked of the others, and what only routers may say."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from msgspec import structs

from router.adapters.memory import MemoryCluster
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import ApiKey, Policy
from router.domain.keys import digest_key
from router.ingress.proxy.forward import FORWARDED, Forwarder
from router.ports.upstream import Answer, StreamPart
from router.settings import Limits
from router.upstream.http import HTTPClient
from tests.unit.router.ingress.serving import calling
from tests.unit.router.ingress.two_routers import GONE, owned_elsewhere, view_of
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    KEY,
    PEPPER,
    USED,
    FakeUpstream,
    Line,
    in_time,
    snapshot,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
OTHER_KEY = "another-key"
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def shop():
    """Every router places for itself, so that a call is where it was made."""
    made = snapshot()
    other = ApiKey(6, digest_key(OTHER_KEY, PEPPER), organisation_id=2, account_id=ACCOUNT)
    policies = (Policy(1, 1, "a/m", shared=True),)
    return structs.replace(made, keys=(*made.keys, other), policies=policies)


@contextlib.asynccontextmanager
async def two_routers(
    *also: str, right: Line | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Line]]:
    """Left knows right and who else is named by URL; right stands alone."""
    left, other = (Line(FakeUpstream(lambda _: ANSWER), catalog=shop()) for _ in range(2))
    right = right or other
    cluster = MemoryCluster(time.monotonic)
    client: HTTPClient
    async with HTTPClient(Limits(), AddressPolicy(EVERYWHERE)) as client, calling(right) as there:
        for number, url in enumerate((str(there.base_url).rstrip("/"), *also)):
            await view_of(cluster, f"other-{number}", url, shop())
        view = await view_of(cluster, "left", GONE, shop())
        async with calling(left, forwarder=Forwarder(view, client, PEPPER, 10_000)) as here:
            yield here, there, left


async def test_a_call_that_ended_elsewhere_is_known_before_it_is_settled() -> None:
    async with two_routers(GONE) as (here, there, _):
        call = await there.post(PATH, json=CHAT, headers=AUTH)
        path = f"/v1/generation?id={call.headers['x-request-id']}"
        found = await here.get(path, headers=AUTH)
        assert found.status_code == 200
        assert found.json() == (await there.get(path, headers=AUTH)).json()
        key = {"x-api-key": KEY}
        assert (await here.get(path, headers=key)).status_code == 200
        other = {"authorization": f"Bearer {OTHER_KEY}"}
        assert (await here.get(path, headers=other)).status_code == 404
        nowhere = f"/v1/generation?id={uuid4()}"
        assert (await here.get(nowhere, headers=AUTH)).status_code == 404


async def test_an_owner_that_does_not_answer_in_time_is_done_without() -> None:
    """A socket that accepts and says nothing."""

    server = await asyncio.start_server(lambda *_: asyncio.Event().wait(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with two_routers(f"http://127.0.0.1:{port}") as (here, there, _):
        call = await there.post(PATH, json=CHAT, headers=AUTH)
        began_s = time.monotonic()
        path = f"/v1/generation?id={call.headers['x-request-id']}"
        assert (await here.get(path, headers=AUTH)).status_code == 200
        assert time.monotonic() - began_s < 3
    server.close()


async def test_the_mark_of_a_forwarded_call_cannot_be_made_up_and_lets_nobody_in() -> None:
    async with two_routers() as (here, _, left):
        for mark in (b"1", b"\xe9", b"", b"a" * 64):
            forged = {**AUTH, FORWARDED.decode(): mark}
            answer = await here.post(PATH, json=CHAT, headers=forged)
            assert answer.status_code == 200, mark
            alone = {FORWARDED.decode(): mark}
            refused = await here.post(PATH, json=CHAT, headers=alone)
            assert refused.status_code == 401
    assert left.records


async def test_the_owner_of_a_model_is_found_by_every_name_for_it() -> None:
    here, there = (Line(FakeUpstream(lambda _: ANSWER)) for _ in range(2))
    async with owned_elsewhere("a/m", snapshot(), here, there) as client:
        for name in ("a/m", "a/m:floor", "m", "m:fastest"):
            body = {**CHAT, "model": name}
            answer = await client.post(PATH, json=body, headers=AUTH)
            assert answer.headers["x-route-model"] == "a/m"
    assert (len(here.records), len(there.records)) == (0, 4)


@pytest.mark.parametrize("model", ["a/m", "auto"])
async def test_a_call_is_ended_by_way_of_any_router(model: str) -> None:
    """Nothing says which one has it: its model is shared, or was chosen where it came in."""
    upstream = FakeUpstream(lambda _: [StreamPart(EVENT, 1), asyncio.Event()])
    right = Line(upstream, catalog=shop())
    body = {**CHAT, "model": model, "stream": True}
    sent = {**AUTH, "idempotency-key": "one", "x-route-linger-s": "60"}
    cancel = {**sent, "x-route-cancel": "1"}
    async with two_routers(GONE, right=right) as (here, there, left):
        async with there.stream("POST", PATH, json=body, headers=sent) as answer:
            assert answer.status_code == 200
        other = {**cancel, "authorization": f"Bearer {OTHER_KEY}"}
        refused = await here.post(PATH, json=body, headers=other)
        assert not right.records
        ended = await here.post(PATH, json=body, headers=cancel)
        await in_time(lambda: bool(right.records))
        await in_time(lambda: right.slots_taken == 0)
        nothing = await here.post(PATH, json=body, headers=cancel)
    assert [said.json()["cancelled"] for said in (refused, ended, nothing)] == [False, True, False]
    assert [record.outcome for record in right.records] == ["client_gone"]
    assert not left.records
