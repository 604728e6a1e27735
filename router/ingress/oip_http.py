"""The Open Inference Protocol v2 over REST, as Triton's clients speak it: JSON and binary."""

import re
from typing import Any

import msgspec

from router.domain.errors import ModelUnknown, RequestInvalid
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.pipeline.routing_table import Route, RoutingTable

HEADER_LENGTH = b"inference-header-content-length"
SERVER_NAME = "switchyard"

_PATH = re.compile(
    r"^/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?P<action>/infer|/ready|/stats)?$"
)
_encode = msgspec.json.Encoder().encode


class _Tensor(msgspec.Struct):
    """What is read of an input tensor: rows are its first dimension."""

    shape: list[int]


class _Inference(msgspec.Struct):
    inputs: list[_Tensor]


_decode = msgspec.json.Decoder(_Inference).decode


class ModelPath(msgspec.Struct, frozen=True):
    """``/v2/models/{author}/{slug}[/versions/{v}][/infer|/ready]``, taken apart."""

    model: str
    version: str
    action: str


def parse_path(path: str) -> ModelPath | None:
    """None when the path is not about a model."""
    match = _PATH.match(path)
    if match is None:
        return None
    action = (match["action"] or "/metadata")[1:]
    return ModelPath(match["model"], match["version"] or "", action)


def parse_infer(
    name: str,
    body: bytes,
    headers: dict[bytes, bytes],
    *,
    request_id: str,
    explain: bool,
    arrived_s: float,
    created_at_ms: int,
) -> InferenceRequest:
    """A call out of an inference body. Raises ``RequestInvalid`` saying what does not fit."""
    declared = headers.get(HEADER_LENGTH)
    if declared is not None and not (declared.isdigit() and int(declared) <= len(body)):
        raise RequestInvalid(
            f"Inference-Header-Content-Length {declared.decode('latin-1')!r} does not fit a body "
            f"of {len(body)} bytes"
        )
    header_length = len(body) if declared is None else int(declared)
    try:
        inference = _decode(body[:header_length])
    except msgspec.MsgspecError as error:
        raise RequestInvalid(f"not an inference request: {error}") from None
    if not inference.inputs or not all(tensor.shape for tensor in inference.inputs):
        raise RequestInvalid("inputs must hold at least one tensor with a shape", param="inputs")
    rows = inference.inputs[0].shape[0]
    if rows < 1:
        raise RequestInvalid(f"the first dimension is {rows}; give at least one row")
    payload_headers = [("Content-Type", headers.get(b"content-type", b"application/json").decode())]
    if declared is not None:
        payload_headers.append(("Inference-Header-Content-Length", declared.decode()))
    return InferenceRequest(
        id=request_id,
        kind=Kind.INFER,
        model=name,
        bound=Usage(rows=rows),
        arrived_s=arrived_s,
        created_at_ms=created_at_ms,
        explain=explain,
        payload=body,
        payload_headers=tuple(payload_headers),
    )


def server_metadata() -> bytes:
    """``GET /v2``."""
    body = {"name": SERVER_NAME, "version": "2", "extensions": ["binary_tensor_data"]}
    return _encode(body)


def find_route(table: RoutingTable, path: ModelPath) -> Route:
    """Raises ``ModelUnknown`` for a name or a version that is not published."""
    route = table.routes.get(path.model)
    if route is None or (path.version and path.version != route.model.version):
        wanted = f"{path.model!r}" + (f" version {path.version}" if path.version else "")
        raise ModelUnknown(f"model {wanted} does not exist; GET /v1/models lists those that do")
    return route


def model_metadata(route: Route) -> bytes:
    """``GET /v2/models/{model}``."""
    model = route.model
    body = {
        "name": model.name,
        "versions": [model.version],
        "platform": SERVER_NAME,
        "inputs": [_tensor(*tensor) for tensor in model.inputs],
        "outputs": [_tensor(*tensor) for tensor in model.outputs],
    }
    return _encode(body)


def route_is_ready(route: Route) -> bool:
    """Whether any worker could take a call."""
    return any(e.worker.healthy and not e.worker.draining for e in route.endpoints)


def _tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
