"""``GET /openapi.json``: describes the router's own API, for people's tools and for our tests.

Requests are described as far as the router reads them; other fields of a body go to the worker.
"""

from typing import Any

import msgspec

Schema = dict[str, Any]
PATH = "/openapi.json"
JSON, EVENTS = "application/json", "text/event-stream"

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY_LIST: Schema = {"type": "array"}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    properties = required | (optional or {})
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


EVENT = _object({"data": TEXT}, {"event": TEXT})
MESSAGE = _object({"role": {"enum": ["system", "user", "assistant"]}, "content": TEXT})
GENERATION = {"max_tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 31}, "stream": FLAG}
ROUTING = {"models": _list(TEXT), "provider": {"type": "object"}}
TENSOR = _object(
    {"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer", "minimum": 1}, 1)},
    {"data": ANY_LIST},
)
PERCENTILES = _or_null({"type": "object", "additionalProperties": NUMBER})
SHARE = _or_null({"type": "number", "minimum": 0, "maximum": 1})
PRICES: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?$"},
}
COUNTED = _object({"waiting": COUNT, "ended": COUNT, "failed": COUNT})
STATUS = _object({"status": {"enum": ["ok", "ready"]}})

SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {"error": _object({"message": TEXT, "type": TEXT, "param": _or_null(TEXT), "code": TEXT})}
    ),
    "AnthropicError": _object(
        {"type": {"const": "error"}, "error": _object({"type": TEXT, "message": TEXT})}
    ),
    "TensorError": _object({"error": TEXT}),
    "ChatRequest": _object(
        {"model": TEXT, "messages": _list(MESSAGE, 1)},
        GENERATION | ROUTING | {"n": {"type": "integer", "minimum": 1, "maximum": 16}},
    ),
    "CompletionRequest": _object(
        {"model": TEXT, "prompt": {"anyOf": [TEXT, _list(TEXT, 1)]}}, GENERATION | ROUTING
    ),
    "Completion": _object(
        {"choices": _list({"type": "object"}, 1)},
        {"model": TEXT, "usage": {"type": "object"}, "route": _ref("Route")},
    ),
    "MessageRequest": _object(
        {"model": TEXT, "messages": _list(MESSAGE, 1), "max_tokens": GENERATION["max_tokens"]},
        {"system": TEXT, "stream": FLAG},
    ),
    "CountRequest": _object({"model": TEXT, "messages": _list(MESSAGE, 1)}, {"system": TEXT}),
    "Message": _object(
        {
            "id": TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "content": ANY_LIST,
            "stop_reason": TEXT,
            "usage": _object({"input_tokens": COUNT, "output_tokens": COUNT}),
        }
    ),
    "TokenCount": _object({"input_tokens": COUNT}),
    "EmbeddingRequest": _object(
        {"model": TEXT, "input": {"anyOf": [TEXT | {"minLength": 1}, _list(TEXT, 1)]}},
        {"encoding_format": {"enum": ["float", "base64"]}},
    ),
    "Embeddings": _object({"data": _list(_object({"index": COUNT, "embedding": {}}))}),
    "Model": _object(
        {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "pricing": PRICES},
        {"context_length": _or_null(COUNT), "supported_parameters": _list(TEXT)},
    ),
    "ModelList": _object({"object": {"const": "list"}, "data": _list(_ref("Model"))}),
    "Offers": _object({"data": _object({"id": TEXT, "endpoints": _list(_ref("Offer"))})}),
    "Offer": _object(
        {
            "provider_name": TEXT,
            "status": {"enum": [0, -1]},
            "pricing": PRICES,
            "quantization": _or_null(TEXT),
            "uptime_last_5m": SHARE,
            "uptime_last_30m": SHARE,
            "uptime_last_1d": SHARE,
            "latency_last_30m": PERCENTILES,
            "throughput_last_30m": PERCENTILES,
        }
    ),
    "Generation": _object(
        {
            "data": _object(
                {
                    "id": TEXT,
                    "model": TEXT,
                    "outcome": TEXT,
                    "total_cost": NUMBER,
                    "attempts": ANY_LIST,
                    "decision": _list(_ref("Candidate")),
                }
            )
        }
    ),
    "Route": _object(
        {
            "request_id": TEXT,
            "pool": TEXT,
            "worker": TEXT,
            "attempts": ANY_LIST,
            "total_ms": NUMBER,
            "candidates": _list(_ref("Candidate")),
        }
    ),
    "Candidate": _object(
        {
            "deployment_id": COUNT,
            "worker_id": TEXT,
            "pool": TEXT,
            "verdict": TEXT,
            "wait_ms": NUMBER,
            "service_ms": NUMBER,
            "score": NUMBER,
        },
        {"terms": _ref("Terms")},
    ),
    "Terms": _object(
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
    "Key": _object(
        {
            "data": _object(
                {
                    "limit": _or_null(NUMBER),
                    "limit_remaining": _or_null(NUMBER),
                    "limit_reset": _or_null(TEXT),
                    "usage": NUMBER,
                    "usage_daily": NUMBER,
                }
            )
        }
    ),
    "Credits": _object({"data": _object({"total_credits": NUMBER, "total_usage": NUMBER})}),
    "InferenceRequest": _object({"inputs": _list(TENSOR, 1)}, {"id": TEXT}),
    "Inference": _object({"model_name": TEXT, "outputs": _list(TENSOR)}),
    "TensorModel": _object(
        {"name": TEXT, "versions": _list(TEXT), "inputs": ANY_LIST, "outputs": ANY_LIST}
    ),
    "Server": _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}),
    "Statistics": _object(
        {"model_stats": _list(_object({"name": TEXT, "inference_count": COUNT}))}
    ),
    "Status": STATUS,
    "State": _object(
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


def _content(schema: Schema, *more: str) -> Schema:
    return {JSON: {"schema": schema}} | {kind: {"schema": EVENT} for kind in more}


def _call(
    summary: str,
    answer: str,
    *more: str,
    takes: str = "",
    error: str = "Error",
    key: str | None = "key",
    query: str = "",
) -> Schema:
    """One operation: its input, its answer, and the shape of its errors."""
    described: Schema = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done.", "content": _content(_ref(answer), *more)},
            "default": {"description": "An error.", "content": _content(_ref(error))},
        },
        "security": [{key: []}] if key else [],
    }
    if takes:
        described["requestBody"] = {"required": True, "content": _content(_ref(takes))}
    if query:
        described["parameters"] = [{"name": query, "in": "query", "required": True, "schema": TEXT}]
    return described


def _model(path: str, method: str, operation: Schema) -> tuple[str, Schema]:
    """An operation on a model, whose name is two parts of the path or more."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    fixed = [
        {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
        for name in names
    ]
    return path, {method: operation, "parameters": fixed}


def _tensors(summary: str, answer: str, takes: str = "", key: str | None = "key") -> Schema:
    return _call(summary, answer, takes=takes, error="TensorError", key=key)


def _ready() -> Schema:
    """The operation whose answer is its status."""
    responses = {code: {"description": text} for code, text in (("200", "Yes."), ("503", "No."))}
    error = {"description": "An error.", "content": _content(_ref("TensorError"))}
    summary = "Whether any worker could take a call."
    return {"summary": summary, "responses": responses | {"default": error}, "security": []}


def _metrics() -> Schema:
    """The operation whose answer is not JSON."""
    made = _call("For Prometheus.", "Status", key="operator")
    made["responses"]["200"]["content"] = {"text/plain": {"schema": TEXT}}
    return made


OIP = "/v2/models/{author}/{slug}"
VERSION = OIP + "/versions/{version}"
MODEL = "/v1/models/{author}/{slug}"
PATHS: dict[str, Schema] = {
    "/v1/chat/completions": {
        "post": _call("OpenAI chat.", "Completion", EVENTS, takes="ChatRequest")
    },
    "/v1/completions": {
        "post": _call("OpenAI completions.", "Completion", EVENTS, takes="CompletionRequest")
    },
    "/v1/messages": {
        "post": _call(
            "Anthropic's messages.",
            "Message",
            EVENTS,
            takes="MessageRequest",
            error="AnthropicError",
        )
    },
    "/v1/messages/count_tokens": {
        "post": _call(
            "What a prompt is taken for.",
            "TokenCount",
            takes="CountRequest",
            error="AnthropicError",
        )
    },
    "/v1/embeddings": {"post": _call("OpenAI embeddings.", "Embeddings", takes="EmbeddingRequest")},
    "/v1/models": {"get": _call("What may be called.", "ModelList")},
    "/v1/generation": {"get": _call("What happened to a call.", "Generation", query="id")},
    "/v1/key": {"get": _call("What a key has cost.", "Key")},
    "/v1/credits": {"get": _call("What credit there was and is.", "Credits")},
    "/v2": {"get": _tensors("Server metadata.", "Server", key=None)},
    "/v2/health/live": {"get": _tensors("Whether the router is ready.", "Status", key=None)},
    "/v2/health/ready": {"get": _tensors("Whether the router is ready.", "Status", key=None)},
    "/v2/models/stats": {"get": _tensors("Statistics of every model.", "Statistics")},
    "/healthz": {"get": _call("Whether the process runs.", "Status", key=None)},
    "/readyz": {"get": _call("Whether there is a catalog.", "Status", key=None)},
    "/metrics": {"get": _metrics()},
    "/admin/state": {"get": _call("What the router does.", "State", EVENTS, key="operator")},
    PATH: {"get": _call("This description.", "Description", key=None)},
} | dict(
    (
        _model(MODEL, "get", _call("One model.", "Model")),
        _model(MODEL + "/endpoints", "get", _call("Who offers a model.", "Offers")),
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
SCHEMAS["Description"] = _object({"openapi": TEXT, "paths": {"type": "object"}})

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
