"""Promise 17 of the data plane: every operation of the router, tried by another tenant.

The operations come from the router's published API description. The management
API's are tried in ``tests/integration/marketplace/config/test_tenants.py``.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from router.domain.catalog import ApiKey
from router.domain.keys import digest_key
from router.ingress import description
from tests.chaos.harness import KEY
from tests.chaos.market import OWNED, PLENTY_NANO, SHARED, TOKEN_NANO, Market
from tests.chaos.processes import PEPPER
from tests.chaos.worker import produced
from tests.contract.router.conftest import open_accounts
from tests.embedded import wait_until
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

STRANGER = "a-stranger"
METHODS = ("get", "post")


@dataclass(frozen=True)
class Tenant:
    """Who calls with a key, at one router."""

    key: str
    url: str
    client: httpx.Client

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return self.client.request(method, self.url + path, headers=headers, **more)

    def chat(self, name: str, **more: Any) -> httpx.Response:
        body = {
            "model": SHARED,
            "messages": [{"role": "user", "content": f"{name} 3 answer"}],
            "max_tokens": 3,
        }
        return self.ask("post", "/v1/chat/completions", json=body, **more)


def operations() -> Iterator[tuple[str, str]]:
    """Method and path of each, for either model."""
    for path, described in description.PATHS.items():
        for method in METHODS:
            if method in described:
                for model in (OWNED, SHARED) if "{author}" in path else ("",):
                    named = path.replace("{author}/{slug}", model).replace("{version}", "1")
                    yield method, named


async def test_17_a_stranger_learns_and_changes_nothing_of_another_tenants_calls(
    shop: Market,
) -> None:
    customer, _ = open_accounts(shop.database_url, PLENTY_NANO)
    stranger_key = ApiKey(2, digest_key(STRANGER, PEPPER.encode()), 2, customer)
    shop.hire(1)
    shop.publish(keys=(stranger_key,))
    shop.open(2)
    with httpx.Client(timeout=60) as client:
        await asyncio.to_thread(_try_everything, shop, client)
    shop.close()


def _try_everything(shop: Market, client: httpx.Client) -> None:
    urls = [f"http://127.0.0.1:{router.port}" for router in shop.routers]
    owners, strangers = ([Tenant(key, url, client) for url in urls] for key in (KEY, STRANGER))
    once = {"idempotency-key": "the-owners"}
    calls = [owners[0].chat("secret", headers=once), owners[1].chat("second")]
    assert {call.status_code for call in calls} == {200}
    ids = [call.headers["x-request-id"] for call in calls]
    assert owners[1].ask("get", f"/v1/generation?id={ids[0]}").status_code == 200
    wait_until(
        lambda: set(ids) <= shop.ledger().keys(), PATIENCE_S, "the owner's calls are settled"
    )
    before = shop.ledger(), shop.balance()[0]
    credits = owners[0].ask("get", "/v1/credits").json()

    tried = 0
    for stranger, (method, path) in itertools.product(strangers, operations()):
        for id_ in ids:
            # Another tenant's call must look as if it did not exist.
            answer, of_none = (
                stranger.ask(
                    method,
                    f"{path}?id={wanted}",
                    headers=once,
                    **({"content": b"{}"} if method == "post" else {}),
                )
                for wanted in (id_, str(uuid.uuid4()))
            )
            tried += 1
            assert answer.status_code == of_none.status_code, (method, path)
            known = answer.text + json.dumps(dict(answer.headers))
            assert not [test_id for test_id in ids if test_id in known and test_id != id_], (
                method,
                path,
            )
            if path == "/v1/generation":
                assert answer.status_code == 404
                assert set(answer.json()["error"]) == set(of_none.json()["error"])
            elif path.startswith("/admin"):
                assert answer.status_code == 401
            else:
                assert id_ not in known, (method, path)
    # The same call under the same Idempotency-Key is the stranger's own.
    again = strangers[0].chat("secret", headers=once)
    assert again.status_code == 200
    assert "idempotent-replayed" not in again.headers
    assert again.headers["x-request-id"] not in ids
    assert produced(shop.log, "asked")["secret"] == 2
    mine = strangers[0].ask("get", f"/v1/generation?id={again.headers['x-request-id']}")
    assert mine.status_code == 200
    assert owners[0].chat("secret", headers=once).headers["x-request-id"] == ids[0]

    assert (shop.ledger(), shop.balance()[0]) == before
    assert owners[0].ask("get", "/v1/credits").json() == credits
    spent = 3 * TOKEN_NANO / 1e9

    def theirs() -> dict[str, Any]:
        return strangers[1].ask("get", "/v1/key").json()["data"]

    wait_until(lambda: theirs()["usage"] > 0, PATIENCE_S, "the stranger's own call is settled")
    assert theirs()["usage"] == pytest.approx(spent), "of its own call, and nobody else's"
    print(f"{tried} tries of {len(list(operations()))} operations told nothing")
