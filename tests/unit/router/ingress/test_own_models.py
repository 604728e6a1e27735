"""Models that an organisation has alone: its own calls go there, and nobody else learns of them."""

import asyncio
from itertools import product

import msgspec
import pytest
from msgspec import structs

from router.domain.catalog import ApiKey, Deployment, Endpoint, Model, Own, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.domain.protocols import OWN_OPENAI
from router.domain.request import MaxPrice
from router.ports.upstream import Answer, UpstreamFailed
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.ingress.two_routers import owned_elsewhere
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    COST_NANO,
    KEY,
    PEPPER,
    QUEUE_MAX,
    USED,
    FakeUpstream,
    Line,
    in_time,
    snapshot,
)

MINE, UNKNOWN = "~acme/m", "~acme/no"
OTHERS_KEY, NARROW_KEY = "wp_live_other", "wp_live_narrow"
FEE_NANO = 50
ANSWER = b'{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}'


def with_own(own: Own | None = None):
    """The market, and what organisation 1 has of its own; organisation 2 has another key."""
    made = snapshot()
    own = own or Own(1, stands_for="a/m", spills=True)
    deployment = Deployment(
        -9, MINE, "own", 0, "~9", "mine", Price(0, request_nano=FEE_NANO), commission_bps=10_000
    )
    keys = (
        ApiKey(6, digest_key(OTHERS_KEY, PEPPER), organisation_id=2, account_id=ACCOUNT),
        ApiKey(7, digest_key(NARROW_KEY, PEPPER), 1, ACCOUNT, models=("a/m",)),
    )
    return msgspec.structs.replace(
        made,
        models=(*made.models, Model(MINE, "chat", "1", 0, completion_tokens_max=100, own=own)),
        pools=(*made.pools, Pool("~9", "")),
        workers=(*made.workers, Worker("~9", "~9", "https://x", OWN_OPENAI, 4)),
        deployments=(*made.deployments, deployment),
        keys=(*made.keys, *keys),
    )


def works(_: Endpoint) -> Answer:
    return Answer(ANSWER, "application/json", USED, "stop")


def refuses_own(endpoint: Endpoint) -> Answer | Exception:
    return UpstreamFailed("http_401") if endpoint.worker.id == "~9" else works(endpoint)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def asking(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8} | more


PATH = "/v1/chat/completions"
POSTS = {
    PATH: asking,
    "/v1/completions": lambda model: {"model": model, "prompt": "hi", "max_tokens": 8},
    "/v1/embeddings": lambda model: {"model": model, "input": "hi"},
    "/v1/messages": asking,
    "/v1/messages/count_tokens": asking,
    "/v1/responses": lambda model: {"model": model, "input": "hi", "truncation": "auto"},
}
GETS = (
    "/v1/models/{model}",
    "/v1/models/{model}/endpoints",
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/stats",
)


async def test_no_door_tells_an_own_model_from_one_that_does_not_exist() -> None:
    line = Line(FakeUpstream(works), catalog=with_own())
    async with calling(line) as client:

        async def told(method: str, path: str, model: str, **more: object) -> tuple[int, str]:
            answer = await client.request(
                method, path, headers=bearer(OTHERS_KEY) | more.pop("headers", {}), **more
            )
            return answer.status_code, answer.text.replace(model, "MODEL")

        for (path, body), suffix in product(POSTS.items(), ("", ":nitro")):
            for headers in ({}, {"X-Route-Quote": "1"}):
                mine, no = [
                    await told("POST", path, model, json=body(model + suffix), headers=headers)
                    for model in (MINE, UNKNOWN)
                ]
                assert mine == no
                assert mine[0] == 404, path
        for path in GETS:
            mine = await told("GET", path.format(model=MINE), MINE)
            assert mine == await told("GET", path.format(model=UNKNOWN), UNKNOWN)
            assert mine[0] == 404, path
        for path in ("/v1/models", "/v2/models/stats", "/v1/models/a/m/endpoints"):
            listed = await client.get(path, headers=bearer(OTHERS_KEY))
            assert listed.status_code == 200
            assert "~" not in listed.text, path
            assert "own" not in listed.json(), path
        # Without a key, too.
        assert (await client.get(f"/v2/models/{MINE}/ready")).status_code == 404
        # As a model to fall back to, it is none.
        tried = asking("a/none", models=[MINE, "a/m"])
        fell = await client.post("/v1/chat/completions", headers=bearer(OTHERS_KEY), json=tried)
        assert fell.status_code == 200
    assert "~9" not in line.upstream.called
    assert all(record.model == "a/m" for record in line.records)


async def test_a_refusal_takes_no_way_over_another_router() -> None:
    here = Line(FakeUpstream(works), catalog=with_own())
    knows_one_key = msgspec.structs.replace(with_own(), keys=snapshot().keys)
    there = Line(FakeUpstream(works), catalog=knows_one_key)  # Would tell the stranger 401.
    async with owned_elsewhere(MINE, with_own(), here, there) as client:
        for key, model, status in (
            (OTHERS_KEY, MINE, 404),
            (OTHERS_KEY, UNKNOWN, 404),
            (KEY, MINE, 200),
        ):
            answer = await client.post(
                "/v1/chat/completions", headers=bearer(key), json=asking(model)
            )
            assert answer.status_code == status
    assert (len(here.records), len(there.records)) == (0, 1), "only its organisation's call"


async def test_others_calls_pass_as_if_there_were_no_own_endpoint() -> None:
    line = Line(FakeUpstream(works), catalog=with_own())
    async with calling(line) as client:
        explained = bearer(OTHERS_KEY) | {"X-Route-Explain": "1"}
        answer = await client.post("/v1/chat/completions", headers=explained, json=asking("a/m"))
        assert answer.status_code == 200
        assert "~9" not in answer.text + str(answer.headers)
    (record,) = line.records
    assert record.deployment_id > 0
    assert {candidate.deployment_id for candidate in record.candidates} == {1, 2}


@pytest.mark.parametrize("key", [KEY, NARROW_KEY])
@pytest.mark.parametrize("name", ["a/m", "m", MINE])
async def test_the_organisations_calls_go_to_its_endpoint_first(key: str, name: str) -> None:
    line = Line(FakeUpstream(works), catalog=with_own())
    async with calling(line) as client:
        answer = await client.post("/v1/chat/completions", headers=bearer(key), json=asking(name))
        assert answer.status_code == 200
        listed = (await client.get("/v1/models", headers=bearer(key))).json()["data"]
        assert MINE in {model["id"] for model in listed}
    assert line.upstream.called == ["~9"]
    assert line.meters.models.keys() == {"own"}
    (record,) = line.records
    assert (record.model, record.deployment_id, record.worker_id) == (MINE, -9, "~9")
    assert (record.charge_nano, record.commission_nano) == (FEE_NANO, FEE_NANO)
    assert record.provider_account_id == 0
    assert [candidate.deployment_id for candidate in record.candidates] == [-9]


async def test_operators_metrics_name_no_own_model_or_worker() -> None:
    line = Line(FakeUpstream(works), catalog=with_own())
    async with calling(line) as client:
        await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking(MINE))
        told = await client.get("/metrics", headers=bearer(ADMIN_TOKEN))
    assert 'model="own"' in told.text
    assert "~" not in told.text


async def test_a_refused_key_is_named_and_the_market_takes_over() -> None:
    line = Line(FakeUpstream(refuses_own), catalog=with_own())
    async with calling(line) as client:
        alone = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking(MINE))
        assert alone.status_code == 502
        error = alone.json()["error"]
        assert error["code"] == "own_endpoint_failed"
        assert "'~acme/m' refuses its key" in error["message"]
        assert "https://" not in error["message"]
        spilt = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking("a/m"))
        assert spilt.status_code == 200
        for _ in range(2):
            out = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking(MINE))
            assert out.json()["error"]["code"] == "own_endpoint_failed"
        served_still = await client.post(
            "/v1/chat/completions", headers=bearer(KEY), json=asking("a/m")
        )
        assert served_still.status_code == 200
    failed, lost, served = line.records[:3]
    assert [failed.charge_nano, lost.charge_nano, served.charge_nano] == [0, 0, COST_NANO]
    assert (lost.model, served.model) == (MINE, "a/m")
    assert all(attempt.worker_id == "~9" for attempt in (*failed.attempts, *lost.attempts))
    blamed = {
        id_: state.ejection.consecutive_failures
        for id_, state in line.scheduler.fleet.workers.items()
    }
    assert not any(failures for id_, failures in blamed.items() if id_ != "~9")


def full(endpoint: Endpoint) -> Answer | Exception:
    return UpstreamFailed("http_429") if endpoint.worker.id == "~9" else works(endpoint)


def one_place() -> Line:
    """An own endpoint of one slot, whose answers never begin."""
    upstream = FakeUpstream(lambda _: [asyncio.Event()])
    made = with_own(Own(1, stands_for="", spills=False))
    workers = [structs.replace(w, slots=1) if w.id == "~9" else w for w in made.workers]
    return Line(upstream, catalog=structs.replace(made, workers=tuple(workers)))


async def test_one_that_is_full_is_counted_by_a_name_that_pages_nobody() -> None:
    line = Line(FakeUpstream(full), catalog=with_own())
    async with calling(line) as client:
        alone = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking(MINE))
        spilt = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking("a/m"))
        told = await client.get("/metrics", headers=bearer(ADMIN_TOKEN))
    assert (alone.status_code, alone.json()["error"]["code"]) == (429, "own_endpoint_full")
    assert "'~acme/m' says that it is full" in alone.json()["error"]["message"]
    assert int(alone.headers["retry-after"]) >= 1
    assert spilt.status_code == 200
    assert 'errors_total{code="own_endpoint_full"} 1.0' in told.text
    assert 'code="queue_full"' not in told.text


async def test_calls_that_wait_for_one_are_its_own() -> None:
    """In what operators are paged by: calls that wait, and those that find its queue full."""
    line = one_place()
    body = asking(MINE, stream=True)
    async with calling(line) as client, asyncio.timeout(PATIENCE_S):
        calls = [
            asyncio.ensure_future(client.post(PATH, headers=bearer(KEY), json=body))
            for _ in range(QUEUE_MAX + 4)
        ]
        done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await in_time(lambda: line.gateway.waiting > 0)
        told = await client.get("/metrics", headers=bearer(ADMIN_TOKEN))
        assert line.gateway.waiting > 0
        for call in running:
            call.cancel()
        await asyncio.wait(calls)
    refused = done.pop().result()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "own_endpoint_full")
    assert "has no room" in refused.json()["error"]["message"]
    assert 'code="queue_full"' not in told.text
    assert "waypost_router_waiting_calls 0.0" in told.text


async def test_one_without_a_server_is_counted_by_its_own_name() -> None:
    made = with_own(Own(1, stands_for="", spills=False))
    workers = [structs.replace(w, healthy=w.id != "~9") for w in made.workers]
    line = Line(FakeUpstream(works), catalog=structs.replace(made, workers=tuple(workers)))
    async with calling(line) as client:
        answer = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking(MINE))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "own_endpoint_away")


@pytest.mark.parametrize(
    ("own", "status", "code"),
    [
        (Own(1, "a/m", spills=False), 502, "own_endpoint_failed"),
        (Own(1, "a/m", spills=True, market_max=MaxPrice(prompt=0.5)), 503, "no_eligible_worker"),
        (Own(1, "a/m", spills=True, market_max=MaxPrice(prompt=5.0)), 200, None),
    ],
)
async def test_the_market_takes_over_as_the_organisation_says(
    own: Own, status: int, code: str | None
) -> None:
    line = Line(FakeUpstream(refuses_own), catalog=with_own(own))
    async with calling(line) as client:
        answer = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asking("a/m"))
        assert answer.status_code == status
        assert answer.json().get("error", {}).get("code") == code


@pytest.mark.parametrize(
    ("wishes", "called"),
    [
        ({"ignore": ["own"]}, "market"),
        ({"only": ["north"]}, "market"),
        ({"order": ["north"], "allow_fallbacks": False}, "market"),
        ({"only": ["own"]}, "own"),
        ({"order": ["own", "north"]}, "own"),
        ({"quantizations": ["fp8"], "max_price": {"request": 0}}, "own"),
    ],
)
async def test_a_call_may_ask_for_its_own_endpoint_or_the_market(
    wishes: dict[str, object], called: str
) -> None:
    line = Line(FakeUpstream(works), catalog=with_own())
    async with calling(line) as client:
        asked = asking("a/m", provider=wishes)
        answer = await client.post("/v1/chat/completions", headers=bearer(KEY), json=asked)
        assert answer.status_code == 200
    assert ("~9" in line.upstream.called) == (called == "own")
