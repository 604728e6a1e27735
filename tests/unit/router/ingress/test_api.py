"""The edge: what comes in is checked, and errors have the shapes that clients expect."""

import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from router.adapters.memory import MemoryBudget
from router.domain.catalog import ApiKey, Budget, Endpoint
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.domain.request import InferenceRequest
from router.ports.upstream import Answer, StreamPart, UpstreamFailed
from router.settings import Limits
from tests.unit.router.ingress.serving import calling
from tests.unit.router.pipeline.line import (
    ACCOUNT,
    FUNDS_NANO,
    KEY,
    PEPPER,
    USED,
    FakeUpstream,
    Line,
    snapshot,
)

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
TENSORS = Answer(b'{"model_name":"a/t","outputs":[]}', "application/json", None)
ORIGIN = "http://pages.example"
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
ROW = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}
BODY_BYTES_MAX = 2_000


@contextlib.asynccontextmanager
async def client_of(line: Line, *origins: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = Limits(body_bytes_max=BODY_BYTES_MAX)
    async with calling(line, limits, origins or (ORIGIN,)) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    upstream = FakeUpstream(lambda e: TENSORS if e.worker.protocol == "oip" else ANSWER)
    async with client_of(Line(upstream)) as made:
        yield made


async def test_a_call_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    assert response.status_code == 200
    assert response.content == ANSWER.body
    assert response.headers["x-request-id"]
    assert "queue;dur=" in response.headers["server-timing"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("/v1/chat/completions", CHAT, {}, 401, "invalid_api_key"),
        ("/v1/chat/completions", CHAT, {"authorization": "Bearer x"}, 401, "invalid_api_key"),
        ("/v1/chat/completions", CHAT, {"authorization": "Basic x"}, 401, "invalid_api_key"),
        ("/v1/chat/completions", {**CHAT, "model": "a/z"}, AUTH, 404, "model_not_found"),
        ("/v1/chat/completions", {"model": "a/m"}, AUTH, 422, "invalid_request"),
        ("/v1/chat/completions", {**CHAT, "model": 3}, AUTH, 422, "invalid_request"),
        ("/v1/chat/completions", {**CHAT, "max_tokens": -1}, AUTH, 422, "invalid_request"),
        ("/v1/chat/completions", {**CHAT, "n": 99}, AUTH, 422, "invalid_request"),
        ("/v1/chat/completions", [CHAT], AUTH, 422, "invalid_request"),
        ("/v1/nothing", CHAT, AUTH, 404, "not_found"),
    ],
)
async def test_errors_have_openais_shape(
    client: httpx.AsyncClient, path: str, body: object, headers: dict, status: int, code: str
) -> None:
    response = await client.post(path, json=body, headers=headers)
    assert response.status_code == status
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]


async def test_malformed_json_is_named_as_such(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", content=b"{bad", headers=AUTH)
    assert response.status_code == 422
    assert "not JSON" in response.json()["error"]["message"]


async def test_without_credit_it_is_402() -> None:
    async with client_of(Line(FakeUpstream(lambda _: ANSWER), funds_nano=1)) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    assert response.status_code == 402
    assert response.json()["error"]["type"] == "insufficient_quota"


async def test_when_every_worker_is_full_the_client_is_told_when_to_return() -> None:
    full = UpstreamFailed("http_429", is_fault=False, retry_after_s=7)
    async with client_of(Line(FakeUpstream(lambda _: full))) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_whose_header_has_a_line_break_is_a_500(stream: bool) -> None:
    broken = (("x-a", "1\nx-b: 2"),)
    part = StreamPart(b"data: x\n\n", 1, headers=broken, done=True)
    upstream = FakeUpstream(
        lambda _: [part] if stream else msgspec.structs.replace(ANSWER, headers=broken)
    )
    async with client_of(Line(upstream)) as client:
        body = {**CHAT, "stream": stream}
        response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "x-b" not in response.headers


async def test_a_fault_of_ours_is_a_500_without_details() -> None:
    secret = ZeroDivisionError("secret detail")
    async with client_of(Line(FakeUpstream(lambda _: secret))) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    assert response.status_code == 500
    assert "secret" not in response.text


async def test_a_body_over_the_limit_is_413_declared_or_not(client: httpx.AsyncClient) -> None:
    large = b"x" * (BODY_BYTES_MAX + 1)

    async def undeclared() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 500):
            yield large[start : start + 500]

    for content in (large, undeclared()):
        response = await client.post("/v1/chat/completions", content=content, headers=AUTH)
        assert response.status_code == 413
        assert str(BODY_BYTES_MAX) in response.json()["error"]["message"]


async def test_tensors_are_inferred_and_their_errors_have_oips_shape(
    client: httpx.AsyncClient,
) -> None:
    tensor = {"name": "X", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}
    body = {"inputs": [tensor]}
    for path in ("/v2/models/a/t/infer", "/v2/models/a/t/versions/1/infer"):
        answer = await client.post(path, json=body, headers=AUTH)
        assert answer.status_code == 200
        assert answer.json()["model_name"] == "a/t"
    for path, wrong, status in (
        ("/v2/models/a/none/infer", body, 404),
        ("/v2/models/a/t/versions/9/infer", body, 404),
        ("/v2/models/a/t/infer", {"inputs": []}, 422),
        ("/v2/models/a/t/infer", {"inputs": [{**tensor, "shape": []}]}, 422),
        ("/v2/models/a/t/infer", {"inputs": [{**tensor, "shape": [0, 8]}]}, 422),
    ):
        response = await client.post(path, json=wrong, headers=AUTH)
        assert response.status_code == status, path
        assert isinstance(response.json()["error"], str)
    stale = {**AUTH, "inference-header-content-length": "100000"}
    assert (await client.post("/v2/models/a/t/infer", json=body, headers=stale)).status_code == 422


async def test_models_are_listed_to_key_holders(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).status_code == 401
    listed = (await client.get("/v1/models", headers=AUTH)).json()["data"]
    assert {entry["id"] for entry in listed} == {"a/m", "a/t"}
    one = (await client.get("/v1/models/a/m", headers=AUTH)).json()
    assert one["pricing"]["prompt"] == "0.000001"
    assert (await client.get("/v1/models/m", headers=AUTH)).json() == one


async def test_a_list_tells_what_a_model_takes_and_what_its_workers_act_on() -> None:
    made = snapshot()
    catalog = msgspec.structs.replace(
        made,
        models=(msgspec.structs.replace(made.models[0], takes=("image",)), *made.models[1:]),
        deployments=tuple(
            msgspec.structs.replace(deployment, parameters=names)
            for deployment, names in zip(
                made.deployments, (("tools", "seed"), ("seed",), ()), strict=True
            )
        ),
    )
    async with client_of(Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)) as client:
        listed = (await client.get("/v1/models", headers=AUTH)).json()["data"]
    chat, table = sorted(listed, key=lambda entry: entry["id"])
    assert chat["architecture"]["input_modalities"] == ["text", "image"]
    assert chat["architecture"]["output_modalities"] == ["text"]
    assert chat["architecture"]["modality"] == "text+image->text"
    assert chat["supported_parameters"] == ["seed", "tools"]
    assert chat["top_provider"]["max_completion_tokens"] == 100
    assert chat["pricing"].keys() >= {"prompt", "completion", "image", "input_cache_read"}
    assert table["architecture"]["modality"] == "tensors->tensors"


async def test_the_providers_of_a_model_are_listed(client: httpx.AsyncClient) -> None:
    await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    found = (await client.get("/v1/models/a/m/endpoints", headers=AUTH)).json()["data"]
    assert found["id"] == "a/m"
    assert [(e["provider_name"], e["status"]) for e in found["endpoints"]] == [
        ("north", 0),
        ("south", 0),
    ]
    assert found["endpoints"][0]["pricing"]["prompt"] == "0.000001"
    called, idle = found["endpoints"]
    assert called["service_ms"] > 0
    assert idle["service_ms"] is None
    assert [called[f"uptime_last_{span}"] for span in ("5m", "30m", "1d")] == [1, 1, 1]
    assert called["latency_last_30m"].keys() == {"p50", "p75", "p90", "p99"}
    assert 0 < called["latency_last_30m"]["p50"] <= called["latency_last_30m"]["p99"]
    assert called["throughput_last_30m"]["p50"] > 0
    unknown = ("uptime_last_5m", "latency_last_30m", "throughput_last_30m", "quantization")
    assert [idle[name] for name in unknown] == [None] * 4
    assert (await client.get("/v1/models/a/z/endpoints", headers=AUTH)).status_code == 404
    assert (await client.get("/v1/models/a/m/endpoints")).status_code == 401


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


async def test_a_call_is_told_with_its_decision_and_only_to_its_own(
    client: httpx.AsyncClient,
) -> None:
    call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    id_ = call.headers["x-request-id"]
    found = (await client.get(f"/v1/generation?id={id_}", headers=AUTH)).json()["data"]
    assert (found["id"], found["model"], found["provider_name"]) == (id_, "a/m", "north")
    assert found["tokens_prompt"] == USED.prompt_tokens
    assert found["total_cost"] == int(call.headers["x-cost-nano-usd"]) / 1e9
    assert [attempt["status"] for attempt in found["attempts"]] == ["completed"]
    verdicts = {item["worker_id"]: item["verdict"] for item in found["decision"]}
    assert "chosen" in verdicts.values()
    assert verdicts["two-0"] == "slower"
    for wrong, status in (("", 422), ("?id=x", 404), (f"?id={uuid4()}", 404)):
        assert (await client.get(f"/v1/generation{wrong}", headers=AUTH)).status_code == status
    assert (await client.get(f"/v1/generation?id={id_}")).status_code == 401


async def test_anothers_call_looks_like_none() -> None:
    other = "another-key"
    catalog = snapshot()
    key = ApiKey(6, digest_key(other, PEPPER), organisation_id=2, account_id=ACCOUNT)
    line = Line(
        FakeUpstream(lambda _: ANSWER),
        catalog=msgspec.structs.replace(catalog, keys=(*catalog.keys, key)),
    )
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        path = f"/v1/generation?id={call.headers['x-request-id']}"
        refused = await client.get(path, headers={"authorization": f"Bearer {other}"})
        assert (await client.get(path, headers=AUTH)).status_code == 200
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "call_not_found"


async def test_a_key_can_ask_what_it_has_spent_and_what_is_left() -> None:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        await line.ledger.settle(line.records)
        cost = int(call.headers["x-cost-nano-usd"]) / 1e9
        key = (await client.get("/v1/key", headers=AUTH)).json()["data"]
        credit = (await client.get("/v1/credits", headers=AUTH)).json()["data"]
    assert key["usage"] == pytest.approx(cost)
    assert (key["id"], key["limit"], key["expires_at"]) == (5, None, None)
    assert credit["total_usage"] == pytest.approx(cost)
    assert credit["total_credits"] == pytest.approx(FUNDS_NANO / 1e9)


async def test_a_key_can_ask_what_is_left_of_its_budget() -> None:
    catalog = msgspec.structs.replace(
        snapshot(), budgets=(Budget(6, 1), Budget(7, 1, key_id=5), Budget(8, 1, user_id=5))
    )
    line = Line(FakeUpstream(lambda _: ANSWER), catalog=catalog)
    line.ledger.budgets |= {id_: MemoryBudget(FUNDS_NANO) for id_ in (6, 8)}
    budget = line.ledger.budgets[7] = MemoryBudget(2_000_000_000)
    async with client_of(line) as client:
        call = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
        await line.ledger.settle(line.records)
        cost = int(call.headers["x-cost-nano-usd"]) / 1e9
        key = (await client.get("/v1/key", headers=AUTH)).json()["data"]
        budget.limit_nano = budget.spent_nano + budget.held_nano
        refused = await client.post(
            "/v1/chat/completions", json={**CHAT, "max_tokens": 100}, headers=AUTH
        )
    assert budget.spent_nano > 0
    assert (key["limit"], key["limit_reset"]) == (2, "monthly")
    assert key["limit_remaining"] == pytest.approx(2 - cost)
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "budget_exhausted"


async def test_a_key_of_some_models_lists_no_others() -> None:
    catalog = snapshot()
    key = ApiKey(6, digest_key("some", PEPPER), 1, ACCOUNT, models=("a/t",))
    line = Line(
        FakeUpstream(lambda _: ANSWER),
        catalog=msgspec.structs.replace(catalog, keys=(*catalog.keys, key)),
    )
    some = {"authorization": "Bearer some"}
    async with client_of(line) as client:
        for headers, expected in ((AUTH, {"a/m", "a/t"}), (some, {"a/t"})):
            listed = (await client.get("/v1/models", headers=headers)).json()["data"]
            assert {model["id"] for model in listed} == expected
            counted = (await client.get("/v2/models/stats", headers=headers)).json()
            assert {model["name"] for model in counted["model_stats"]} == expected
        paths = ("/v1/models/{}", "/v1/models/{}/endpoints", "/v2/models/{}", "/v2/models/{}/stats")
        for path in paths:
            assert (await client.get(path.format("a/t"), headers=some)).status_code == 200, path
            refused = await client.get(path.format("a/m"), headers=some)
            assert refused.status_code == 403, path
            assert "may not use model 'a/m'" in refused.text


async def test_probes_need_no_key(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/v2", "/v2/health/ready", "/v2/models/a/t/ready"):
        assert (await client.get(path)).status_code == 200, path


async def test_state_is_for_admins(client: httpx.AsyncClient) -> None:
    assert (await client.get("/admin/state", headers=AUTH)).status_code == 401
    admin = {"authorization": "Bearer admin"}
    state = (await client.get("/admin/state", headers=admin)).json()
    assert {worker["id"] for worker in state["workers"]} >= {"one-0", "two-0", "tensor-0"}


@pytest.mark.parametrize("origin", [ORIGIN, "http://elsewhere:3000", "null"])
async def test_any_page_may_call_where_that_is_configured(origin: str) -> None:
    asked = "authorization, x-stainless-lang, anthropic-version, x-anything-to-come"
    headers = {"origin": origin, "access-control-request-headers": asked}
    async with client_of(Line(FakeUpstream(lambda _: ANSWER)), "*") as client:
        response = await client.options("/v1/chat/completions", headers=headers)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-headers"] == asked
        answer = await client.post(
            "/v1/chat/completions", json=CHAT, headers={**AUTH, "origin": origin}
        )
    assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "wishes", [{"only": ["nobody"]}, {"max_price": {"prompt": 0}}, {"order": ["nobody"]}]
)
async def test_sdks_are_told_not_to_repeat_what_cannot_end_otherwise(
    client: httpx.AsyncClient, wishes: dict
) -> None:
    body = {**CHAT, "provider": {**wishes, "allow_fallbacks": False}}
    response = await client.post("/v1/chat/completions", json=body, headers=AUTH)
    assert response.status_code == 503
    assert response.headers["x-should-retry"] == "false"


async def test_sdks_may_repeat_what_may_end_otherwise() -> None:
    full = UpstreamFailed("http_429", is_fault=False, retry_after_s=7)
    async with client_of(Line(FakeUpstream(lambda _: full))) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=AUTH)
    assert "x-should-retry" not in response.headers


async def test_only_our_pages_may_call_from_a_browser(client: httpx.AsyncClient) -> None:
    ours = await client.options("/v1/chat/completions", headers={"origin": ORIGIN})
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    other = await client.options("/v1/chat/completions", headers={"origin": "http://evil"})
    assert "access-control-allow-origin" not in other.headers


class Urgency(FakeUpstream):
    """Keeps the priorities of what it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda e: TENSORS if e.worker.protocol == "oip" else ANSWER)
        self.asked: list[str] = []

    async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
        self.asked.append(request.wishes.priority)
        return await super().answer(request, endpoint)


@pytest.mark.parametrize(
    ("path", "body", "priority"),
    [
        ("/v1/chat/completions", CHAT, "batch"),
        ("/v1/chat/completions", {**CHAT, "provider": {"priority": "interactive"}}, "interactive"),
        ("/v2/models/a/t/infer", ROW, "batch"),
    ],
)
async def test_a_header_gives_the_priority_where_the_body_asks_for_none(
    path: str, body: object, priority: str
) -> None:
    upstream = Urgency()
    async with client_of(Line(upstream)) as client:
        answer = await client.post(path, json=body, headers={**AUTH, "x-route-priority": "batch"})
    assert (answer.status_code, upstream.asked) == (200, [priority])


async def test_an_unknown_priority_is_refused(client: httpx.AsyncClient) -> None:
    headers = {**AUTH, "x-route-priority": "urgent"}
    answer = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "X-Route-Priority"
