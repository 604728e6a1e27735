"""Several models for one call: the next is tried where one cannot serve."""

import httpx
import msgspec
import pytest

from router.domain.catalog import Endpoint
from router.domain.pricing import Price
from router.ports.upstream import Answer, UpstreamFailed
from tests.unit.router.ingress.api.edge import ANSWER, AUTH, CHAT, client_of
from tests.unit.router.pipeline.line import FakeUpstream, Line, snapshot


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        ({"model": "a/none", "models": ["a/m"]}, "a/m"),
        ({"models": ["a/none", "a/m"]}, "a/m"),
        ({"model": "a/t", "models": ["a/m"]}, None),
        ({"model": "a/none", "models": ["a/also-none"]}, None),
        ({"model": "a/m", "models": ["a/none"]}, "a/m"),
    ],
)
async def test_a_model_that_cannot_serve_gives_way_to_the_next(
    client: httpx.AsyncClient, wanted: dict, served: str | None
) -> None:
    body = {"messages": CHAT["messages"], **wanted}
    response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.headers.get("x-route-model") == served
    assert (response.status_code == 200) is (served is not None)


async def test_each_model_that_was_tried_is_a_call_of_its_own() -> None:
    def script(endpoint: Endpoint) -> Answer | UpstreamFailed:
        return UpstreamFailed("reset") if endpoint.deployment.model == "a/m" else ANSWER

    catalog = snapshot()
    second = msgspec.structs.replace(catalog.models[0], name="b/m")
    offered = msgspec.structs.replace(catalog.deployments[0], id=9, model="b/m")
    catalog = msgspec.structs.replace(
        catalog,
        models=(*catalog.models, second),
        deployments=(*catalog.deployments, offered),
    )
    line = Line(FakeUpstream(script), catalog=catalog)
    async with client_of(line) as client:
        body = {**CHAT, "models": ["b/m"]}
        response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.headers["x-route-model"] == "b/m"
    assert [(r.model, r.outcome) for r in line.records] == [
        ("a/m", "worker_failed"),
        ("b/m", "completed"),
    ]
    ids = [record.request_id for record in line.records]
    assert len(set(ids)) == 2
    assert response.headers["x-request-id"] == ids[1]
    assert line.records[0].charge_nano == 0
    assert line.slots_taken == line.unresolved_nano == 0


@pytest.mark.parametrize(
    ("wishes", "served"),
    [
        ({"max_fallback_price": {"completion": 1.5}}, "c/m"),
        ({"max_fallback_price": {"completion": 9}, "max_price": {"completion": 1.5}}, "c/m"),
        ({"max_fallback_price": {"completion": 9}}, "b/m"),
        ({"max_fallback_price": {"completion": 0.5}}, None),
    ],
)
async def test_a_fallback_costs_no_more_than_the_caller_allows(
    wishes: dict, served: str | None
) -> None:
    """The first model, of 2 dollars, fails; b/m costs 2, c/m 1."""

    def script(endpoint: Endpoint) -> Answer | UpstreamFailed:
        return UpstreamFailed("reset") if endpoint.deployment.model == "a/m" else ANSWER

    made = snapshot()
    cheap = Price(8, completion_nano_per_million=10**9)
    model, offer = made.models[0], made.deployments[0]
    catalog = msgspec.structs.replace(
        made,
        models=(*made.models, *(msgspec.structs.replace(model, name=n) for n in ("b/m", "c/m"))),
        deployments=(
            *made.deployments,
            msgspec.structs.replace(offer, id=8, model="b/m"),
            msgspec.structs.replace(offer, id=9, model="c/m", price=cheap),
        ),
    )
    line = Line(FakeUpstream(script), catalog=catalog)
    async with client_of(line) as client:
        body = {**CHAT, "models": ["b/m", "c/m"], "provider": wishes}
        response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.headers.get("x-route-model") == served
    if served is None:
        assert "max_fallback_price" in response.json()["error"]["message"]
        assert not any(record.charge_nano for record in line.records)


async def test_so_many_models_may_be_named_and_no_more(client: httpx.AsyncClient) -> None:
    body = {**CHAT, "models": [f"a/{n}" for n in range(5)]}
    response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "models"
    nothing = await client.post("/v1/chat/completions", json={"messages": []}, headers=AUTH)
    assert nothing.json()["error"]["param"] == "model"
