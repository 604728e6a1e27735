"""OpenAI's dialect: JSON bodies in, validated calls out, and the list of models."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from router.domain.catalog import Endpoint, Model
from router.domain.errors import RequestInvalid
from router.domain.money import PRICE_SCALE, format_usd
from router.domain.pricing import Price, Usage
from router.domain.request import NO_WISHES, InferenceRequest, Kind, Wishes
from router.ingress import messages
from router.pipeline.routing_table import Route, RoutingTable

PATHS = {
    "/v1/chat/completions": Kind.CHAT,
    "/v1/completions": Kind.COMPLETION,
    "/v1/embeddings": Kind.EMBEDDING,
    messages.PATH: Kind.CHAT,
}
MODALITIES = {
    "chat": (["text"], ["text"]),
    "embeddings": (["text"], ["embeddings"]),
}
"""What goes in and comes out, by task; tensors for every other."""

PROMPT_FIELDS = {Kind.CHAT: "messages", Kind.COMPLETION: "prompt", Kind.EMBEDDING: "input"}
TEMPLATE_TOKENS_MAX = 256
"""Room for what a worker's chat template adds to a prompt."""

CHOICES_MAX = 16
FALLBACKS_MAX = 4


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Known(msgspec.Struct):
    """The fields that routing needs. All others pass through unread."""

    model: str = ""
    models: list[str] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    provider: Wishes | None = None


_decode_known = msgspec.json.Decoder(_Known).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
encode = msgspec.json.Encoder().encode


def parse_call(
    kind: Kind,
    body: bytes,
    *,
    request_id: str,
    explain: bool,
    arrived_s: float,
    created_at_ms: int,
) -> InferenceRequest:
    """A call out of a JSON body. Raises ``RequestInvalid`` naming the field that does not fit."""
    try:
        known = _decode_known(body)
        fields = _decode_fields(body)
    except msgspec.ValidationError as error:
        raise RequestInvalid(str(error)) from None
    except msgspec.MsgspecError as error:
        raise RequestInvalid(f"the body is not JSON: {error}") from None
    model, fallbacks = _models(known)
    prompt_field = PROMPT_FIELDS[kind]
    prompt = fields.get(prompt_field)
    if prompt is None:
        raise RequestInvalid(f"the field {prompt_field!r} is missing", param=prompt_field)
    choices = _between("n", known.n or 1, 1, CHOICES_MAX)
    asked = known.max_completion_tokens or known.max_tokens
    if asked is not None:
        _between("max_tokens", asked, 1, 1 << 31)
    prompt_bytes = len(bytes(prompt))
    stream = bool(known.stream) and kind is not Kind.EMBEDDING
    return InferenceRequest(
        id=request_id,
        kind=kind,
        model=model,
        fallbacks=fallbacks,
        bound=Usage(prompt_tokens=prompt_bytes + TEMPLATE_TOKENS_MAX),
        arrived_s=arrived_s,
        created_at_ms=created_at_ms,
        prompt_bytes=prompt_bytes,
        completion_tokens_asked=0 if kind is Kind.EMBEDDING else asked or 0,
        choices_asked=choices,
        stream=stream,
        include_usage=bool(known.stream_options and known.stream_options.include_usage),
        explain=explain,
        wishes=known.provider or NO_WISHES,
        fields=fields,
    )


def _models(known: _Known) -> tuple[str, tuple[str, ...]]:
    """``model`` and then ``models``, or the first of ``models`` and then the others."""
    names = [*([known.model] if known.model else []), *(known.models or [])]
    wanted = list(dict.fromkeys(names))
    if not wanted:
        raise RequestInvalid("the field 'model' is missing", param="model")
    if len(wanted) > FALLBACKS_MAX + 1:
        raise RequestInvalid(
            f"models names {len(wanted) - 1} to fall back to; it may name {FALLBACKS_MAX}",
            param="models",
        )
    return wanted[0], tuple(wanted[1:])


def endpoint_list(route: Route, service_s: Callable[[str], float | None]) -> bytes:
    """``GET /v1/models/{author}/{slug}/endpoints``: who offers a model, and how it stands.

    ``service_s`` tells the learned seconds of a mean request by endpoint id. What nobody here
    measures or knows is null.
    """
    offers: dict[int, list[Endpoint]] = {}
    for endpoint in route.endpoints:
        offers.setdefault(endpoint.deployment.id, []).append(endpoint)
    model = route.model
    body = {
        "id": model.name,
        "name": model.display_name or model.name,
        "created": model.created_s,
        "description": model.description,
        "architecture": _architecture(route),
        "endpoints": [_offer(model, endpoints, service_s) for endpoints in offers.values()],
    }
    return encode({"data": body})


def _offer(
    model: Model, endpoints: Sequence[Endpoint], service_s: Callable[[str], float | None]
) -> dict[str, Any]:
    first = endpoints[0]
    able = [e for e in endpoints if e.worker.healthy and not e.worker.draining]
    known = [s for s in (service_s(endpoint.id) for endpoint in able) if s is not None]
    return {
        "name": f"{first.deployment.provider} | {model.name}",
        "provider_name": first.deployment.provider,
        "hardware": first.pool.hardware,
        "pool": first.pool.name,
        "emulated": first.pool.emulated,
        "status": 0 if able else -1,
        "workers": len(able),
        "pricing": _pricing(first.deployment.price),
        "context_length": model.context_tokens_max or None,
        "max_completion_tokens": model.completion_tokens_max or None,
        "max_prompt_tokens": None,
        "quantization": None,
        "supported_parameters": None,
        "uptime_last_30m": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "service_ms": round(min(known) * 1e3, 3) if known else None,
    }


def _architecture(route: Route) -> dict[str, Any]:
    inputs, outputs = MODALITIES.get(route.model.task, (["tensors"], ["tensors"]))
    return {"input_modalities": inputs, "output_modalities": outputs, "tokenizer": None}


def _pricing(price: Price) -> dict[str, str]:
    return {
        "prompt": _per_token(price.prompt_nano_per_million),
        "completion": _per_token(price.completion_nano_per_million),
        "request": format_usd(price.request_nano),
        "image": format_usd(price.image_nano),
        "row": format_usd(price.row_nano),
    }


def model_list(table: RoutingTable) -> bytes:
    """``GET /v1/models``."""
    entries = [model_entry(route) for route in table.routes.values()]
    return encode({"object": "list", "data": entries})


def model_entry(route: Route) -> dict[str, Any]:
    """One model as marketplaces list it; prices are decimal strings in dollars per token."""
    model = route.model
    prices = [endpoint.deployment.price for endpoint in route.endpoints]
    cheapest = min(prices, key=_price_order) if prices else Price(0)
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_s,
        "owned_by": model.name.partition("/")[0],
        "canonical_slug": model.name,
        "name": model.display_name or model.name,
        "description": model.description,
        "task": model.task,
        "emulated": model.emulated,
        "context_length": model.context_tokens_max or None,
        "architecture": _architecture(route),
        "pricing": _pricing(cheapest),
        "supported_parameters": None,
        "expiration_date": None,
        "top_provider": {"max_completion_tokens": model.completion_tokens_max or None},
    }


def _price_order(price: Price) -> int:
    per_token = price.prompt_nano_per_million + price.completion_nano_per_million
    return per_token + (price.request_nano + price.row_nano + price.image_nano) * PRICE_SCALE


def _per_token(nano_per_million: int) -> str:
    """Exact: 20,000,000 nano-USD per million tokens is "0.00000002" dollars a token."""
    digits = f"{nano_per_million:016d}"
    whole, fraction = digits[:-15], digits[-15:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _between(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise RequestInvalid(f"{name} is {value}; it must be {low} to {high}", param=name)
    return value
