"""The lists of models and their providers: OpenAI's list with a marketplace's fields."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from router.domain.catalog import Endpoint, Model
from router.domain.money import PRICE_SCALE, format_usd
from router.domain.pricing import Price
from router.domain.protocols import TASKS
from router.pipeline.plans.routing_table import Grant, Route, RoutingTable
from router.pipeline.plans.utility import PERCENTILES
from router.pipeline.recorders.history import COUNTS_MAX, History

encode = msgspec.json.Encoder().encode


def endpoint_list(
    route: Route, service_s: Callable[[str], float | None], history: Callable[[int], History]
) -> bytes:
    """``GET /v1/models/{author}/{slug}/endpoints``: who offers a model, and how well it serves.

    ``service_s`` gives the learned seconds of a mean request by endpoint id, ``history`` the recent
    history of a deployment. Unknown values are null.
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
        "endpoints": [
            _offer(model, endpoints, service_s, history(deployment_id))
            for deployment_id, endpoints in offers.items()
        ],
    }
    return encode({"data": body})


def _offer(
    model: Model,
    endpoints: Sequence[Endpoint],
    service_s: Callable[[str], float | None],
    history: History,
) -> dict[str, Any]:
    first = endpoints[0]
    able = [e for e in endpoints if e.worker.healthy and not e.worker.draining]
    known = [
        seconds for seconds in (service_s(endpoint.id) for endpoint in able) if seconds is not None
    ]
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
        "quantization": first.deployment.quantization or None,
        "supported_parameters": first.deployment.parameters,
        "collects_data": first.deployment.collects_data,
        "uptime_last_5m": history.uptime(1),
        "uptime_last_30m": history.uptime(6),
        "uptime_last_1d": history.uptime(COUNTS_MAX),
        "latency_last_30m": _percentiles(history.latency_s),
        "throughput_last_30m": _percentiles(history.tokens_per_s),
        "service_ms": round(min(known) * 1e3, 3) if known else None,
    }


def _percentiles(measured: Callable[[float], float | None]) -> dict[str, float] | None:
    """None if nothing was measured yet."""
    known = {name: measured(share) for name, share in PERCENTILES.items()}
    return {name: round(value, 6) for name, value in known.items() if value is not None} or None


def _architecture(route: Route) -> dict[str, Any]:
    task = TASKS[route.model.task]
    inputs, outputs = [*task.takes, *(route.model.takes or ())], task.gives
    return {
        "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
        "input_modalities": inputs,
        "output_modalities": outputs,
        "tokenizer": None,
        "instruct_type": None,
    }


def _pricing(price: Price) -> dict[str, str]:
    return {
        "prompt": _per_token(price.prompt_nano_per_million),
        "completion": _per_token(price.completion_nano_per_million),
        "request": format_usd(price.request_nano),
        "image": format_usd(price.image_nano),
        "row": "0",
        price.unit.removesuffix("s"): format_usd(price.row_nano),
        "second": format_usd(price.second_nano),
        "input_cache_read": _per_token(price.cached_nano_per_million),
        "internal_reasoning": _per_token(price.reasoning_nano_per_million),
    }


def model_list(table: RoutingTable, grant: Grant) -> bytes:
    """``GET /v1/models``: the models that the key may use, except those whose workers could not be
    started.
    """
    entries = [
        model_entry(route)
        for route in table.routes.values()
        if not route.left_out and grant.sees(route)
    ]
    return encode({"object": "list", "data": entries})


def model_entry(route: Route) -> dict[str, Any]:
    """One model in the form of a marketplace; prices are decimal strings in dollars per token."""
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
        "supported_parameters": sorted(
            {name for endpoint in route.endpoints for name in endpoint.deployment.parameters}
        ),
        "expiration_date": None,
        "per_request_limits": None,
        "top_provider": {
            "context_length": model.context_tokens_max or None,
            "max_completion_tokens": model.completion_tokens_max or None,
            "is_moderated": False,
        },
    }


def _price_order(price: Price) -> int:
    per_token = price.prompt_nano_per_million + price.completion_nano_per_million
    units = price.request_nano + price.row_nano + price.image_nano + price.second_nano
    return per_token + units * PRICE_SCALE


def _per_token(nano_per_million: int) -> str:
    """Exact: 20,000,000 nano-USD per million tokens is "0.00000002" dollars a token."""
    digits = f"{nano_per_million:016d}"
    whole, fraction = digits[:-15], digits[-15:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
