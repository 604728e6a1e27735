"""Models that an organisation has alone: its own calls go there, and nobody else learns of them."""

from itertools import product

import msgspec
import pytest

from router.domain.catalog import ApiKey, Deployment, Endpoint, Model, Own, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.domain.protocols import OWN_OPENAI
from router.domain.request import MaxPrice
from router.ports.upstream import Answer, UpstreamFailed
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.ingress.two_routers import owned_elsewhere
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    COST_NANO,
    KEY,
    PEPPER,
    USED,
    FakeUpstream,
    Line,
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


POSTS = {
    "/v1/chat/completions": asking,
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
