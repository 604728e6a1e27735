"""Hosts of an organisation that register and report."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework.test import APIClient

from marketplace.accounts.models import User
from marketplace.agents.tokens import worker_token_create
from marketplace.endpoints.models import OwnEndpoint
from marketplace.routing.models import SnapshotRow
from router.contracts.snapshot import decode_snapshot
from router.domain.catalog import Worker as RoutedWorker

KEY = "sk-of-the-hosts-0123456789"
URL, OTHER_URL = "https://192.0.78.9:8000", "https://192.0.78.9:8010"
HOST = {
    "hardware": [{"name": "NVIDIA H200", "memory_mib": 143_771, "driver": "570.86"}],
    "fingerprint": "ab" * 32,
    "version": "1",
}
READY = {
    "name": "a",
    "state": "ready",
    "url": URL,
    "protocol": "openai",
    "slots": 64,
    "engine": "vllm",
    "engine_version": "0.11.0",
    "served_model": "llama",
}


def api(user: User | None = None) -> APIClient:
    client = APIClient()
    if user is not None:
        client.force_login(user)
    return client


def register(token: str, name: str = "gpu") -> Any:
    return api().post("/api/v1/agents/register", {**HOST, "token": token, "name": name})


def registered(endpoint: OwnEndpoint, name: str = "gpu") -> APIClient:
    """A client that calls as a new agent does."""
    answer = register(worker_token_create(endpoint=endpoint)[1], name)
    assert answer.status_code == 201, answer.content
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['credential']}")
    return client


def beat(client: APIClient, *workers: dict[str, Any]) -> Any:
    return client.post("/api/v1/agents/heartbeat", {**HOST, "workers": list(workers)})


def routed() -> list[RoutedWorker]:
    """The servers of own endpoints in the newest snapshot."""
    row = SnapshotRow.objects.first()
    assert row is not None
    snapshot = decode_snapshot(msgspec.json.encode(row.body))
    return [worker for worker in snapshot.workers if worker.id.startswith("~")]
