"""What a run calls: one worker, the workers of a deployment in turn, or the router."""

import asyncio
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from marketplace.benchmarks.loadgen.callers import Server
from marketplace.benchmarks.loadgen.messages import Request
from marketplace.benchmarks.loadgen.plan import IN_FLIGHT_MAX, Plan
from marketplace.benchmarks.models import Benchmark, Target
from marketplace.benchmarks.runs.fingerprint import fingerprint
from marketplace.benchmarks.runs.platform_account import bearer_issue
from marketplace.catalog.addresses import AddressRefused, address_of, address_policy
from marketplace.catalog.models import Deployment, Worker
from marketplace.shared.jobs.services import JobFailed
from router.domain.protocols import protocols_of


def own_requests_max(plan: Plan, load: float) -> int:
    """Most requests of a route's benchmark in the router at once; each may be hedged once."""
    return 2 * (IN_FLIGHT_MAX if plan.scenario == "server" else int(load))


def loadgen_request(
    benchmark: Benchmark,
    load: float,
    workers: Sequence[Worker],
    attempt: int,
    ttl_s: float,
) -> Request:
    """What the LoadGen process is told. Only a route's has a bearer, made anew for each attempt."""
    headers: list[tuple[str, str]] = []
    if benchmark.target == Target.ROUTE:
        protocol = protocols_of(benchmark.model.task)[0]
        url, name = settings.WAYPOST_ROUTER_URL.rstrip("/"), benchmark.model.name
        servers = [Server(url, protocol, name, is_router=True)]
        bearer = bearer_issue(reference=f"{benchmark.pk}:{load:g}:{attempt}", ttl_s=ttl_s)
        headers = [("authorization", f"Bearer {bearer}")]
    else:
        name = _upstream(benchmark.deployment)
        servers = [_server(worker, name) for worker in workers]
    inputs = benchmark.model.tensors.get("inputs", [])
    return Request(benchmark.plan, load, servers, inputs, headers)


def _server(worker: Worker, model: str) -> Server:
    """A worker at the address that may be called now. Raises :class:`JobFailed`."""
    try:
        address = asyncio.run(address_of(worker.url, address_policy()))
    except AddressRefused as error:
        raise JobFailed(f"{worker.worker_id}: {error}") from error
    return Server(worker.url.rstrip("/"), worker.protocol, model, address=address)


def _upstream(deployment: Deployment | None) -> str:
    if deployment is None:
        raise JobFailed("its deployment is gone")
    return deployment.upstream_model


def target_fingerprint(benchmark: Benchmark, workers: Sequence[Worker]) -> dict[str, Any]:
    """What is measured, as far as the catalog and the workers say."""
    if benchmark.deployment is not None:
        return fingerprint(benchmark.deployment, workers)
    return {
        "model": benchmark.model.name,
        "router": settings.WAYPOST_ROUTER_URL,
        "workers": [worker.worker_id for worker in workers],
    }
