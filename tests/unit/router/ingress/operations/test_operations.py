"""Metrics and state for operators, and only for them."""

import asyncio
import os
import time
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from router.pipeline.recorders import meters
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import ADMIN_TOKEN, calling
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line, Step, snapshot

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}


async def scraped(client: httpx.AsyncClient) -> dict[str, dict[tuple[str, ...], float]]:
    """Value by sample name and label values (in the order of the label names)."""
    text = (await client.get("/metrics", headers=ADMIN)).text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels[name] for name in sorted(sample.labels))
            found.setdefault(sample.name.removeprefix("waypost_router_"), {})[labels] = sample.value
    return found


async def test_calls_are_counted_by_how_they_ended() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        for _ in range(3):
            await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        await client.post("/v1/chat/completions", json=CHAT)
        await client.post("/v1/chat/completions", json={**CHAT, "model": "a/z"}, headers=AUTH)
        found = await scraped(client)
    assert found["calls_total"] == {("chat", "a/m", "completed", "200"): 3}
    assert found["errors_total"] == {("invalid_api_key",): 1, ("model_not_found",): 1}
    assert found["tokens_total"]["prompt", "a/m"] == 3 * USED.prompt_tokens
    assert found["tokens_total"]["completion", "a/m"] == 3 * USED.completion_tokens
    for span in ("queue", "upstream", "total"):
        assert found[f"{span}_seconds_count"] == {("a/m",): 3}
        assert found[f"{span}_seconds_bucket"]["+Inf", "a/m"] == 3
    assert sum(found["attempts_total"].values()) == 3
    assert max(found["service_samples"].values()) > 0
    assert set(found["worker_slots"]) >= {("one-0",), ("two-0",)}
    assert found["snapshot_version"][()] > 0
    assert found["running_calls"][()] == 1, "the scrape itself"
    assert found["snapshot_age_seconds"][()] == 0, "nobody has to confirm this catalog"
    assert found["process_open_fds"][()] > 0
    assert found["build"] == {(os.environ.get("ROUTER_BUILD", "plain"),): 1}


async def test_no_series_comes_twice_where_two_providers_sell_a_model_on_one_pool() -> None:
    catalog = snapshot()
    deployments = tuple(
        structs.replace(one, pool="one") if one.model == "a/m" else one
        for one in catalog.deployments
    )
    line = Line(
        FakeUpstream(lambda _: ANSWER), catalog=structs.replace(catalog, deployments=deployments)
    )
    async with calling(line) as client:
        await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        text = (await client.get("/metrics", headers=ADMIN)).text
    series = [row.rpartition(" ")[0] for row in text.splitlines() if not row.startswith("#")]
    assert len(set(series)) == len(series)
    sold = [name for name in series if name.startswith("waypost_router_service_seconds{")]
    assert len([name for name in sold if 'worker="one-0"' in name]) == 2


async def test_the_age_of_the_catalog_begins_again_when_it_is_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Line(FakeUpstream(lambda _: ANSWER), snapshot_age_max_s=300.0)
    began_s = time.time()
    monkeypatch.setattr("router.pipeline.gateway.time.time", lambda: began_s + 100)
    async with calling(line) as client:
        assert (await scraped(client))["snapshot_age_seconds"][()] == pytest.approx(100, abs=1)
        line.gateway.confirm()
        assert (await scraped(client))["snapshot_age_seconds"][()] == 0


async def test_failed_attempts_and_ejections_are_counted() -> None:
    line = Line(FakeUpstream(lambda _: UpstreamFailed("reset")))
    async with calling(line) as client:
        for _ in range(4):
            await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        found = await scraped(client)
    assert found["calls_total"]["chat", "a/m", "worker_failed", "502"] == 4
    assert found["errors_total"] == {("worker_failed",): 4}
    assert {outcome for outcome, _ in found["attempts_total"]} == {"worker_failed"}
    assert found["ejections_total"][()] >= 1


async def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "SERIES_MAX", 1)
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line) as client:
        await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        body = {"model": "a/m", "prompt": "x"}
        for _ in range(2):
            await client.post("/v1/completions", json=body, headers=AUTH)
        found = await scraped(client)
    assert found["calls_total"] == {
        ("chat", "a/m", "completed", "200"): 1,
        ("completion", "other", "completed", "200"): 2,
    }


@pytest.mark.parametrize("path", ["/metrics", "/admin/state"])
async def test_only_operators_are_told(path: str) -> None:
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as client:
        for headers in ({}, AUTH, {"authorization": "Bearer x"}):
            assert (await client.get(path, headers=headers)).status_code == 401


async def test_the_state_counts_what_ended_and_failed_by_model() -> None:
    async with calling(Line(FakeUpstream(lambda _: ANSWER))) as client:
        await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        state = (await client.get("/admin/state", headers=ADMIN)).json()
    assert state["router_id"] == "one"
    assert state["models"]["a/m"] == {"waiting": 0, "ended": 1, "failed": 0}
    assert state["draining"] is False


async def test_the_state_tells_what_is_in_an_engines_batch_and_slots_have_none() -> None:
    going = asyncio.Event()
    steps: list[Step] = [StreamPart(b"data: one\n\n", 40), going, StreamPart(b"", 0, USED)]
    body = {**CHAT, "stream": True}
    async with (
        calling(Line(FakeUpstream(lambda _: steps))) as client,
        asyncio.timeout(PATIENCE_S),
    ):

        async def workers() -> dict[str, dict[str, Any]]:
            received = (await client.get("/admin/state", headers=ADMIN)).json()
            return {worker["id"]: worker for worker in received["workers"]}

        async with client.stream(
            "POST", "/v1/chat/completions", json=body, headers=AUTH
        ) as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "data: one"
            engines = [item for item in (await workers()).values() if "engine" in item]
            (busy,) = [engine for engine in engines if engine["engine"]["decoding"]]
            assert busy["engine"]["decoding"] == 1
            assert busy["engine"]["prompts_waiting"] == 0
            assert busy["engine"]["context_tokens"] > 40  # Of the prompt, and of the answer so far.
            assert busy["engine"]["has_room"]
            going.set()
            async for _ in lines:
                pass
        after = await workers()
    assert "engine" not in after["tensor-0"]
    idle = after[busy["id"]]
    assert (idle["engine"]["decoding"], idle["engine"]["context_tokens"]) == (0, 0)
    expected = idle["endpoints"][0]["engine"]
    assert expected["hit_rate"] == 0
    assert expected["first_token_ms"] > 0 < expected["token_ms"]


async def test_the_state_is_told_again_and_again_and_to_so_many_at_once() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    limits = Limits(watchers_max=1, watch_interval_s=0.01)
    headers = {**ADMIN, "accept": "text/event-stream"}
    async with (
        calling(line, limits) as client,
        asyncio.timeout(PATIENCE_S),
        client.stream("GET", "/admin/state", headers=headers) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        seen = 0
        async for received in response.aiter_lines():
            if received.startswith("data: "):
                state = msgspec.json.decode(received.removeprefix("data: "))
                assert {worker["id"] for worker in state["workers"]} >= {"one-0", "two-0"}
                seen += 1
            if seen == 3:
                break
        second = await client.get("/admin/state", headers=headers)
        assert second.status_code == 503
