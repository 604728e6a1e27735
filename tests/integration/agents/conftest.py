"""A marketplace of processes for agents: pages, a router, and their own database."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
from django.conf import settings

from tests.backend import answers, wait_until_ready
from tests.databases import copied, named_parts
from tests.integration.router import routers
from tests.patience import PATIENCE_S
from tests.ports import free_ports

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

MODEL, UPSTREAM, POOL = "author/slug", "slug", "fast"
OWN_NETWORKS = "127.0.0.0/8"
"""Where organisations may have their own hosts."""
QUESTION = [{"role": "user", "content": "Say hello."}]


@dataclass
class AgentProcess:
    """``python -m workers.agent`` as a provider runs it."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@dataclass
class Market:
    """``home`` is a folder for whatever runs."""

    database_url: str
    web_url: str
    router: routers.Router
    key: str
    home: Path
    agents: list[AgentProcess] = field(default_factory=list)

    def token(self, pool: str = POOL) -> str:
        from marketplace.agents.tokens import worker_token_create
        from marketplace.catalog.models import Pool

        return worker_token_create(pool=Pool.objects.get(name=pool))[1]

    def agent(self, name: str, *words: str, **env: str) -> AgentProcess:
        """Start one; it ends with the test."""
        log = self.home / f"{name}.log"
        always = ["--marketplace", self.web_url, "--name", name, "--advertise", "127.0.0.1"]
        always += ["--state", str(self.home / name), "--port", str(free_ports(1)[0])]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.agent", *always, *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
            )
        self.agents.append(AgentProcess(process, log))
        return self.agents[-1]

    def call(self, model: str = MODEL, key: str = "") -> str:
        """Ask the model through the router; which worker answered."""
        client = openai.OpenAI(
            base_url=f"{self.router.url}/v1", api_key=key or self.key, max_retries=0, timeout=120
        )
        answer = client.chat.completions.with_raw_response.create(
            model=model, messages=QUESTION, max_tokens=4
        )
        return answer.headers["x-route-worker"]

    def charged(self, model: str) -> int:
        """What calls of the model have cost, once one is settled."""
        from marketplace.usage.models import UsageEvent

        rows = UsageEvent.objects.filter(model=model)
        routers.until(rows.exists)
        return sum(rows.values_list("charge_nano", flat=True))

    def routed(self) -> set[str]:
        """The workers that routers may use."""
        from marketplace.catalog.models import Worker

        return set(
            Worker.objects.filter(healthy=True, draining=False).values_list("worker_id", flat=True)
        )

    def probed_until(self, condition: Callable[[], bool]) -> None:
        """Have the probers do their rounds until it is so."""
        from marketplace.catalog.tasks import probe_workers
        from marketplace.endpoints.tasks import probe_own_workers

        def is_so() -> bool:
            probe_workers()
            probe_own_workers()
            for agent in self.agents:
                assert agent.process.poll() in (None, 0, -signal.SIGKILL), agent.said
            return condition()

        routers.until(is_so)

    @contextlib.contextmanager
    def caller(self) -> Iterator[list[str]]:
        """Calls in sequence during the block; yields the workers that answered. None may fail."""
        answered: list[str] = []
        failed: list[openai.OpenAIError] = []
        stop = threading.Event()

        def calls() -> None:
            while not stop.is_set():
                try:
                    answered.append(self.call())
                except openai.OpenAIError as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=calls)
        thread.start()
        try:
            yield answered
        finally:
            stop.set()
            thread.join()
        assert not failed, failed


@contextlib.contextmanager
def _pages(database_url: str, home: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    words = ["granian", "--interface", "asginl", "--host", "127.0.0.1", "--port", str(port)]
    log = home / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words, "--workers", "1", "marketplace.config.asgi:application"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "DATABASE_URL": database_url,
                "ROUTER_ADMIN_TOKEN": routers.ADMIN_TOKEN,
                "WAYPOST_ENDPOINT_NETWORKS": OWN_NETWORKS,
            },
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(process, lambda: answers(f"{url}/api/v1/pools"), log)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="package")
def opened(
    postgres_url: str, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """A shop without a worker, in a database that this process and others see; its URL."""
    from django.contrib.contenttypes.models import ContentType
    from django.db import connection

    from marketplace.catalog.models import Worker
    from tests.integration.marketplace.shop import open_shop

    kept = {name: connection.settings_dict[name] for name in ("NAME", "USER", "PASSWORD")}

    def connect_to(parts: dict[str, str]) -> None:
        connection.close()
        connection.close_pool()
        connection.settings_dict |= parts
        # Those of another database may have other numbers.
        ContentType.objects.clear_cache()

    with copied(postgres_url) as url, django_db_blocker.unblock():
        connect_to(named_parts(url))
        open_shop()
        Worker.objects.all().delete()
        yield url
        connect_to(kept)


@pytest.fixture(scope="package")
def _market(opened: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    from marketplace.accounts.models import Organisation
    from marketplace.accounts.services import api_key_create

    home = tmp_path_factory.mktemp("market")
    _, key = api_key_create(organisation=Organisation.objects.get(slug="acme"), name="caller")
    env = {
        "WAYPOST_KEY_PEPPER": settings.WAYPOST_KEY_PEPPER.decode(),
        "WAYPOST_ENDPOINT_NETWORKS": OWN_NETWORKS,
    }
    with (
        _pages(opened, home) as web_url,
        routers.running("one", opened, home, **env) as router,
    ):
        yield Market(opened, web_url, router, key, home)


@pytest.fixture
def market(_market: Market) -> Iterator[Market]:
    """Every agent of the test is gone after it."""
    yield _market
    for agent in _market.agents:
        if agent.process.poll() is None:
            agent.send(signal.SIGINT)
            agent.send(signal.SIGINT)
    for agent in _market.agents:
        agent.process.wait(PATIENCE_S)
    _market.agents.clear()


def post(market: Market, path: str, body: dict[str, object], bearer: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    return httpx.post(f"{market.web_url}/api/v1/{path}", json=body, headers=headers, timeout=60)
