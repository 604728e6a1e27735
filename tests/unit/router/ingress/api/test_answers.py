"""Calls that are answered, and the shapes of errors that clients expect."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from router.ports.upstream import StreamPart, UpstreamFailed
from tests.unit.router.ingress.api.edge import ANSWER, AUTH, BODY_BYTES_MAX, CHAT, client_of
from tests.unit.router.pipeline.line import FakeUpstream, Line


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
