"""The Open Inference Protocol v2 over REST, as used by Triton's clients: JSON and binary."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.contracts.wire import UNREADABLE
from router.domain.catalog import Model
from router.domain.errors import ModelUnknown, RequestInvalid
from router.domain.outcome import Outcome
from router.domain.pricing import Usage
from router.domain.request import InferenceRequest, Kind
from router.ingress.oip.tensors import Inference, check_inference, decode
from router.ingress.unfit import unfit
from router.pipeline.plans.naming import check_permitted
from router.pipeline.plans.routing_table import NOBODY, Grant, Route, RoutingTable
from router.pipeline.recorders.meters import ModelMeters

HEADER_LENGTH = b"inference-header-content-length"
SERVER_NAME = "waypost"
STATISTICS = "stats"
ALL_STATISTICS = "/v2/models/stats"
ROWS_MAX = 1 << 31
LENGTH_DIGITS_MAX = 18
COMPLETED = Outcome.COMPLETED.value

_PATH = re.compile(
    r"^/v2/models/(?P<model>.+?)(?:/versions/(?P<version>[^/]+))?(?P<action>/infer|/ready|/stats)?$"
)
_encode = msgspec.json.Encoder().encode


class ModelPath(msgspec.Struct, frozen=True):
    """The parts of ``/v2/models/{author}/{slug}[/versions/{v}][/infer|/ready|/stats]``.

    An empty ``model`` means all models.
    """

    model: str
    version: str
    action: str


def parse_path(path: str) -> ModelPath | None:
    """None when the path is not about a model."""
    match = _PATH.match(path)
    if match is None:
        return None
    if path == ALL_STATISTICS:
        return ModelPath("", "", STATISTICS)
    action = (match["action"] or "/metadata")[1:]
    return ModelPath(match["model"], match["version"] or "", action)


def parse_infer(
    model: Model,
    body: bytes,
    headers: dict[bytes, bytes],
    *,
    request_id: str,
    explain: bool,
    arrived_s: float,
    created_at_ms: int,
    stream: bool = False,
    checked: bool = True,
) -> InferenceRequest:
    """The call that an inference body describes.

    ``stream`` asks for each answer as it comes. A call that does not run need not have its tensors'
    data ``checked``. Raises ``RequestInvalid`` that says what does not fit.
    """
    declared = headers.get(HEADER_LENGTH)
    header_length = _header_length(declared, body)
    inference = _decoded(body[:header_length])
    rows = inference.inputs[0].shape[0]
    if not 1 <= rows <= ROWS_MAX:
        raise RequestInvalid(
            f"the first dimension is {rows}; give 1 to {ROWS_MAX} rows", param="inputs"
        )
    if checked:
        check_inference(inference, memoryview(body)[header_length:], model)
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    payload_headers = [("Content-Type", content_type)]
    if declared is not None:
        payload_headers.append(("Inference-Header-Content-Length", declared.decode()))
    return InferenceRequest(
        id=request_id,
        kind=Kind.INFER,
        model=model.name,
        bound=Usage(rows=rows),
        arrived_s=arrived_s,
        created_at_ms=created_at_ms,
        stream=stream,
        explain=explain,
        payload=body,
        payload_headers=tuple(payload_headers),
    )


def _header_length(declared: bytes | None, body: bytes) -> int:
    """Bytes of the JSON, which binary tensors follow if the client ``declared`` where."""
    if declared is None:
        return len(body)
    if not _fits(declared, body):
        raise RequestInvalid(
            f"Inference-Header-Content-Length {declared.decode('latin-1')!r} does not fit a body "
            f"of {len(body)} bytes"
        )
    return int(declared)


def _decoded(header: bytes) -> Inference:
    try:
        inference = decode(header)
    except msgspec.ValidationError as error:
        raise unfit(error) from None
    except UNREADABLE as unreadable:
        raise RequestInvalid(f"not an inference request: {unreadable}") from None
    if not inference.inputs or not all(tensor.shape for tensor in inference.inputs):
        raise RequestInvalid("inputs must hold at least one tensor with a shape", param="inputs")
    return inference


def _fits(length: bytes, body: bytes) -> bool:
    is_number = length.isdigit() and len(length) <= LENGTH_DIGITS_MAX
    return is_number and int(length) <= len(body)


def server_metadata() -> bytes:
    """``GET /v2``."""
    body = {"name": SERVER_NAME, "version": "2", "extensions": ["binary_tensor_data", "statistics"]}
    return _encode(body)


def find_route(table: RoutingTable, path: ModelPath, grant: Grant = NOBODY) -> Route:
    """The route of a path's model, if the grant may use it.

    Raises ``ModelUnknown`` for a name or version that is not published, or ``NotAllowed``.
    """
    route = table.route_for(grant, path.model)
    if route is None or (path.version and path.version != route.model.version):
        wanted = f"{path.model!r}" + (f" version {path.version}" if path.version else "")
        raise ModelUnknown(f"model {wanted} does not exist; GET /v1/models lists those that do")
    check_permitted(grant, route)
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


def model_statistics(
    table: RoutingTable, grant: Grant, models: Mapping[str, ModelMeters], path: ModelPath
) -> bytes:
    """``GET /v2/models[/{model}]/stats``: what this router has answered since its start.

    It has the shape of Triton's statistics extension. Raises ``ModelUnknown`` or ``NotAllowed``.
    """
    if path.model:
        routes = [find_route(table, path, grant)]
    else:
        routes = [route for route in table.routes.values() if grant.sees(route)]
    none = ModelMeters()
    stats = [_statistics(route.model, models.get(route.model.name, none)) for route in routes]
    return _encode({"model_stats": stats})


def _statistics(model: Model, meters: ModelMeters) -> dict[str, Any]:
    answered = sum(n for (_, outcome, _), n in meters.calls.items() if outcome == COMPLETED)
    others = sum(meters.calls.values()) - answered
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": meters.last_ms,
        "inference_count": meters.inferences,
        "execution_count": answered,
        "inference_stats": {
            "success": _duration(answered, meters.total.sum_ms - meters.unanswered_ms),
            "fail": _duration(others, meters.unanswered_ms),
            "queue": _duration(sum(meters.queue.counts), meters.queue.sum_ms),
            "compute_infer": _duration(sum(meters.upstream.counts), meters.upstream.sum_ms),
            **dict.fromkeys(("compute_input", "compute_output"), _duration(0, 0.0)),
            **dict.fromkeys(("cache_hit", "cache_miss"), _duration(0, 0.0)),
        },
        "batch_stats": [],
    }


def _duration(count: int, total_ms: float) -> dict[str, int]:
    return {"count": count, "ns": round(total_ms * 1e6)}


def route_is_ready(route: Route) -> bool:
    """Whether any worker can take a call."""
    return any(e.worker.healthy and not e.worker.draining for e in route.endpoints)


def _tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
