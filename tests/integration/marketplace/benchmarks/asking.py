"""Benchmarks that are asked for over the API."""

import json
from typing import Any

from django.test import Client

from tests.integration.marketplace.shop import Shop

LATENCY = {
    "total_ms": {name: [12.0, 11.0, 13.0] for name in ("mean", "p50", "p90", "p99")},
    "ttft_ms": {"p50": [4.0, 3.0, 5.0]},
}


def ask(client: Client, shop: Shop, **values: Any) -> Any:
    body = {
        "model": shop.model.name,
        "target": "deployment",
        "scenario": "offline",
        "deployment": shop.deployment.pk,
        **values,
    }
    return client.post("/api/v1/benchmarks", json.dumps(body), content_type="application/json")
