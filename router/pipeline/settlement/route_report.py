"""What a client learns about how its call was served: always in headers, in full on request."""

from typing import Any

from router.domain.catalog import Endpoint
from router.domain.money import format_usd
from router.domain.pricing import charge_lines
from router.domain.request import masked_text
from router.pipeline.plans.plan import Plan
from router.pipeline.settlement.settle import Settlement
from router.pipeline.settlement.trace import Trace

Headers = list[tuple[str, str]]
Report = dict[str, Any]
"""Any JSON object."""


def route_headers(
    plan: Plan, trace: Trace, endpoint: Endpoint, router_id: str, now_s: float
) -> Headers:
    """``x-route-*`` and ``Server-Timing`` of a call that reached a worker, durations in ms.

    ``x-route-place`` and ``x-route-eta-ms`` are what was expected as the call began to wait.
    """
    request = plan.request
    queue_ms, hedged_ms = trace.waited_ms()
    upstream_ms = (now_s - trace.placed_s) * 1e3
    queue, hedge = f"{queue_ms:.2f}", f"{hedged_ms:.2f}"
    headers = [
        ("x-request-id", request.id),
        ("x-route-router", router_id),
        ("x-route-model", request.model),
        ("x-route-worker-pool", endpoint.pool.name),
        ("x-route-worker", endpoint.worker.id),
        ("x-route-queue-ms", queue),
        ("x-route-hedge-ms", hedge),
        (
            "x-route-attempts",
            str(len(trace.attempts) + 1 if request.stream else len(trace.attempts)),
        ),
        (
            "server-timing",
            f"queue;dur={queue}, hedge;dur={hedge}, upstream;dur={upstream_ms:.2f}, "
            f"total;dur={queue_ms + hedged_ms + upstream_ms:.2f}",
        ),
    ]
    if request.asked:
        headers.append(("x-route-asked", request.asked))
    if request.why:
        headers.append(("x-route-why", request.why))
    if request.masked:
        headers.append(("x-route-masked", masked_text(request)))
    if trace.guarded:
        headers.append(("x-route-guarded", ", ".join(trace.guarded)))
    if trace.told is not None:
        headers.append(("x-route-place", str(trace.told.place)))
        headers.append(("x-route-eta-ms", str(round(trace.told.eta_s * 1e3))))
    if endpoint.pool.emulated:
        headers.append(("x-route-emulated", "true"))
    return headers


def route_report(
    plan: Plan,
    trace: Trace,
    endpoint: Endpoint,
    settlement: Settlement,
    hold_nano: int,
    now_s: float,
) -> Report:
    """Why this route: who served the call, what it took and cost, and who else could have."""
    request = plan.request
    queue_ms, hedged_ms = trace.waited_ms()
    price = plan.price(endpoint.deployment)
    return {
        "request_id": request.id,
        "asked": request.asked or None,
        "why": request.why or None,
        "masked": masked_text(request) or None,
        "guarded": ", ".join(trace.guarded) or None,
        "pool": endpoint.pool.name,
        "worker": endpoint.worker.id,
        "hardware": endpoint.pool.hardware,
        "emulated": endpoint.pool.emulated,
        "provider": endpoint.deployment.provider,
        "attempts": trace.attempts,
        "place": trace.told.place if trace.told is not None else None,
        "eta_ms": trace.told.eta_s * 1e3 if trace.told is not None else None,
        "queue_ms": queue_ms,
        "hedge_ms": hedged_ms,
        "ttft_ms": (trace.first_byte_s - request.arrived_s) * 1e3,
        "upstream_ms": (now_s - trace.placed_s) * 1e3,
        "total_ms": (now_s - request.arrived_s) * 1e3,
        "price_class": plan.price_class,
        "price": price,
        "hold_nano_usd": hold_nano,
        "cost_nano_usd": settlement.charge_nano,
        "cost_usd": format_usd(settlement.charge_nano),
        "cost_lines": charge_lines(price, settlement.usage),
        "usage": settlement.usage,
        "candidates": trace.candidates(plan).listed(),
    }
