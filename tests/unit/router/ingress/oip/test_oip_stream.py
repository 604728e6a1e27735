"""gRPC streams to a decoupled worker: billing, backpressure and the hop."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest
from msgspec import structs
from tritonclient.grpc import service_pb2, service_pb2_grpc

from router.adapters.memory import MemoryCluster
from router.contracts.snapshot import Snapshot
from router.domain.addresses import EVERYWHERE, AddressPolicy
from router.domain.catalog import Worker
from router.ingress.proxy.forward import Forwarder
from router.scheduling.fleet.sharding import owner
from router.settings import Limits
from router.upstream.http import HTTPClient
from router.upstream.oip_grpc import GRPCTransport
from router.upstream.oip_http import OIPUpstream
from tests.patience import PATIENCE_S
from tests.unit.router.ingress.proxy.test_forward import GONE, view_of
from tests.unit.router.ingress.serving import api_of, calling, calling_grpc, operations_of
from tests.unit.router.pipeline.line import KEY, PEPPER, Line, in_time, snapshot

pb: Any = service_pb2
pb_grpc: Any = service_pb2_grpc

MODEL, ROWS, ROW_NANO = "a/t", 2, 100
METADATA = (("authorization", f"Bearer {KEY}"),)
LIMITS = Limits(silence_timeout_s=2)
LARGE = b"x" * 65_536
HELD_BYTES_MAX = 2 * LIMITS.grpc_ahead_bytes
"""What the router lets a worker send ahead, and what gRPC has in hand at either end."""
TENSOR = {"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}
INFERENCE = {"inputs": [TENSOR]}

Script = Callable[["Decoupled", Any], Awaitable[None]]


class Decoupled(pb_grpc.GRPCInferenceServiceServicer):
    """A worker whose answers are a script's."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls = 0
        self.sent = 0
        self.stopped = False

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "ModelInfer RPC doesn't support models with decoupled transaction policy",
        )

    async def ModelStreamInfer(self, requests: Any, context: Any) -> None:  # noqa: N802
        async for request in requests:
            assert request.model_name == "t"
            assert "triton_grpc_error" not in dict(context.invocation_metadata())
            self.calls += 1
            try:
                await self.script(self, context)
            except BaseException:
                self.stopped = True
                raise

    async def tell(self, context: Any, raw: bytes = b"\0\0\0\0") -> None:
        answer = pb.ModelInferResponse(model_name="t", raw_output_contents=[raw])
        await context.write(pb.ModelStreamInferResponse(infer_response=answer))
        self.sent += 1


async def three(worker: Decoupled, context: Any) -> None:
    for number in range(3):
        await worker.tell(context, bytes([number]))


async def breaking(worker: Decoupled, context: Any) -> None:
    await worker.tell(context)
    await context.abort(grpc.StatusCode.INTERNAL, "out of memory")


async def failing_once(worker: Decoupled, context: Any) -> None:
    if worker.calls == 1:
        await context.abort(grpc.StatusCode.INTERNAL, "out of memory")
    await worker.tell(context)


async def refusing(worker: Decoupled, context: Any) -> None:
    await context.write(pb.ModelStreamInferResponse(error_message="unexpected shape"))


async def failing_late(worker: Decoupled, context: Any) -> None:
    """As a model does that fails and then says that it is done."""
    await worker.tell(context)
    await context.write(pb.ModelStreamInferResponse(error_message="counted too far"))
    await asyncio.sleep(0.05)
    await worker.tell(context)


async def full(worker: Decoupled, context: Any) -> None:
    if worker.calls == 1:
        error = "[x] Exceeds maximum queue size"
        await context.write(pb.ModelStreamInferResponse(error_message=error))
    else:
        await worker.tell(context)


async def silent(worker: Decoupled, context: Any) -> None:
    await worker.tell(context)
    await asyncio.Event().wait()


async def endless(worker: Decoupled, context: Any) -> None:
    while True:
        await worker.tell(context, LARGE)


@contextlib.asynccontextmanager
async def working(script: Script) -> AsyncIterator[tuple[Decoupled, Line]]:
    """A worker, and a line that knows it under two names."""
    worker, server = Decoupled(script), grpc.aio.server()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(worker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = GRPCTransport(LIMITS, AddressPolicy(EVERYWHERE))
    try:
        yield worker, Line(OIPUpstream(transport), catalog=shop(f"grpc://127.0.0.1:{port}"))
    finally:
        await transport.close()
        await server.stop(None)


def shop(url: str) -> Snapshot:
    made = snapshot()
    tensors = (Worker(f"tensor-{i}", "tensors", url, "oip_grpc", 4) for i in range(2))
    others = (worker for worker in made.workers if worker.pool != "tensors")
    return structs.replace(made, workers=(*others, *tensors))


@contextlib.asynccontextmanager
async def streaming(line: Line, forwarder: Forwarder | None = None) -> AsyncIterator[Any]:
    """A stream through a router over the line."""
    async with calling_grpc(line, LIMITS, forwarder) as stub:
        yield stub.ModelStreamInfer(metadata=METADATA)


async def ask(stream: Any) -> None:
    request = pb.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="X", datatype="FP32", shape=[ROWS, 1])
    assert tensor.name
    request.raw_input_contents.append(np.zeros(ROWS, np.float32).tobytes())
    await stream.write(request)


async def rest_of(stream: Any) -> list[Any]:
    """Everything that still arrives after the last request."""
    await stream.done_writing()
    return [received async for received in stream]


async def test_every_answer_comes_and_the_rows_are_billed_once() -> None:
    async with working(three) as (_, line), streaming(line) as stream:
        for _ in range(2):
            await ask(stream)
        received = [item.infer_response for item in await rest_of(stream)]
    assert [list(answer.raw_output_contents) for answer in received] == [
        [b"\0"],
        [b"\1"],
        [b"\2"],
    ] * 2
    assert {answer.model_name for answer in received} == {MODEL}
    assert [record.outcome for record in line.records] == ["completed"] * 2
    assert [record.charge_nano for record in line.records] == [ROWS * ROW_NANO] * 2
    assert line.unresolved_nano == line.slots_taken == 0


async def test_a_model_that_fails_may_say_that_it_is_done() -> None:
    """Triton crashed where its stream was closed before."""
    async with working(failing_late) as (worker, line), streaming(line) as stream:
        await ask(stream)
        first, error = await rest_of(stream)
    assert first.infer_response.raw_output_contents
    assert "what was delivered is billed" in error.error_message
    assert (worker.sent, worker.stopped) == (2, False)
    assert line.records[0].rows == ROWS


async def test_a_worker_without_room_is_left_for_another() -> None:
    async with working(full) as (worker, line), streaming(line) as stream:
        await ask(stream)
        (received,) = await rest_of(stream)
    assert received.infer_response.raw_output_contents
    assert worker.calls == 2


@pytest.mark.parametrize("script", [breaking, silent])
async def test_a_break_off_is_reported_and_what_was_delivered_is_billed(
    script: Script,
) -> None:
    async with working(script) as (worker, line), streaming(line) as stream:
        await ask(stream)
        first, error = await rest_of(stream)
    assert first.infer_response.raw_output_contents
    assert "what was delivered is billed" in error.error_message
    (record,) = line.records
    assert (record.outcome, record.rows) == ("truncated", ROWS)
    assert record.charge_nano == ROWS * ROW_NANO
    assert worker.calls == 1


async def test_before_the_first_answer_another_worker_is_tried() -> None:
    async with working(failing_once) as (worker, line), streaming(line) as stream:
        await ask(stream)
        (received,) = await rest_of(stream)
    assert received.infer_response.raw_output_contents
    assert worker.calls == 2
    assert line.records[0].attempts[0].outcome == "worker_failed:grpc_internal"


async def test_what_the_worker_finds_wrong_is_the_callers_and_free() -> None:
    async with working(refusing) as (worker, line), streaming(line) as stream:
        await ask(stream)
        (received,) = await rest_of(stream)
    assert received.error_message == "unexpected shape"
    assert (worker.calls, line.records[0].charge_nano) == (1, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"parameters": [1]},
        {"parameters": {"a": 1 << 70}},
        {"outputs": [1]},
        {"outputs": 1},
        {"id": 1},
        {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1 << 70], "data": [1]}]},
        {"inputs": [{"name": 1, "datatype": [], "shape": [1], "parameters": 1}]},
    ],
)
async def test_fields_of_other_kinds_are_the_callers_error(odd: dict[str, Any]) -> None:
    async with working(three) as (_, line), calling(line) as client:
        answer = await client.post(
            "/v2/models/a/t/infer", json={**INFERENCE, **odd}, headers=dict(METADATA)
        )
    assert answer.status_code == 422, answer.text
    assert next(iter(odd)) in answer.json()["error"] or "cannot be read" in answer.json()["error"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("grpc://nobody.invalid:1", "connect"),
        ("grpc://127.0.0.1", "bad_url"),
        (f"grpc://{'x' * 64}.example:1", "bad_url"),
    ],
)
async def test_a_worker_that_cannot_be_found_is_a_failure(url: str, reason: str) -> None:
    transport = GRPCTransport(LIMITS, AddressPolicy(EVERYWHERE))
    line = Line(OIPUpstream(transport), catalog=shop(url))
    async with calling(line) as client:
        answer = await client.post("/v2/models/a/t/infer", json=INFERENCE, headers=dict(METADATA))
    assert answer.status_code == 502
    assert reason in answer.json()["error"]
    assert line.slots_taken == 0


async def test_a_decoupled_worker_that_goes_away_is_a_failure_to_connect() -> None:
    worker, server = Decoupled(three), grpc.aio.server()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(worker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    transport = GRPCTransport(LIMITS, AddressPolicy(EVERYWHERE))
    line = Line(OIPUpstream(transport), catalog=shop(f"grpc://127.0.0.1:{port}"))
    async with streaming(line) as stream:
        await ask(stream)
        for _ in range(3):
            await stream.read()
        await server.stop(None)
        for _ in range(3):
            await ask(stream)
            received = await stream.read()
            assert "connect" in received.error_message
    await transport.close()


async def test_a_decoupled_worker_that_takes_nothing_is_given_up() -> None:
    class Deaf(Decoupled):
        async def ModelStreamInfer(self, requests: Any, context: Any) -> None:  # noqa: N802
            if self.calls:
                await asyncio.Event().wait()
            await super().ModelStreamInfer(requests, context)

    worker, server = Deaf(three), grpc.aio.server()
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(worker, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    limits = Limits(silence_timeout_s=1, attempts_max=1)
    transport = GRPCTransport(limits, AddressPolicy(EVERYWHERE))
    catalog = shop(f"grpc://127.0.0.1:{port}")
    line = Line(OIPUpstream(transport), catalog=catalog, limits=limits)
    async with calling_grpc(line, Limits()) as stub:
        stream = stub.ModelStreamInfer(metadata=METADATA)
        await ask(stream)
        for _ in range(3):
            await stream.read()
        request = pb.ModelInferRequest(model_name=MODEL)
        assert request.inputs.add(name="X", datatype="UINT8", shape=[1, 8_000_000]).name
        request.raw_input_contents.append(bytes(8_000_000))
        await stream.write(request)
        received = await asyncio.wait_for(stream.read(), PATIENCE_S)
    assert "timeout" in received.error_message
    await transport.close()
    await server.stop(None)


async def test_a_client_that_takes_nothing_holds_its_worker_up_and_stops_it_when_it_leaves() -> (
    None
):
    async with working(endless) as (worker, line), streaming(line) as stream:
        await ask(stream)
        await stream.read()
        before = -1
        while before != worker.sent:  # Until the worker is held up.
            before = worker.sent
            await asyncio.sleep(0.3)
        assert worker.sent * len(LARGE) < HELD_BYTES_MAX
        stream.cancel()
        await in_time(lambda: worker.stopped and bool(line.records))
    (record,) = line.records
    assert (record.outcome, record.charge_nano) == ("client_gone", ROWS * ROW_NANO)
    assert line.slots_taken == 0


async def test_a_router_that_drains_waits_for_a_call_over_grpc_and_no_longer() -> None:
    going = asyncio.Event()

    async def held(worker: Decoupled, context: Any) -> None:
        await going.wait()
        await worker.tell(context)

    async with working(held) as (worker, line):
        operations = operations_of(line, LIMITS)
        async with calling_grpc(line, LIMITS, operations=operations) as stub:
            stream = stub.ModelStreamInfer(metadata=METADATA)
            await ask(stream)
            await in_time(lambda: worker.calls == 1)
            draining = asyncio.create_task(api_of(line, LIMITS, operations).drain(2 * PATIENCE_S))
            await in_time(lambda: operations.draining)
            assert not draining.done()
            going.set()
            async with asyncio.timeout(PATIENCE_S):
                await draining
            (received,) = await rest_of(stream)
    assert received.infer_response.raw_output_contents


@pytest.mark.parametrize(("script", "ends"), [(three, 3), (breaking, 1), (refusing, 0)])
async def test_a_stream_goes_through_the_router_that_owns_the_model(
    script: Script, ends: int
) -> None:
    left_name = next(n for n in map(str, range(99)) if owner(MODEL, [n, "right"]) == "right")
    cluster = MemoryCluster(time.monotonic)
    async with (
        working(script) as (_, right),
        HTTPClient(LIMITS, AddressPolicy(EVERYWHERE)) as client,
    ):
        catalog = shop(GONE)
        left = Line(right.upstream, catalog=catalog)
        alone = await view_of(MemoryCluster(time.monotonic), "right", GONE, catalog)
        there = Forwarder(alone, client, PEPPER, 10_000)
        async with calling(right, forwarder=there) as http:
            await view_of(cluster, "right", str(http.base_url).rstrip("/"), catalog)
            view = await view_of(cluster, left_name, GONE, catalog)
            here = Forwarder(view, client, PEPPER, 10_000)
            async with streaming(left, here) as stream:
                await ask(stream)
                received = await rest_of(stream)
    answers = [answer for answer in received if not answer.error_message]
    assert len(answers) == ends
    assert all(answer.infer_response.raw_output_contents for answer in answers)
    assert len(received) == (ends if script is three else ends + 1)
    assert not left.records
    assert right.records[0].charge_nano == (ROWS * ROW_NANO if ends else 0)
