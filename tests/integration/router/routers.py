"""Real routers over one PostgreSQL, before an emulated fleet."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import psycopg

from router.contracts.snapshot import Snapshot, encode_snapshot
from tests.backend import answers, get, wait_until_ready
from tests.databases import as_routers
from tests.patience import PATIENCE_S
from tests.ports import free_ports

PEPPER = "a-pepper-for-tests"
KEY = "a-key-for-tests"
LIMITED_KEY = "a-limited-key-for-tests"
REQUESTS_PER_MINUTE = 20
ADMIN_TOKEN = "an-admin-token"
UPSTREAM = "emulated/gpt-j-6b"
MODELS = [f"lab/model-{number}" for number in range(6)]
SHARED = "lab/shared"
WORKERS = ("emulated-h100-0", "emulated-h100-1", "emulated-cpu-0")
SLOTS = 3
TTL_S = 1.5
HELLO = [{"role": "user", "content": "hello"}]


@dataclass
class Router:
    name: str
    url: str
    process: subprocess.Popen[bytes]

    def state(self) -> dict:
        token = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        return get(f"{self.url}/admin/state", headers=token, timeout=120).json()

    def ask(self, model: str, **more: object) -> str:
        """Call, and say which router placed it."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=120)
        answer = client.chat.completions.with_raw_response.create(
            model=model, messages=HELLO, max_tokens=2, **more
        )
        return answer.headers["x-route-router"]


@contextlib.contextmanager
def running(
    name: str, database: str, home: Path, *, port: int = 0, **settings: str
) -> Iterator[Router]:
    """A router that is ready, on its own port unless it is to come back where it was."""
    with started(name, database, home, port=port or free_ports(1)[0], **settings) as router:
        log = home / f"{name}.log"
        wait_until_ready(router.process, lambda: answers(f"{router.url}/readyz"), log)
        yield router


@contextlib.contextmanager
def started(
    name: str, database: str, home: Path, *, port: int, **settings: str
) -> Iterator[Router]:
    """A router's process, which need not listen yet."""
    log = home / f"{name}.log"
    env = {
        **os.environ,
        "DATABASE_URL": as_routers(database),
        "WAYPOST_KEY_PEPPER": PEPPER,
        "WAYPOST_HOME": str(home / name),
        "ROUTER_ID": name,
        "ROUTER_PORT": str(port),
        "ROUTER_ADMIN_TOKEN": ADMIN_TOKEN,
        "ROUTER_MEMBER_TTL_S": str(TTL_S),
        "ROUTER_UPSTREAM_NETWORKS": "127.0.0.0/8",
        **settings,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "router"], env=env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Router(name, f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.05)


def publish(database: str, shop: Snapshot) -> None:
    """Make this the newest snapshot."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO routing_snapshot (schema, body, digest) VALUES (%s, %s, 'x')",
            (shop.schema, encode_snapshot(shop).decode()),
        )
