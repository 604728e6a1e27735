"""What a customer with bad intentions might send, and what he must not get by it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from router.domain.catalog import Endpoint
from router.domain.request import InferenceRequest
from router.ports.upstream import Answer
from router.settings import Limits
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.serving import calling, calling_grpc
from tests.unit.router.pipeline.line import KEY, USED, FakeUpstream, Line

pb: Any = service_pb2
pb_grpc: Any = service_pb2_grpc

ANSWER = Answer(b'{"model":"a/m","choices":[]}', "application/json", USED, "stop")
AUTH = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "a/m", "messages": [{"role": "user", "content": "hi"}]}
LIMITS = Limits(body_bytes_max=4_000, header_bytes_max=2_000)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer " + KEY.encode()
CHUNKED = HEAD + b"\r\ntransfer-encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def shop() -> AsyncIterator[tuple[httpx.AsyncClient, Line]]:
    line = Line(FakeUpstream(lambda _: ANSWER))
    async with calling(line, LIMITS) as client:
        yield client, line


async def raw(client: httpx.AsyncClient, *pieces: bytes) -> bytes:
    """What the router says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    with contextlib.suppress(OSError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    received = b""
    with contextlib.suppress(OSError):
        received = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return received


@pytest.mark.parametrize("path", ["/admin/state", "/metrics"])
@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "/{}",
        "/.{}",
        "/v1/..{}",
        "{}/",
        "{}%00",
        "{}?x=/healthz",
        "/%2e%2e{}",
        "/healthz/..{}",
    ],
)
@pytest.mark.parametrize(
    "headers", [{}, AUTH, {"authorization": "Bearer "}, {"x-api-key": "admin"}]
)
async def test_what_is_the_operators_no_path_and_no_customers_key_opens(
    path: str, written: str, headers: dict[str, str]
) -> None:
    async with shop() as (client, _):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for spelled in (path, path.replace("a", "%61").replace("m", "%6D")):
            head = f"GET {written.format(spelled)} HTTP/1.1\r\nhost: h\r\n{lines}\r\n"
            status = (await raw(client, head.encode())).split(b" ")[1]
            assert status in (b"401", b"404"), (written, status)


async def test_paths_are_taken_as_they_are_written() -> None:
    async with shop() as (client, line):
        for path in (
            "//v1/models",
            "/v1//models",
            "/v1/./models",
            "/v2/../v1/models",
            "/V1/models",
        ):
            received = await raw(client, f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
            assert received.startswith(b"HTTP/1.1 404 "), path
        encoded = await client.get("/v1/models/a%2Fm", headers=AUTH)
        assert encoded.json()["id"] == "a/m"
        split = await client.get("/v1/models/a%0d%0aset-cookie:x", headers=AUTH)
        assert split.status_code == 404
        assert "set-cookie" not in split.headers
    assert not line.records


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_a_body_that_nobody_asked_for_is_thrown_away(method: str) -> None:
    head = method.encode() + b" /healthz HTTP/1.1\r\nhost: h\r\n"
    bodies = (
        b"content-length: 300\r\n\r\n" + b"x" * 300,
        b"transfer-encoding: chunked\r\n\r\n" + b"12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n",
    )
    async with shop() as (client, _):
        bare = await raw(client, head + b"\r\n")
        for body in bodies:
            received = await raw(client, head + body)
            assert received.split(b"\r\n")[0] == bare.split(b"\r\n")[0]


async def test_such_a_body_is_bounded_too() -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: h\r\n"
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    async with shop() as (client, _):
        assert (await raw(client, head + b"content-length: 5000\r\n\r\n")).split()[1] == b"413"
        assert (await raw(client, chunked, *[b"5\r\nxxxxx\r\n" * 200] * 40)).split()[1] == b"413"


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (HEAD + b"\r\n", b"a: " + b"x" * 997 + b"\r\n", b"431"),
        (HEAD + b"\r\na: ", b"x" * 1_000, b"431"),
        (HEAD.replace(b"completions", b"completions?"), b"x" * 1_000, b"431"),
        (CHUNKED, b"1\r\nx\r\n" * 200, b"413"),
        (CHUNKED + b"1;", b"x" * 1_000, b"413"),
        (CHUNKED + b"1\r\nx\r\n0\r\na: ", b"x" * 1_000, b"413"),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"a: " + b"x" * 997 + b"\r\n", b"413"),
    ],
)
async def test_nothing_of_a_request_can_be_without_end(
    begin: bytes, more: bytes, status: bytes
) -> None:
    async with shop() as (client, line):
        received = await raw(client, begin, *[more] * 40)
        assert received.split(b" ")[1] == status, received
    assert not line.records


async def test_a_head_that_comes_at_once_has_the_same_bound() -> None:
    large = HEAD + b"\r\na: " + b"x" * 2_000 + b"\r\ncontent-length: 0\r\n\r\n"
    async with shop() as (client, _):
        assert (await raw(client, large)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"\ncontent-length: 0\n\n",
        HEAD + b"\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        HEAD + b"\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
        CHUNKED + b"1\nx\n0\n\n",
        CHUNKED + b"1\r\nxGET / HTTP/1.1\r\n\r\n",
        CHUNKED + b"ffffffffffffffff1\r\nx\r\n0\r\n\r\n",
        HEAD + b"\r\ncontent-length: 99999999999999999999\r\n\r\n",
        HEAD + b"\r\ncontent-length: 0x2\r\n\r\n{}",
    ],
)
async def test_a_request_that_a_proxy_might_read_otherwise_is_refused_and_ends_the_connection(
    request_: bytes,
) -> None:
    async with shop() as (client, line):
        received = await raw(client, request_ + b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 "), received
    assert received.count(b"HTTP/1.1 ") == 1, "the rest was taken for another request"
    assert not line.records


async def test_an_explanation_says_nothing_of_other_customers_or_of_where_workers_are() -> None:
    async with shop() as (client, _):
        for _ in range(3):
            answer = await client.post(
                "/v1/chat/completions", json=CHAT, headers={**AUTH, "x-route-explain": "1"}
            )
        generation = await client.get(
            f"/v1/generation?id={answer.headers['x-request-id']}", headers=AUTH
        )
    for text in (answer.text, generation.text):
        for secret in ("organisation", "account", "key_id", "lease", "http://x", KEY):
            assert secret not in text
    assert answer.json()["route"]["request_id"] == answer.headers["x-request-id"]


async def test_no_header_of_a_client_decides_for_whom_or_where_a_call_runs() -> None:
    seen: list[InferenceRequest] = []

    class Noting(FakeUpstream):
        async def answer(self, request: InferenceRequest, endpoint: Endpoint) -> Answer:
            seen.append(request)
            return await super().answer(request, endpoint)

    line = Line(Noting(lambda _: ANSWER))
    headers = {
        **AUTH,
        "x-forwarded-for": "10.0.0.1",
        "x-original-url": "/admin/state",
        "x-http-method-override": "DELETE",
        "x-request-id": "mine",
        "x-route-worker": "tensor-0",
        "cookie": "a=b",
    }
    async with calling(line, LIMITS) as client:
        response = await client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert response.status_code == 200
    assert response.headers["x-request-id"] != "mine"
    assert not seen[0].payload_headers
    assert line.records[0].organisation_id == 1


async def test_over_grpc_messages_and_metadata_are_bounded_and_faults_are_statuses() -> None:
    async with calling_grpc(Line(FakeUpstream(lambda _: ANSWER)), LIMITS) as stub:
        large = pb.ModelInferRequest(model_name="a/t", raw_input_contents=[b"x" * 5_000])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(large, metadata=(("authorization", f"Bearer {KEY}"),))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        wordy = (("authorization", f"Bearer {KEY}"), ("x", "y" * 20_000))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(pb.ModelInferRequest(model_name="a/t"), metadata=wordy)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for name in ("", "a/t\x00", "../../etc/passwd"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ModelInfer(
                    pb.ModelInferRequest(model_name=name),
                    metadata=(("authorization", f"Bearer {KEY}"),),
                )
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"content-type": b"application/json; a=\xff\xe2\x82\xac"}, 200),
        ({b"inference-header-content-length": b"9" * 5_000}, 422),
    ],
)
async def test_no_header_of_an_inference_is_a_fault_of_ours(
    headers: dict[bytes, bytes], status: int
) -> None:
    line = Line(FakeUpstream(lambda _: Answer(b"{}", "application/json", USED)))
    body = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1],"data":[1]}]}'
    sent = [(b"authorization", f"Bearer {KEY}".encode()), *headers.items()]
    async with calling(line, Limits()) as client:
        answer = await client.post("/v2/models/a/t/infer", content=body, headers=sent)
    assert answer.status_code == status, answer.text


async def test_a_parameter_without_a_value_is_the_clients_error() -> None:
    request = pb.ModelInferRequest(model_name="a/t")
    request.inputs.add(name="X", datatype="FP32", shape=[1]).contents.fp32_contents.append(1)
    request.parameters["x"].SetInParent()
    async with calling_grpc(Line(FakeUpstream(lambda _: ANSWER)), LIMITS) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(request, metadata=(("authorization", f"Bearer {KEY}"),))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


BODY = b'{"model":"a/m","messages":[{"role":"user","content":"hi"}]}'
SIZED = b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(BODY), BODY)
KEYED = b"authorization: Bearer " + KEY.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", b'{"model":"a/m","input":"caf\xe9"}'),
        ("/v1/responses", b'{"model":"a/m","input":[{"type":"item_reference","id":"\xe9"}]}'),
        ("/v1/responses", b'{"model":"a/m","input":[{"role":"user","content":"x","y":"\xe9"}]}'),
        ("/v1/responses", b'{"model":"a/m","input":[{"role":"user","content":"x","y":1e999}]}'),
        ("/v1/responses", b'{"model":"a/m","input":"x","provider":{"order":["\xe9"]}}'),
        ("/v1/chat/completions", BODY[:-1] + b',"provider":{"order":["\xe9"]}}'),
        ("/v1/chat/completions", BODY[:-1] + b',"provider":{"\xe9":1}}'),
        (
            "/v2/models/a/t/infer",
            b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["caf\xe9"]}]}',
        ),
    ],
)
async def test_what_cannot_be_read_in_any_part_of_a_body_is_the_clients_error(
    path: str, body: bytes
) -> None:
    async with shop() as (client, line):
        answer = await client.post(path, content=body, headers=AUTH)
    assert answer.status_code == 422, answer.text
    assert not line.records


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST http://h/v1/chat/completions HTTP/1.1\r\nhost: h\r\n" + KEYED, b"200"),
        (b"POST HTTPS://other:8/v1/chat/completions?x=1 HTTP/1.1\r\nhost: h\r\n" + KEYED, b"200"),
        (b"POST http://h HTTP/1.1\r\nhost: h\r\n" + KEYED, b"404"),
        (b"POST /v1/chat/completions HTTP/1.1\r\n" + KEYED, b"400"),
        (b"POST /v1/chat/completions HTTP/1.0\r\n" + KEYED, b"200"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nHost: b\r\n" + KEYED, b"400"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + KEYED * 2, b"400"),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nidempotency-key: a\r\n"
            b"idempotency-key: b\r\n" + KEYED,
            b"400",
        ),
        # 2,000 bytes are allowed: these are more by their separators, or by their number.
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n" + KEYED + b"a:\r\n" * 500, b"431"),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n"
            + KEYED
            + b"".join(b"%d:\r\n" % n for n in range(400)),
            b"431",
        ),
    ],
)
async def test_targets_hosts_and_heads_are_taken_by_the_standard(
    head: bytes, status: bytes
) -> None:
    async with shop() as (client, _):
        received = await raw(client, head + SIZED)
    assert received.split(b" ")[1] == status, received


async def test_an_empty_idempotency_key_counts_as_no_key() -> None:
    async with shop() as (client, line):
        headers = {**AUTH, "idempotency-key": ""}
        for content in ("hi", "ho"):
            said = {**CHAT, "messages": [{"role": "user", "content": content}]}
            answer = await client.post("/v1/chat/completions", json=said, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "idempotent-replayed" not in answer.headers
    assert len(line.records) == 2


async def test_the_bodies_of_all_calls_together_are_bounded_and_let_go_of() -> None:
    limits = Limits(pending_body_bytes_max=2_000)
    head = HEAD + b"\r\ncontent-length: 1500\r\n\r\n"
    async with calling(Line(FakeUpstream(lambda _: ANSWER)), limits) as client:
        _, slow = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        slow.write(head + b"x" * 1_400)
        await slow.drain()
        received = b""
        for _ in range(50):  # Until the first one's have come.
            received = await raw(client, head + b"x" * 1_500)
            if received.startswith(b"HTTP/1.1 503"):
                break
        assert received.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in received
        slow.close()
        await slow.wait_closed()
        answer = None
        for _ in range(20):  # Refused and served ones leave nothing either.
            said = {**CHAT, "user": "x" * 1_400}
            answer = await client.post("/v1/chat/completions", json=said, headers=AUTH)
        assert answer is not None
        assert answer.status_code == 200, answer.text
