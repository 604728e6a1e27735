"""Checks of an Open Inference Protocol v2 server, over REST and over gRPC."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc.aio
import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from marketplace.benchmarks.loadgen.plan import plan_of
from marketplace.benchmarks.loadgen.requests import InputsUnknown, Tensor, oip_body, tensors_of
from marketplace.providers.conformance.checks import Check
from marketplace.providers.conformance.findings import (
    FAIL,
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
    wrong = unanswered(Check.METADATA, reply)
    if wrong:
        return wrong
    return _metadata(reply, reply.body(), tensors)


def _metadata(reply: Reply, said: Mapping[str, Any], tensors: Mapping[str, Any]) -> Finding:
    for side in ("inputs", "outputs"):
        wanted = [_written(tensor) for tensor in tensors.get(side) or ()]
        theirs = said.get(side) or ()
        rows = [_written(tensor) for tensor in theirs if isinstance(tensor, Mapping)]
        if not _agree(tensors.get(side) or (), theirs):
            return found(
                Check.METADATA,
                reply,
                FAIL,
                "tensors_differ",
                found="; ".join(rows) or "–",
                wanted="; ".join(wanted) or "–",
            )
    return found(Check.METADATA, reply)


def _agree(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Any]) -> bool:
    """As sets by name; a dimension of -1 agrees with any."""
    known = {str(tensor.get("name")): tensor for tensor in theirs if isinstance(tensor, Mapping)}
    if {str(tensor["name"]) for tensor in ours} != set(known):
        return False
    return all(
        tensor["datatype"] == known[tensor["name"]].get("datatype")
        and _fits(known[tensor["name"]].get("shape") or (), tensor["shape"])
        for tensor in ours
    )


def _fits(found_shape: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return len(found_shape) == len(wanted) and all(
        int(a) == int(b) or int(a) < 0 or int(b) < 0
        for a, b in zip(found_shape, wanted, strict=True)
    )


def judge_infer(
    reply: Reply, outputs: Sequence[Mapping[str, Any]], check: Check = Check.INFER
) -> Finding:
    """Every declared output is there, with its datatype, its shape and as many values."""
    wrong = unanswered(check, reply)
    if wrong:
        return wrong
    rows = reply.body().get("outputs")
    came = {
        str(row.get("name")): row
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict)
    }
    missing = [str(tensor["name"]) for tensor in outputs if tensor["name"] not in came]
    if missing or not came:
        return found(check, reply, FAIL, "outputs_missing", missing=", ".join(missing) or "outputs")
    for tensor in outputs:
        row = came[tensor["name"]]
        shape = row.get("shape") or ()
        if row.get("datatype") != tensor["datatype"] or not _fits(shape, tensor["shape"]):
            return found(
                check,
                reply,
                FAIL,
                "shape_wrong",
                tensor=tensor["name"],
                found=_written(row),
                wanted=_written(tensor),
            )
        values = row.get("data")
        if isinstance(values, list) and len(_flat(values)) != math.prod(map(int, shape)):
            return found(
                check,
                reply,
                FAIL,
                "data_short",
                tensor=tensor["name"],
                found=len(_flat(values)),
                wanted=math.prod(map(int, shape)),
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
    header = reply.content[: int(size)] if size.isdecimal() else reply.content
    judged = Reply(
        reply.status, header, reply.headers, reply.sent, reply.took_ms, error=reply.error
    )
    outputs = list(target.tensors.get("outputs") or ())
    finding = judge_infer(judged, outputs, Check.BINARY)
    if finding.verdict != "pass":
        return finding
    promised = sum(
        int((row.get("parameters") or {}).get("binary_data_size") or 0)
        for row in judged.body().get("outputs") or ()
    )
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


def _written(tensor: Mapping[str, Any]) -> str:
    shape = ",".join(map(str, tensor.get("shape") or ()))
    return f"{tensor.get('name')} {tensor.get('datatype')}[{shape}]"


def _flat(values: list[Any]) -> list[Any]:
    if not values or not isinstance(values[0], list):
        return values
    return [inner for value in values for inner in _flat(value)]


async def check_oip_grpc(address: str, target: Target) -> AsyncIterator[Finding]:
    """The same over gRPC; tensors are always binary there. ``address`` was judged before."""
    async with InferenceServerClient(address) as server:
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
        sent = f"ModelInfer {[_written(_as_json(tensor)) for tensor in tensors]}"
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
