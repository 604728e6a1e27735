"""Agents that register and report, and their workers."""

from typing import Any

from rest_framework.test import APIClient

from marketplace.agents.tokens import worker_token_create
from marketplace.catalog.models import Pool
from marketplace.catalog.tasks import probe_workers
from marketplace.routing.selectors import snapshot_build
from tests.integration.marketplace.shop import Shop

HOST = {
    "hardware": [{"name": "NVIDIA H200", "memory_mib": 143_771, "driver": "570.86"}],
    "fingerprint": "ab" * 32,
    "version": "1",
}
READY = {
    "name": "a",
    "state": "ready",
    "url": "http://10.0.0.5:8000",
    "protocol": "openai",
    "slots": 64,
    "engine": "vllm",
    "engine_version": "0.11.0",
    "served_model": "slug",
}


def registered(shop: Shop, name: str = "gpu", pool: Pool | None = None) -> APIClient:
    """A client that calls as a new agent does."""
    _, token = worker_token_create(pool=pool or shop.worker.pool)
    answer = APIClient().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})
    assert answer.status_code == 201, answer.content
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
    return client


def beat(client: APIClient, *workers: dict[str, Any]) -> Any:
    return client.post("/api/v1/agents/heartbeat", {**HOST, "workers": list(workers)})


RANKS = [{**READY, "name": "a", "gang": "big", "gang_size": 3, "rank": rank} for rank in range(3)]


def is_routed(name: str = "big") -> bool:
    """As the next snapshot says, after a round of the prober."""
    probe_workers()
    (worker,) = [row for row in snapshot_build().workers if row.id == name]
    return worker.healthy and not worker.draining
