"""What is for those who run a router."""

import httpx

from tests.unit.router.ingress.api.edge import AUTH


async def test_probes_need_no_key(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/v2", "/v2/health/ready", "/v2/models/a/t/ready"):
        assert (await client.get(path)).status_code == 200, path


async def test_state_is_for_admins(client: httpx.AsyncClient) -> None:
    assert (await client.get("/admin/state", headers=AUTH)).status_code == 401
    admin = {"authorization": "Bearer admin"}
    state = (await client.get("/admin/state", headers=admin)).json()
    assert {worker["id"] for worker in state["workers"]} >= {"one-0", "two-0", "tensor-0"}
