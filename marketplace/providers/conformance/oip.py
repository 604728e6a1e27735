"""Checks of an Open Inference Protocol v2 server, over REST and over gRPC."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc.aio
import msgspec
import numpy as np
from msgspec import Struct
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.requests import InputsUnknown, Tensor, oip_body, tensors_of
from marketplace.catalog.addresses import GRPC_BOUNDS
from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import (
    FAIL,
    PASS,
    WARN,
    Finding,
    Reply,
    Target,
    found,
    shortened,
    unanswered,
)
from marketplace.providers.conformance.http import CALL_TIMEOUT_S, Client
from marketplace.providers.conformance.openai.judging import judge_refusal

ROWS = 2
READY = "/v2/health/ready"
SIZE_DIGITS = 10
"""A header that is told to be longer has no such size."""


class SaidTensor(Struct, frozen=True):
    """A tensor as a server, or the listing, describes it. ``data`` is of an answer in JSON."""

    name: str
    datatype: str = ""
    shape: tuple[int, ...] = ()
    data: Any = None
    parameters: dict[str, Any] | None = None

    @property
    def binary_bytes(self) -> int:
        size = (self.parameters or {}).get("binary_data_size")
        return size if isinstance(size, int) else 0


class Said(Struct, frozen=True):
    """What is read of metadata, and of an answer."""

    inputs: tuple[SaidTensor, ...] = ()
    outputs: tuple[SaidTensor, ...] = ()


async def check_oip(client: Client, target: Target) -> AsyncIterator[Finding]:
    """Everything about one endpoint over REST."""
    ready = await client.get(READY)
    if ready.error:
        yield unanswered(Check.REACHABLE, ready) or found(Check.REACHABLE, ready)
        return
    yield found(Check.REACHABLE, ready)
    yield (
        found(Check.HEALTH, ready)
        if ready.ok
        else found(Check.HEALTH, ready, FAIL, "unhealthy", status=ready.status, path=READY)
    )
    path = f"/v2/models/{target.model}"
    model = await client.get(f"{path}/ready")
    yield (
        found(Check.MODEL_LISTED, model)
        if model.ok
        else found(Check.MODEL_LISTED, model, FAIL, "model_not_ready", status=model.status)
    )
    if not model.ok:
        return
    yield judge_metadata(await client.get(path), target.tensors)
    try:
        inputs = inputs_of(target)
    except InputsUnknown:
        yield Finding(Check.INFER, FAIL, "no_tensors")
        return
    outputs = list(target.tensors.get("outputs") or ())
    plain = await client.post(f"{path}/infer", {"inputs": [_as_json(tensor) for tensor in inputs]})
    yield judge_infer(plain, outputs)
    yield await _binary(client, target, inputs)
    bad = {"inputs": [_badly_shaped(tensor) for tensor in inputs]}
    reply = await client.post(f"{path}/infer", bad)
    silent = unanswered(Check.BAD_SHAPE, reply) if reply.error else None
    yield silent or judge_refusal(Check.BAD_SHAPE, reply)


def inputs_of(target: Target) -> list[Tensor]:
    """Seeded values for the listing's inputs. Raises ``InputsUnknown``."""
    plan = plan_of(target.task, {"rows": ROWS})
    return tensors_of(plan, list(target.tensors.get("inputs") or ()), 0)


def judge_metadata(reply: Reply, tensors: Mapping[str, Any]) -> Finding:
    """Names, datatypes and shapes of inputs and outputs match the listing."""
    said = _said(Check.METADATA, reply)
    if isinstance(said, Finding):
        return said
    listed = msgspec.convert(tensors, Said)
    for wanted, theirs in ((listed.inputs, said.inputs), (listed.outputs, said.outputs)):
        if not _agree(wanted, theirs):
            return found(
                Check.METADATA,
                reply,
                FAIL,
                "tensors_differ",
                found="; ".join(map(_written, theirs)) or "–",
                wanted="; ".join(map(_written, wanted)) or "–",
            )
    return found(Check.METADATA, reply)


def _said(check: Check, reply: Reply) -> Said | Finding:
    """The tensors of a reply, or what is wrong with it."""
    wrong = unanswered(check, reply)
    if wrong:
        return wrong
    try:
        return msgspec.convert(reply.body(), Said)
    except msgspec.ValidationError as error:
        return found(check, reply, FAIL, "not_json", why=str(error))


def _agree(ours: Sequence[SaidTensor], theirs: Sequence[SaidTensor]) -> bool:
    """As sets by name; a dimension of -1 agrees with any."""
    known = {tensor.name: tensor for tensor in theirs}
    if {tensor.name for tensor in ours} != set(known):
        return False
    return all(_fits(known[tensor.name], tensor) for tensor in ours)


def _fits(said: SaidTensor, wanted: SaidTensor) -> bool:
    return (
        said.datatype == wanted.datatype
        and len(said.shape) == len(wanted.shape)
        and all(a == b or min(a, b) < 0 for a, b in zip(said.shape, wanted.shape, strict=True))
    )


def judge_infer(
    reply: Reply, outputs: Sequence[Mapping[str, Any]], check: Check = Check.INFER
) -> Finding:
    """Every declared output is there, with its datatype, its shape and as many values."""
    said = _said(check, reply)
    if isinstance(said, Finding):
        return said
    wanted = msgspec.convert(outputs, list[SaidTensor])
    came = {tensor.name: tensor for tensor in said.outputs}
    missing = [tensor.name for tensor in wanted if tensor.name not in came]
    if missing or not came:
        return found(check, reply, FAIL, "outputs_missing", missing=", ".join(missing) or "outputs")
    for tensor in wanted:
        one = came[tensor.name]
        if not _fits(one, tensor):
            return found(
                check,
                reply,
                FAIL,
                "shape_wrong",
                tensor=tensor.name,
                found=_written(one),
                wanted=_written(tensor),
            )
        if isinstance(one.data, list) and _count(one.data) != math.prod(one.shape):
            return found(
                check,
                reply,
                FAIL,
                "data_short",
                tensor=tensor.name,
                found=_count(one.data),
                wanted=math.prod(one.shape),
            )
    return found(check, reply)


async def _binary(client: Client, target: Target, inputs: list[Tensor]) -> Finding:
    """Numbers as the binary tensor extension; texts go as JSON, with binary outputs."""
    plan = plan_of(target.task, {"rows": ROWS})
    request = oip_body(plan, target.model, inputs)
    shown = f"POST {request.path} binary, {len(request.content)} bytes"
    content = request.content
    headers = dict(request.headers)
    if "inference-header-content-length" not in headers:
        body = {**json.loads(content), "parameters": {"binary_data_output": True}}
        content = json.dumps(body).encode()
    reply = await client.post(request.path, content, headers, shown)
    if reply.error or reply.status != 200:
        return found(Check.BINARY, reply, WARN, "binary_refused", status=reply.status)
    size = reply.headers.get("inference-header-content-length", "")
    size = size if len(size) < SIZE_DIGITS else ""
    header = reply.content[: int(size)] if size.isdecimal() else reply.content
    judged = Reply(
        reply.status, header, reply.headers, reply.sent, reply.took_ms, error=reply.error
    )
    outputs = list(target.tensors.get("outputs") or ())
    finding, said = judge_infer(judged, outputs, Check.BINARY), _said(Check.BINARY, judged)
    if finding.verdict != PASS or isinstance(said, Finding):
        return finding
    promised = sum(tensor.binary_bytes for tensor in said.outputs)
    if size.isdecimal() and promised != len(reply.content) - int(size):
        return found(
            Check.BINARY,
            judged,
            FAIL,
            "data_short",
            tensor="outputs",
            found=len(reply.content) - int(size),
            wanted=promised,
        )
    return finding


def _as_json(tensor: Tensor) -> dict[str, Any]:
    flat = tensor.array.ravel().tolist()
    values = [value.decode() if isinstance(value, bytes) else value for value in flat]
    shape = list(tensor.array.shape)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": values}


def _badly_shaped(tensor: Tensor) -> dict[str, Any]:
    """One dimension too many, with as many values as it says: only the model can refuse it."""
    right = _as_json(tensor)
    return {**right, "shape": [*right["shape"], 3], "data": right["data"] * 3}


def _written(tensor: SaidTensor) -> str:
    return f"{tensor.name} {tensor.datatype}[{','.join(map(str, tensor.shape))}]"


def _count(values: list[Any]) -> int:
    """The values in lists of lists, however deep."""
    lists, count = [values], 0
    while lists:
        for value in lists.pop():
            if isinstance(value, list):
                lists.append(value)
            else:
                count += 1
    return count


async def check_oip_grpc(address: str, target: Target) -> AsyncIterator[Finding]:
    """The same over gRPC; tensors are always binary there. ``address`` was judged before."""
    async with InferenceServerClient(address, channel_args=GRPC_BOUNDS) as server:
        ready = await _asked("ServerReady", server.is_server_ready())
        if ready.error:
            yield unanswered(Check.REACHABLE, ready) or found(Check.REACHABLE, ready)
            return
        yield found(Check.REACHABLE, ready)
        yield (
            found(Check.HEALTH, ready)
            if _said_yes(ready)
            else found(Check.HEALTH, ready, FAIL, "unhealthy", status="false", path="ServerReady")
        )
        model = await _asked(f"ModelReady {target.model}", server.is_model_ready(target.model))
        if not _said_yes(model):
            yield found(Check.MODEL_LISTED, model, FAIL, "model_not_ready", status=model.shown)
            return
        yield found(Check.MODEL_LISTED, model)
        metadata = await _asked(
            f"ModelMetadata {target.model}", server.get_model_metadata(target.model, as_json=True)
        )
        yield judge_metadata(metadata, target.tensors)
        try:
            tensors = inputs_of(target)
        except InputsUnknown:
            yield Finding(Check.INFER, FAIL, "no_tensors")
            return
        sizes = [f"{tensor.name} {list(tensor.array.shape)}" for tensor in tensors]
        sent = f"ModelInfer {sizes}"
        answer = await _asked(shortened(sent), _infer(server, target, tensors))
        yield judge_infer(answer, list(target.tensors.get("outputs") or ()))
        bad = await _asked("ModelInfer with a bad shape", _infer(server, target, tensors, bad=True))
        # A refusal is right here; a dead server would have been found before.
        if bad.error and "nothing within" not in bad.error:
            yield found(Check.BAD_SHAPE, bad)
        else:
            yield found(Check.BAD_SHAPE, bad, FAIL, "bad_accepted", status=bad.status or "–")


async def _infer(
    server: InferenceServerClient, target: Target, tensors: list[Tensor], *, bad: bool = False
) -> dict[str, Any]:
    inputs = []
    for tensor in tensors:
        array = np.stack([tensor.array] * 3, axis=-1) if bad else tensor.array
        one = InferInput(tensor.name, list(array.shape), tensor.datatype)
        one.set_data_from_numpy(array)
        inputs.append(one)
    result = await server.infer(target.model, inputs)
    return dict(result.get_response(as_json=True))


async def _asked(sent: str, asking: Any) -> Reply:
    """A gRPC call as a reply: its answer as JSON, or its error."""
    started = time.monotonic()
    error, answer = "", None
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            answer = await asking
    except (InferenceServerException, grpc.aio.AioRpcError) as refused:
        error = f"gRPC: {refused}"
    except TimeoutError:
        error = f"nothing within {CALL_TIMEOUT_S:g} s"
    took_ms = (time.monotonic() - started) * 1e3
    if error:
        return Reply(sent=sent, took_ms=took_ms, error=error)
    return Reply(200, json.dumps(_whole(answer)).encode(), {}, sent, took_ms)


def _whole(value: Any) -> Any:
    """Protobuf's JSON has 64-bit numbers as texts."""
    if isinstance(value, dict):
        return {
            name: [int(item) for item in inner] if name == "shape" else _whole(inner)
            for name, inner in value.items()
        }
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _said_yes(reply: Reply) -> bool:
    return not reply.error and reply.content == b"true"
