"""A router that is stopped and started again knows its workers."""

import time
from pathlib import Path

import httpx
import openai
import psycopg
import pytest
from msgspec.structs import replace

from router.contracts.snapshot import Snapshot, decode_snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Policy, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from tests.contract.router.conftest import ledger_database, open_accounts
from tests.embedded import wait_until
from tests.integration.router.routers import (
    HELLO,
    KEY,
    MODELS,
    PEPPER,
    SLOTS,
    UPSTREAM,
    Router,
    publish,
    running,
    started,
)
from tests.patience import PATIENCE_S
from tests.ports import free_ports

__all__ = ["ledger_database"]

MODEL = MODELS[0]
SLOW, FAST = "emulated-cpu-0", "emulated-h100-0"
LEARNING_CALLS = 4
MANY_KEYS = 20_000


@pytest.fixture
def unmeasured(ledger_database: str, emulator_url: str) -> str:
    """A database whose snapshot has a slow worker before a fast one, without profiles."""
    customer, provider = open_accounts(ledger_database, 10**12)
    with psycopg.connect(ledger_database, autocommit=True) as connection:
        for table in ("routing_snapshot", "routing_slot_lease", "routing_router"):
            connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
    # So many keys that it takes a moment to read them.
    keys = (KEY, *(f"key-{number}" for number in range(1, MANY_KEYS)))
    publish(
        ledger_database,
        Snapshot(
            version=1,
            published_at_ms=1,
            models=(Model(MODEL, "chat", "1", 1),),
            pools=tuple(Pool(name, "emulated", emulated=True) for name in (SLOW, FAST)),
            workers=tuple(
                Worker(name, name, f"{emulator_url}/{name}", "openai", SLOTS)
                for name in (SLOW, FAST)
            ),
            deployments=tuple(
                Deployment(number, MODEL, "lab", provider, name, UPSTREAM, Price(1))
                for number, name in enumerate((SLOW, FAST), start=1)
            ),
            # Which worker is asked first is what the tests look at, not which of two answers first.
            policies=(Policy(1, 1, MODEL, hedge_share=0.0),),
            keys=tuple(
                ApiKey(number, digest_key(key, PEPPER.encode()), 1, customer)
                for number, key in enumerate(keys, start=1)
            ),
        ),
    )
    return ledger_database


def worker_of_a_call(router: Router) -> str:
    client = openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=120)
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=3
    )
    assert answer.headers["x-route-attempts"] == "1"
    return answer.headers["x-route-worker"]


def test_a_restarted_router_places_its_first_call_by_what_it_knew(
    unmeasured: str, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    with running("one", unmeasured, tmp_path, port=port) as router:
        went = [worker_of_a_call(router) for _ in range(LEARNING_CALLS)]
    assert (went[0], went[-1]) == (SLOW, FAST)
    with running("one", unmeasured, tmp_path, port=port, ROUTER_LEARNED_MAX_AGE_S="0") as router:
        assert worker_of_a_call(router) == SLOW, "it had nothing to remember by"
    with started("one", unmeasured, tmp_path, port=port) as router:
        assert first_answer(f"{router.url}/readyz") == 200, "it listens once it has a catalog"
        assert worker_of_a_call(router) == FAST


def test_what_only_a_later_release_knows_is_left_out_and_all_else_is_served(
    unmeasured: str, tmp_path: Path
) -> None:
    with psycopg.connect(unmeasured) as connection:
        row = connection.execute("SELECT body::text FROM routing_snapshot").fetchone()
    assert row is not None
    now = decode_snapshot(row[0])
    (port,) = free_ports(1)
    with running("one", unmeasured, tmp_path, port=port) as router:
        later = replace(
            now,
            models=(*now.models, Model("lab/later", "telepathy", "1", 1)),
            workers=(*now.workers, replace(now.workers[0], id="later", protocol="thought")),
            deployments=(*now.deployments, replace(now.deployments[0], id=9, model="lab/later")),
        )
        publish(unmeasured, later)
        log = tmp_path / "one.log"
        wait_until(lambda: "does not know" in log.read_text(), PATIENCE_S, "it has the next one")
        assert worker_of_a_call(router) in (SLOW, FAST)
    assert "model lab/later (task telepathy)" in log.read_text()
    assert "worker later (protocol thought)" in log.read_text()
    with running("one", unmeasured, tmp_path, port=port) as router:
        assert worker_of_a_call(router) in (SLOW, FAST)
        client = openai.OpenAI(base_url=f"{router.url}/v1", api_key=KEY, timeout=120)
        assert [listed.id for listed in client.models.list()] == [MODEL]


def first_answer(url: str) -> int:
    """The status of the first that comes, asked for without a pause."""
    deadline = time.monotonic() + PATIENCE_S
    with httpx.Client(timeout=PATIENCE_S) as client:
        while True:
            try:
                return client.get(url).status_code
            except httpx.ConnectError:
                assert time.monotonic() < deadline, "nobody listens"
