"""``GET /openapi.json``: describes the router's own API, for people's tools and for our tests.

Requests are described as far as the router reads them; other fields of a body go to the worker.
"""

import msgspec

from router.ingress.describing import (
    ANY_LIST,
    COUNT,
    EVENTS,
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    content,
    list_of,
    object_with,
    operation,
    or_null,
    ref,
)
from router.ingress.faces.table import ALL

PATH = "/openapi.json"
TENSOR = object_with(
    {"name": TEXT, "datatype": TEXT, "shape": list_of({"type": "integer", "minimum": 1}, 1)},
    {"data": ANY_LIST},
)
PERCENTILES = or_null({"type": "object", "additionalProperties": NUMBER})
SHARE = or_null({"type": "number", "minimum": 0, "maximum": 1})
PRICES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
}
COUNTED = object_with({"waiting": COUNT, "ended": COUNT, "failed": COUNT})
STATUS = object_with({"status": {"enum": ["ok", "ready"]}})

SCHEMAS: dict[str, Schema] = {
    "Error": object_with(
        {
            "error": object_with(
                {"message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": TEXT}
            )
        }
    ),
    "Model": object_with(
        {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "pricing": PRICES},
        {"context_length": or_null(COUNT), "supported_parameters": list_of(TEXT)},
    ),
    "ModelList": object_with({"object": {"const": "list"}, "data": list_of(ref("Model"))}),
    "Offers": object_with({"data": object_with({"id": TEXT, "endpoints": list_of(ref("Offer"))})}),
    "Offer": object_with(
        {
            "provider_name": TEXT,
            "status": {"enum": [0, -1]},
            "pricing": PRICES,
            "quantization": or_null(TEXT),
            "uptime_last_5m": SHARE,
            "uptime_last_30m": SHARE,
            "uptime_last_1d": SHARE,
            "latency_last_30m": PERCENTILES,
            "throughput_last_30m": PERCENTILES,
        }
    ),
    "Generation": object_with(
        {
            "data": object_with(
                {
                    "id": TEXT,
                    "model": TEXT,
                    "outcome": TEXT,
                    "total_cost": NUMBER,
                    "attempts": ANY_LIST,
                    "decision": list_of(ref("Candidate")),
                }
            )
        }
    ),
    "Route": object_with(
        {
            "request_id": TEXT,
            "pool": TEXT,
            "worker": TEXT,
            "attempts": ANY_LIST,
            "total_ms": NUMBER,
            "candidates": list_of(ref("Candidate")),
        }
    ),
    "Candidate": object_with(
        {
            "deployment_id": COUNT,
            "worker_id": TEXT,
            "pool": TEXT,
            "verdict": TEXT,
            "wait_ms": NUMBER,
            "service_ms": NUMBER,
            "score": NUMBER,
        },
        {"terms": ref("Terms"), "penalty_ms": NUMBER},
    ),
    "Terms": object_with(
        {
            "ahead_ms": NUMBER,
            "prefill_ms": NUMBER,
            "decode_ms": NUMBER,
            "others_ms": NUMBER,
            "prompt_tokens": COUNT,
            "cached_tokens": COUNT,
            "answer_tokens": COUNT,
        }
    ),
    "Key": object_with(
        {
            "data": object_with(
                {
                    "limit": or_null(NUMBER),
                    "limit_remaining": or_null(NUMBER),
                    "limit_reset": or_null(TEXT),
                    "usage": NUMBER,
                    "usage_daily": NUMBER,
                }
            )
        }
    ),
    "Credits": object_with({"data": object_with({"total_credits": NUMBER, "total_usage": NUMBER})}),
    "InferenceRequest": object_with({"inputs": list_of(TENSOR, 1)}, {"id": TEXT}),
    "Inference": object_with({"model_name": TEXT, "outputs": list_of(TENSOR)}),
    "TensorModel": object_with(
        {"name": TEXT, "versions": list_of(TEXT), "inputs": ANY_LIST, "outputs": ANY_LIST}
    ),
    "Server": object_with({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)}),
    "Statistics": object_with(
        {"model_stats": list_of(object_with({"name": TEXT, "inference_count": COUNT}))}
    ),
    "Status": STATUS,
    "State": object_with(
        {
            "router_id": TEXT,
            "snapshot_version": COUNT,
            "draining": FLAG,
            "waiting": COUNT,
            "models": {"type": "object", "additionalProperties": COUNTED},
            "workers": ANY_LIST,
        }
    ),
}


def _model(path: str, method: str, operation: Schema) -> tuple[str, Schema]:
    """An operation on a model, whose name is two parts of the path or more."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    fixed = [
        {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
        for name in names
    ]
    return path, {method: operation, "parameters": fixed}


def _tensors(summary: str, answer: str, takes: str = "", key: str | None = "key") -> Schema:
    return operation(summary, answer, takes=takes, error="TensorError", key=key)


def _ready() -> Schema:
    """The operation whose answer is its status."""
    responses = {code: {"description": text} for code, text in (("200", "Yes."), ("503", "No."))}
    error = {"description": "An error.", "content": content(ref("TensorError"))}
    summary = "Whether any worker could take a call."
    return {"summary": summary, "responses": responses | {"default": error}, "security": []}


def _metrics() -> Schema:
    """The operation whose answer is not JSON."""
    made = operation("For Prometheus.", "Status", key="operator")
    made["responses"]["200"]["content"] = {"text/plain": {"schema": TEXT}}
    return made


OIP = "/v2/models/{author}/{slug}"
VERSION = OIP + "/versions/{version}"
MODEL = "/v1/models/{author}/{slug}"
PATHS: dict[str, Schema] = (
    {path: item for face in ALL for path, item in face.described.items()}
    | {
        "/v1/models": {"get": operation("What may be called.", "ModelList")},
        "/v1/generation": {"get": operation("What happened to a call.", "Generation", query="id")},
        "/v1/key": {"get": operation("What a key has cost.", "Key")},
        "/v1/credits": {"get": operation("What credit there was and is.", "Credits")},
        "/v2": {"get": _tensors("Server metadata.", "Server", key=None)},
        "/v2/health/live": {"get": _tensors("Whether the router is ready.", "Status", key=None)},
        "/v2/health/ready": {"get": _tensors("Whether the router is ready.", "Status", key=None)},
        "/v2/models/stats": {"get": _tensors("Statistics of every model.", "Statistics")},
        "/healthz": {"get": operation("Whether the process runs.", "Status", key=None)},
        "/readyz": {"get": operation("Whether there is a catalog.", "Status", key=None)},
        "/metrics": {"get": _metrics()},
        "/admin/state": {
            "get": operation("What the router does.", "State", EVENTS, key="operator")
        },
        PATH: {"get": operation("This description.", "Description", key=None)},
    }
    | dict(
        (
            _model(MODEL, "get", operation("One model.", "Model")),
            _model(MODEL + "/endpoints", "get", operation("Who offers a model.", "Offers")),
            *(
                _model(path + action, method, operation)
                for path in (OIP, VERSION)
                for action, method, operation in (
                    ("", "get", _tensors("A model's tensors.", "TensorModel")),
                    ("/ready", "get", _ready()),
                    ("/stats", "get", _tensors("Statistics of a model.", "Statistics")),
                    ("/infer", "post", _tensors("Infer.", "Inference", takes="InferenceRequest")),
                )
            ),
        )
    )
)
for _face in ALL:
    SCHEMAS.update(_face.schemas)
SCHEMAS["Description"] = object_with({"openapi": TEXT, "paths": {"type": "object"}})

DESCRIPTION: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "Waypost's router", "version": "1"},
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
            "operator": {"type": "http", "scheme": "bearer", "description": "ROUTER_ADMIN_TOKEN."},
        },
    },
}
BODY = msgspec.json.encode(DESCRIPTION)
