"""A real router before an organisation's own endpoint: a server that checks its key."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psycopg
import pytest

from router.contracts.sealing import ENDPOINT_KEYS, Vault
from router.contracts.snapshot import Snapshot
from router.domain.catalog import ApiKey, Deployment, Model, Own, Pool, Worker
from router.domain.keys import digest_key
from router.domain.pricing import Price
from router.domain.protocols import OWN_OPENAI
from tests.contract.router.conftest import ledger_database, open_accounts
from tests.integration.router.routers import (
    ADMIN_TOKEN,
    KEY,
    PEPPER,
    Router,
    publish,
    running,
    until,
)

__all__ = ["ledger_database"]

MODEL = "~acme/llama"
OLD, NEW = "sk-of-acme-old-0123", "sk-of-acme-new-0123"
SEALED_BY = "key-of-endpoints-of-no-value-outside-it"
FEE_NANO = 70
CALLS = 24


class Door(BaseHTTPRequestHandler):
    """Takes the keys in ``valid``."""

    protocol_version = "HTTP/1.1"
    valid = frozenset({OLD, NEW})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        is_known = key in type(self).valid
        told = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
        body = json.dumps(told if is_known else {"error": {"message": f"who is {key}?"}}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def door() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listed(customer: int, url: str, key: str) -> Snapshot:
    sealed = Vault([SEALED_BY.encode()], ENDPOINT_KEYS).seal(key)
    return Snapshot(
        version=1,
        published_at_ms=1,
        models=(Model(MODEL, "chat", "1", 1, own=Own(1)),),
        pools=(Pool("~1", ""),),
        workers=(Worker("~1", "~1", url, OWN_OPENAI, CALLS, sealed_key=sealed),),
        deployments=(
            Deployment(-1, MODEL, "own", 0, "~1", "m", Price(0, request_nano=FEE_NANO), 10_000),
        ),
        keys=(ApiKey(1, digest_key(KEY, PEPPER.encode()), 1, customer),),
    )


def status(router: Router) -> tuple[int, str]:
    answer = httpx.post(
        f"{router.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {KEY}"},
        json={"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
        timeout=60,
    )
    return answer.status_code, answer.text


def version(router: Router) -> int:
    seen: int = router.state()["snapshot_version"]
    return seen


def test_its_key_is_rotated_without_a_failed_call_and_leaves_no_trace(
    ledger_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Door, "valid", frozenset({OLD, NEW}))
    customer, _ = open_accounts(ledger_database, 10**12)
    with psycopg.connect(ledger_database, autocommit=True) as connection:
        for table in ("routing_snapshot", "routing_slot_lease", "routing_router"):
            connection.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
    settings = {
        "WAYPOST_ENDPOINT_NETWORKS": "127.0.0.0/8",
        "WAYPOST_ENDPOINT_SECRETS_KEYS": SEALED_BY,
        "ROUTER_LOG_LEVEL": "DEBUG",
        "ROUTER_LOG_CALLS": "1",
    }
    with door() as url:
        publish(ledger_database, listed(customer, url, OLD))
        with running("own", ledger_database, tmp_path, **settings) as router:
            assert status(router)[0] == 200
            before = version(router)
            with ThreadPoolExecutor(4) as callers:
                calls = [callers.submit(status, router) for _ in range(CALLS)]
                publish(ledger_database, listed(customer, url, NEW))
                until(lambda: version(router) > before)
                Door.valid = frozenset({NEW})
                calls += [callers.submit(status, router) for _ in range(CALLS)]
                ended = [call.result()[0] for call in calls]
            # Calls that had begun with the old key may meet its end: nobody ended it too soon.
            assert ended[CALLS:] == [200] * CALLS
            Door.valid = frozenset()
            code, text = status(router)
            assert code == 502
            assert "refuses its key" in text
            admin = {"authorization": f"Bearer {ADMIN_TOKEN}"}
            pages = [
                httpx.get(f"{router.url}{path}", headers=admin, timeout=60).text
                for path in ("/metrics", "/admin/state")
            ]
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    said = b"".join(files) + "".join([text, *pages]).encode()
    assert MODEL.encode() in said
    assert OLD.encode() not in said
    assert NEW.encode() not in said
    with psycopg.connect(ledger_database) as connection:
        charged, commission = connection.execute(
            "SELECT sum(charge_nano), sum(commission_nano) FROM usage_event WHERE model = %s",
            (MODEL,),
        ).fetchone() or (0, 0)
        whole = connection.execute(
            "SELECT string_agg(e::text, '') FROM usage_event e WHERE model = %s", (MODEL,)
        ).fetchone()
    answered = 1 + sum(code == 200 for code in ended)
    assert charged == commission == answered * FEE_NANO
    assert OLD not in str(whole)
    assert NEW not in str(whole)
