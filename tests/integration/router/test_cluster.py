"""Two real routers over one PostgreSQL: owners, forwarding, leased slots, and an owner's death."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import openai
import psycopg
import pytest

from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Policy, Pool, RateLimits, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.scheduling.fleet.sharding import owner
from tests.contract.router.conftest import ledger_database, open_accounts
from tests.integration.router.routers import (
    HELLO,
    KEY,
    LIMITED_KEY,
    MODELS,
    PEPPER,
    REQUESTS_PER_MINUTE,
    SHARED,
    SLOTS,
    UPSTREAM,
    WORKERS,
    Router,
    publish,
    running,
    until,
)
from tests.patience import PATIENCE_S
from tests.ports import free_ports

__all__ = ["ledger_database"]


@pytest.fixture
def cluster_database(ledger_database: str, emulator_url: str) -> Iterator[str]:
    """A database that holds the snapshot of a small shop with a funded customer."""
    customer, provider = open_accounts(ledger_database, 10**12)
    shop = Snapshot(
        version=1,
        published_at_ms=1,
        models=tuple(Model(name, "chat", "1", 1) for name in (*MODELS, SHARED)),
        pools=(Pool("pool", "emulated", emulated=True),),
        workers=tuple(
            Worker(name, "pool", f"{emulator_url}/{name}", "openai", SLOTS) for name in WORKERS
        ),
        deployments=tuple(
            Deployment(number, name, "lab", provider, "pool", UPSTREAM, Price(1))
            for number, name in enumerate((*MODELS, SHARED), start=1)
        ),
        policies=(Policy(1, 1, SHARED, shared=True),),
        keys=(
            ApiKey(1, digest_key(KEY, PEPPER.encode()), 1, customer),
            ApiKey(
                2,
                digest_key(LIMITED_KEY, PEPPER.encode()),
                1,
                customer,
                limits=RateLimits(requests_per_minute=REQUESTS_PER_MINUTE),
            ),
        ),
    )
    with psycopg.connect(ledger_database, autocommit=True) as connection:
        for table in ("routing_snapshot", "routing_slot_lease", "routing_router"):
            connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
    publish(ledger_database, shop)
    return ledger_database


def used(router: Router) -> Counter[str]:
    """The slots that a router takes for its own, by worker."""
    return Counter({worker["id"]: worker["slots"] for worker in router.state()["workers"]})


def leased(database: str) -> dict[str, int]:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT worker_id, sum(slots)::int FROM routing_slot_lease "
            "WHERE expires_at > now() GROUP BY 1"
        ).fetchall()
    return dict(rows)


def test_two_routers_share_models_and_slots_and_survive_each_other(
    cluster_database: str, tmp_path: Path
) -> None:
    public, grpc = free_ports(2)
    shared = {"ROUTER_PUBLIC_PORT": str(public), "ROUTER_GRPC_PORT": str(grpc)}
    with (
        running("left", cluster_database, tmp_path, **shared) as left,
        running("right", cluster_database, tmp_path, **shared) as right,
    ):
        both = ["left", "right"]
        either = replace(left, url=f"http://127.0.0.1:{public}")
        until(lambda: left.state()["routers"] == right.state()["routers"] == both)
        owners = {model: owner(model, both) for model in MODELS}
        assert set(owners.values()) == set(both), "the test wants models on either side"
        for model, name in owners.items():
            assert left.ask(model) == name
            assert right.ask(model) == name
        assert left.ask(SHARED) == "left"
        assert right.ask(SHARED) == "right"
        received: set[str] = set()
        until(lambda: received.add(either.ask(SHARED)) or received == set(both))

        until(lambda: leased(cluster_database) == dict.fromkeys(WORKERS, SLOTS))
        until(lambda: used(left) + used(right) == Counter(dict.fromkeys(WORKERS, SLOTS)))

        right.process.kill()
        right.process.wait(PATIENCE_S)
        # Not one call fails while the others find out: connections are refused, and the
        # slots of the dead are leased again when their time is up.
        for model in MODELS:
            assert left.ask(model) == "left"
            assert either.ask(model) == "left"
        until(lambda: left.state()["routers"] == ["left"])
        until(lambda: {w["slots"] for w in left.state()["workers"]} == {SLOTS})


def test_two_routers_are_one_to_their_callers(cluster_database: str, tmp_path: Path) -> None:
    with running("left", cluster_database, tmp_path) as left:
        with running("right", cluster_database, tmp_path) as right:
            both = ["left", "right"]
            until(lambda: left.state()["routers"] == right.state()["routers"] == both)
            what_the_owner_says_comes_through_whole(left)
            a_call_of_a_shared_model_is_ended_by_way_of_the_other(left, right)
            a_limit_on_a_key_holds_over_both(left, right)
        assert right.process.returncode == 0
        with psycopg.connect(cluster_database) as connection:
            rows = connection.execute("SELECT router_id FROM routing_router").fetchall()
        assert rows == [("left",)], "one that stops leaves at once"


def what_the_owner_says_comes_through_whole(left: Router) -> None:
    model = next(model for model in MODELS if owner(model, ["left", "right"]) == "right")
    client = openai.OpenAI(base_url=f"{left.url}/v1", api_key=KEY, max_retries=0, timeout=120)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HELLO, max_tokens=5, stream=True, extra_headers={"x": "y"}
        )
    )
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 5
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(model=model, messages=HELLO, n=99)
    assert refused.value.body is not None
    body = json.dumps({"model": model, "messages": HELLO, "max_tokens": 2}).encode()
    forged = {
        "authorization": f"Bearer {KEY}",
        "x-waypost-forwarded": "1",
        "x-route-explain": "1",
    }
    answer = httpx.post(f"{left.url}/v1/chat/completions", content=body, headers=forged)
    assert answer.headers["x-route-router"] == "right", "a forged proof was believed"
    assert msgspec.json.decode(answer.content)["route"]["worker"] in WORKERS


def a_call_of_a_shared_model_is_ended_by_way_of_the_other(left: Router, right: Router) -> None:
    path = "/v1/chat/completions"
    body = {"model": SHARED, "messages": HELLO, "max_tokens": 1_000, "stream": True}
    lingers = {"idempotency-key": "one", "x-route-linger-s": "600"}
    headers = {"authorization": f"Bearer {KEY}", **lingers}
    with httpx.Client(headers=headers, timeout=PATIENCE_S) as client:
        with client.stream("POST", f"{left.url}{path}", json=body) as answer:
            told = f"{left.url}/v1/generation?id={answer.headers['x-request-id']}"
        cancel = {"x-route-cancel": "1"}
        ended = client.post(f"{right.url}{path}", json=body, headers=cancel)
        assert ended.json() == {"cancelled": True}
        until(lambda: client.get(told).is_success)
        assert client.get(told).json()["data"]["outcome"] == "client_gone"


def a_limit_on_a_key_holds_over_both(left: Router, right: Router) -> None:
    body = {"model": SHARED, "messages": HELLO, "max_tokens": 1}
    headers = {"authorization": f"Bearer {LIMITED_KEY}"}
    with httpx.Client(headers=headers, timeout=PATIENCE_S) as client:
        begun_s = time.monotonic()
        answers: list[httpx.Response] = []
        served: set[str] = set()
        while len(served) < 2:
            for router in (left, right):
                answers.append(client.post(f"{router.url}/v1/chat/completions", json=body))
                served |= {answers[-1].headers.get("x-route-router", "")} - {""}
            assert time.monotonic() < begun_s + PATIENCE_S, (
                "one of them never got a part of the limit"
            )
        lasted_s = time.monotonic() - begun_s
    counts = Counter(answer.status_code for answer in answers)
    assert counts.keys() == {200, 429}
    assert counts[200] <= REQUESTS_PER_MINUTE * (1 + lasted_s / 60) + 1
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit-requests"] == str(REQUESTS_PER_MINUTE)
