"""Reranking: Cohere's and Jina's shape outside, whatever a worker answers inside."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from router.domain.pricing import Price
from router.ingress.faces.rerank import DOCUMENTS_MAX, search_units
from tests.unit.router.ingress.faces.one_model import NAME, Handler, served
from tests.unit.router.pipeline.line import in_time

UNIT_NANO = 2_000_000
PRICE = Price(3, row_nano=UNIT_NANO, unit="search_units")
DOCUMENTS = ["bread is baked", "whales live in the sea", "the sea is salt"]
CALL = {"model": NAME, "query": "the sea", "documents": DOCUMENTS}
RANKED = [
    {"index": 0, "relevance_score": 0.1},
    {"index": 1, "relevance_score": 0.7},
    {"index": 2, "relevance_score": 0.9},
]


def answering(results: object, **more: object) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        assert body["model"] == "upstream-name"
        assert all(isinstance(text, str) for text in body["documents"])
        assert not {"top_n", "return_documents", "provider"} & body.keys()
        return web.json_response({"results": results, **more})

    return handle


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_the_most_relevant_comes_first_and_a_search_unit_is_charged(path: str) -> None:
    usage = {"total_tokens": 21}
    async with served("rerank", answering(RANKED, usage=usage), PRICE) as shop:
        answer = await shop.post(path, json=CALL)
        body = answer.json()
        assert [row["index"] for row in body["results"]] == [2, 1, 0]
        assert "document" not in body["results"][0]
        assert body["model"] == NAME
        assert body["meta"]["billed_units"] == {"search_units": 1}
        assert body["usage"] == {"prompt_tokens": 21, "total_tokens": 21, "cost": 0.002}
        assert body["id"] == answer.headers["x-request-id"]
        assert answer.headers["x-cost-nano-usd"] == str(UNIT_NANO)
        (record,) = shop.line.records
        assert (record.kind, record.rows, record.prompt_tokens) == ("rerank", 1, 21)
        assert record.charge_nano == UNIT_NANO


async def test_the_caller_says_how_many_and_whether_with_their_texts() -> None:
    objects = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"text": DOCUMENTS[2], "title": "Sea"}]
    call = {**CALL, "documents": objects, "top_n": 2, "return_documents": True}
    async with served("rerank", answering(RANKED), PRICE) as shop:
        body = (await shop.post("/v1/rerank", json=call)).json()
    assert body["results"] == [
        {"index": 2, "relevance_score": 0.9, "document": {"text": DOCUMENTS[2]}},
        {"index": 1, "relevance_score": 0.7, "document": {"text": DOCUMENTS[1]}},
    ]


async def test_a_route_is_told_with_its_unit() -> None:
    async with served("rerank", answering(RANKED), PRICE) as shop:
        headers = {"x-route-explain": "1", "authorization": shop.client.headers.get("x", "")}
        headers["authorization"] = "Bearer wp_live_test"
        answer = await shop.client.post("/v1/rerank", json=CALL, headers=headers)
        (line,) = answer.json()["route"]["cost_lines"]
        assert (line["item"], line["quantity"]) == ("search_units", 1)


async def test_servers_that_say_score_are_understood() -> None:
    scored = [{"index": row["index"], "score": row["relevance_score"]} for row in RANKED]
    async with served("rerank", answering(scored), PRICE) as shop:
        body = (await shop.post("/v1/rerank", json=CALL)).json()
    assert [row["relevance_score"] for row in body["results"]] == [0.9, 0.7, 0.1]


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [{"index": 3, "relevance_score": 0.5}],
        [{"index": -1, "relevance_score": 0.5}],
        [{"index": 1, "relevance_score": 0.5}] * 2,
        [{"index": 1}],
        [{"index": "1", "relevance_score": 0.5}],
        "none",
    ],
)
async def test_what_is_no_ranking_is_the_workers_fault_and_is_not_charged(results: object) -> None:
    async with served("rerank", answering(results), PRICE) as shop:
        answer = await shop.post("/v1/rerank", json=CALL)
        assert answer.status_code == 502
        assert answer.json()["code"] == "worker_failed"
        assert not shop.line.records[0].charge_nano
        assert not shop.line.unresolved_nano


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": None}, "query"),
        ({"query": "  "}, "query"),
        ({"query": 3}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": ["x"] * (DOCUMENTS_MAX + 1)}, "documents"),
        ({"documents": [3]}, "documents"),
        ({"documents": [{"image": "https://x"}]}, "documents"),
        ({"documents": "text"}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"model": None}, "model"),
        ({"model": "a/m"}, "model"),
        ({"models": ["a/z"], "model": None}, "model"),
    ],
)
async def test_bad_input_is_refused_in_coheres_and_jinas_words(
    fields: dict[str, Any], param: str
) -> None:
    async with served("rerank", answering(RANKED), PRICE) as shop:
        answer = await shop.post("/v1/rerank", json={**CALL, **fields})
        told = answer.json()
        assert answer.status_code in (404, 422)
        assert told["message"] == told["detail"]
        assert told["param"] == param
        assert shop.untouched()


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"[]", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async with served("rerank", answering(RANKED), PRICE) as shop:
        answer = await shop.post("/v1/rerank", content=body)
        assert answer.status_code == 422
        assert "JSON" in answer.json()["message"] or "object" in answer.json()["message"]
        assert shop.untouched()


async def test_without_a_key_or_credit_the_refusal_has_the_same_shape() -> None:
    async with served("rerank", answering(RANKED), PRICE, funds_nano=UNIT_NANO - 1) as shop:
        nobody = await shop.client.post("/v2/rerank", json=CALL)
        assert (nobody.status_code, "message" in nobody.json()) == (401, True)
        poor = await shop.post("/v2/rerank", json=CALL)
        assert (poor.status_code, "message" in poor.json()) == (402, True)
        assert shop.untouched()


async def test_a_chat_model_is_not_reranked_with() -> None:
    async with served("chat", answering(RANKED), Price(3)) as shop:
        answer = await shop.post("/v1/rerank", json=CALL)
        assert (answer.status_code, answer.json()["param"]) == (422, "model")
        assert shop.untouched()


async def test_a_caller_who_leaves_is_charged_for_no_more_than_the_call() -> None:
    arrived = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with served("rerank", never, PRICE) as shop:
        call = asyncio.create_task(shop.post("/v1/rerank", json=CALL))
        await arrived.wait()
        call.cancel()
        await asyncio.wait([call])
        await in_time(lambda: bool(shop.line.records))
        (record,) = shop.line.records
        assert record.charge_nano <= UNIT_NANO
        assert not shop.line.unresolved_nano


@pytest.mark.parametrize(
    ("query", "documents", "units"),
    [
        ("q", ["x"], 1),
        ("q", ["x"] * 100, 1),
        ("q", ["x"] * 101, 2),
        ("q" * 1_000, ["x" * 1_000] * 100, 1),
        ("q" * 1_001, ["x" * 1_000] * 100, 2),
        ("", ["é" * 1_000], 1),
        ("q", ["x" * 2_000 * 100], 2),
    ],
)
def test_a_search_unit_is_a_query_with_a_hundred_documents(
    query: str, documents: list[str], units: int
) -> None:
    assert search_units(query, documents) == units
